#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shardlab/grade/referee.hpp"

/// \file
/// Costs that are wrong, and why: what a mistake costs is worked out, all of it, as a wrong tensor's hypotheses compute the
/// tensor. One figure alone agrees by accident: two rounds on two ranks are a ring, a tree and an exchange in turn.
///
///     Costs costs;
///     costs.Add("rounds: T - 1", run.TotalCost().rounds, t.ranks() - 1, "rounds");
///     costs.Add("messages in all: T(T - 1)", run.TotalCost().messages, t.ranks() * (t.ranks() - 1), "messages");
///     costs.Expect(t, {{"every part goes to every rank directly, and not around the ring", {1, T * (T - 1)}}});

namespace shardlab::grade {

/// A mistake and what it costs: a figure for each that was added, in their order. kAny: whatever it is.
struct CostMistake {
  std::string meaning;          ///< continues "this is what you get when ..."
  std::vector<double> figures;  ///< see above
};

/// A figure of which a mistake says nothing.
constexpr double kAny = -1;

/// Several figures of one run.
class Costs {
 public:
  /// As PlainCase::ExpectCost.
  void Add(const std::string& what, double measured, double target, const std::string& unit);
  /// A figure that has no target and is not shown: it tells mistakes apart.
  void AddToTell(double measured) { figures_.push_back({"", measured, measured, ""}); }
  /// Holds each against its target. The first mistake that costs exactly what was measured is said with every figure
  /// that is off.
  void Expect(PlainCase& t, const std::vector<CostMistake>& mistakes) const;

 private:
  struct Figure {
    std::string what;
    double measured, target;
    std::string unit;
  };
  std::vector<Figure> figures_;
};

/// A message of a program that is only thought of. A program is a list of them in which each rank's own stand in the
/// order in which it sends and receives them.
struct PlannedMessage {
  int from = 0;
  int to = 0;
  int64_t bytes = 0;
  int64_t round = 1;  ///< when it is under way, from 1
};

/// \name What a program costs
///@{
double RoundsOf(const std::vector<PlannedMessage>& program);
double BytesOf(const std::vector<PlannedMessage>& program);
inline double MessagesOf(const std::vector<PlannedMessage>& program) { return static_cast<double>(program.size()); }
/// How many steps it takes when every rank sends at most one message and receives at most one in a step, and sends
/// nothing before what stands ahead of that has arrived.
double StepsOf(const std::vector<PlannedMessage>& program);
///@}

}  // namespace shardlab::grade
