#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <string>
#include <vector>

#include "shardlab/grade/referee.hpp"

/// \file
/// What the cases of this module share: several calls of one function in one run (body_util.hpp is the ranks' side),
/// and the time that a program takes when every rank sends and receives one message at a time.

namespace shardlab::grade {

/// Several calls in one run. Add says what a call is given and in what words a message names it.
class Calls {
 public:
  /// \param point_to_point_only whether the communicator refuses its own collectives.
  explicit Calls(const std::string& body, bool point_to_point_only = true);

  /// Adds a call with one input a rank. `what` reads after "with": "5 rows of int64, root 2".
  /// \returns the call's number.
  int Add(const std::string& what, const std::vector<at::Tensor>& inputs, nlohmann::json params = {});

  /// What may go wrong with call `i` on a rank: see Label, whose `what` is left empty.
  void Explain(int i, std::function<Label(int rank)> label);

  /// What to launch; its limits and faults may be changed.
  RunSpec spec;

  /// Holds call `i`'s result on `rank` against `expected`: the same shape, dtype and bits, a contiguous tensor of its
  /// own; undefined: the rank returns nothing. And the input must be as it was.
  void Expect(CaseContext& t, const Run& run, int i, int rank, const at::Tensor& expected,
              const std::vector<at::Tensor>& of_ranks = {}) const;
  /// All ranks' results.
  void Expect(CaseContext& t, const Run& run, int i, const std::vector<at::Tensor>& expected) const;

  const std::string& what(int i) const { return what_[i]; }

 private:
  std::vector<std::string> what_;
  std::vector<std::vector<at::Tensor>> inputs_;
  std::vector<std::function<Label(int rank)>> labels_;
};

/// The sum in the tensors' own dtype, added in the order of the ranks.
at::Tensor SumOf(const std::vector<at::Tensor>& tensors);

/// How a mean of the ranks' gradients goes wrong. \param alone why the rank may have its own gradient only.
std::vector<Hypothesis> AverageMistakes(const std::vector<at::Tensor>& gradients, int rank, const std::string& alone);

/// The sizes of a tensor's rows, and which of them belong to rank `rank`, for rows given a rank.
at::Tensor RowsOf(const at::Tensor& whole, const std::vector<int64_t>& rows, int rank);

/// "float32", "int64", ...: what a student calls it.
std::string DtypeName(at::ScalarType dtype);

/// How many steps a run's messages take when every rank sends at most one message and receives at most one message in
/// a step, and sends nothing before what it received ahead of that has arrived. In a broadcast in which the root sends
/// to everybody, that is T - 1, although no message waits for another.
int64_t OneAtATimeSteps(const CaseOutcome& outcome);

/// ceil(log2 n), for n >= 1.
int64_t CeilLog2(int64_t n);

}  // namespace shardlab::grade
