#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "diagnosis.hpp"

/// \file
/// The general hypotheses, by what they need to know. Each function appends its own.

namespace shardlab::grade {

/// Label::summands: whose is missing, counted twice, alone; and the same chunk by chunk, as a ring makes it.
void AddSums(std::vector<Hypothesis>& all, const at::Tensor& got, const Label& label, int rank);

/// Label::pieces: in which wrong order they lie, which is missing, along which other dimension they are joined.
void AddOrders(std::vector<Hypothesis>& all, const at::Tensor& whole, const Label& label);

/// Label::of_ranks: another rank's part, the whole, a part that is cut differently.
void AddOthers(std::vector<Hypothesis>& all, const at::Tensor& got, const at::Tensor& expected, const Label& label,
               int rank);

/// The number of ranks and Label::factors: too large, too small.
void AddFactors(std::vector<Hypothesis>& all, const at::Tensor& expected, const Label& label, int ranks);

/// Nothing but the right value: transposed, turned round, shifted by one, the sign.
void AddPlaces(std::vector<Hypothesis>& all, const at::Tensor& got, const at::Tensor& expected);

/// \name What they share
///@{
bool AllDefined(const std::vector<at::Tensor>& tensors);
/// In the dtype in which sums of any order are exact: int64 or float64.
at::Tensor Exact(const at::Tensor& tensor);
/// "rank 2's summand is", "the summands of ranks 0 and 2 are"; "rank 1's own summand is" where it is `own`'s.
std::string OfRanks(const std::vector<int>& ranks, int own, const std::string& thing);
///@}

}  // namespace shardlab::grade
