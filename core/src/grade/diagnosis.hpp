#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/grade/referee.hpp"

/// \file
/// Why a tensor is wrong: hypotheses that are tested, never guesses.
///
///     label's own hypotheses -+
///                             +--> the first that gives exactly what came --> "this is what you get when ..."
///     general ones -----------+    none does --> nothing is said
///
/// A hypothesis fits when its value, rounded to the tensor's dtype, is what came, to 1e-9 of its norm; when it is not
/// the right value; and when what it explains is no accident: of small integers at least a few must be wrong.

namespace shardlab::grade {

/// "this is what you get when ..." of the first hypothesis that fits; empty when none does.
/// \param got      what came; wrong, in values or in shape.
/// \param expected the right value.
/// \param rank     whose tensor it is, of `ranks`.
std::string Diagnose(const at::Tensor& got, const at::Tensor& expected, const Label& label, int rank, int ranks);

/// The same for hypotheses that are given alone, without the general ones.
std::string DiagnoseAmong(const at::Tensor& got, const at::Tensor& expected, const std::vector<Hypothesis>& hypotheses);

/// The mistakes that can happen to any tensor, made from what the label tells of it.
std::vector<Hypothesis> GeneralHypotheses(const at::Tensor& got, const at::Tensor& expected, const Label& label,
                                          int rank, int ranks);

/// Whether every element has the bits with which the ranks' memory is filled: it was never written, or computed from
/// memory that was not. By element, in row-major order.
std::vector<bool> NeverWritten(const at::Tensor& got);

/// Which elements are what a receive buffer holds before its Wait (kNotReceivedWord), or were computed from it.
std::vector<bool> NotReceived(const at::Tensor& got);

/// Where the wrong elements cluster: "all in column 0", "the last of 3 chunks, elements 4 to 6"; empty when they are
/// few, all, or anywhere.
/// \param wrong row-major, one an element of `shape`.
/// \param ranks how many chunks SplitSizes makes of a dimension.
std::string WhereWrong(const std::vector<bool>& wrong, const std::vector<int64_t>& shape, int ranks);

}  // namespace shardlab::grade
