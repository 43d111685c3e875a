#pragma once

#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/grade/referee.hpp"

/// \file
/// Several calls of one function in one run, since a run costs a fork of every rank; run_calls.hpp is the ranks' side.

namespace shardlab::grade {

/// One call of a function that takes and returns a tensor on every rank.
struct Call {
  std::string what;                                   ///< reads after "with": "5 rows of int64, root 2"
  std::vector<at::Tensor> inputs;                     ///< one a rank
  std::vector<at::Tensor> expected = {};              ///< see Calls::Expect; empty: not compared
  nlohmann::json params = nlohmann::json::object();   ///< for the body; "strided" changes how the input lies
  std::function<Label(int rank)> mistakes = nullptr;  ///< of the result; `what` and the other ranks' are added
};

/// Several of them.
class Calls {
 public:
  /// \param point_to_point_only whether the communicator refuses its own collectives.
  explicit Calls(const std::string& body, bool point_to_point_only = true);

  /// Adds a call.
  void Add(Call call);

  /// What to launch; its limits and faults may be changed.
  RunSpec spec;

  /// Has the ranks run all of them, and holds what came against what is expected: the same shape, dtype and bits, in a
  /// contiguous tensor that is not the input; undefined: the rank returns nothing. The inputs must be as they were.
  Run LaunchAndExpect(CaseContext& t) const;

 private:
  void Expect(CaseContext& t, const Run& run, size_t i) const;
  void ExpectOnRank(CaseContext& t, const Run& run, size_t i, int rank) const;

  std::vector<Call> calls_;
};

/// `call`, whose lists are those of a group, as a call in the group of the world's ranks `members`, in this order. The
/// others of `ranks` ranks take no part.
Call InGroup(const Call& call, const std::vector<int>& members, int ranks);

/// Groups for calls on three ranks, one call each: the world, some of it twice, and all of it the other way round.
std::vector<std::vector<int>> GroupsInTurn();

/// Runs `body`, which hands the parameter `functions` to RunFailingCalls (stand_ins.hpp): each of them must end with a
/// CommError when what it waits for fails.
void ExpectCommErrors(CaseContext& t, const std::string& body, const std::vector<std::string>& functions);

}  // namespace shardlab::grade
