#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "shardlab/grade/referee.hpp"

/// \file
/// What ranks post between two marks of the body (RankContext::Mark).

namespace shardlab::grade {

/// A collective that a rank starts.
struct Collective {
  OpKind op;
  int64_t elements;  ///< that the rank hands over
};

/// For ExpectCollectives: none on any rank.
inline std::vector<Collective> NoCollectives(int) { return {}; }

/// What a rank posts between two marks.
struct Traffic {
  int64_t messages = 0;                 ///< sends
  int64_t bytes = 0;                    ///< of the sends
  std::vector<Collective> collectives;  ///< in the order of their start
};
/// \param from,to names of marks.
Traffic TrafficBetween(const Run& run, int rank, const std::string& from, const std::string& to);
/// The same over all ranks, one behind the other.
Traffic TotalTraffic(const Run& run, const std::string& from, const std::string& to);

/// Between two marks every rank starts exactly the collectives `expected(rank)`; the kind is compared only where
/// `any_kind` is false. The figure shown is the elements of all ranks.
void ExpectCollectives(CaseContext& t, const Run& run, const std::string& what, const std::string& from,
                       const std::string& to, const std::function<std::vector<Collective>(int rank)>& expected,
                       bool any_kind = false);

/// Messages that are late by up to `jitter_s`, drawn from the case's seed.
FaultSpec LateMessages(const CaseContext& t, double jitter_s);

}  // namespace shardlab::grade
