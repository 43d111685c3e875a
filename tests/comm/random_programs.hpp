#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "shardlab/comm/communicator.hpp"
#include "shardlab/comm/matcher.hpp"

/// Random communicating programs, and what happens to them by the rules: the truth that the matcher is held against.

namespace shardlab::test {

/// One line of a rank's program.
struct Line {
  enum Kind { kSend, kRecv, kCollective, kWait } kind = kSend;
  int peer = 0;                  ///< of a message (a world rank); the root of a broadcast
  int tag = 0;                   ///< of a message
  int group = 0;                 ///< 0: the world; 1: ranks 0 and 1
  int size = 1;                  ///< elements of the tensor
  OpKind op = OpKind::kBarrier;  ///< of a collective
  int waits_for = 0;             ///< kWait: the line that started the operation
};

using Program = std::vector<std::vector<Line>>;  ///< by rank

/// What is done to a program that would come through.
struct Mischief {
  bool order = false;      ///< neighbouring lines change places
  bool losses = false;     ///< lines are left out
  bool wrong = false;      ///< sizes, roots and kinds are changed on one side
  bool forgotten = false;  ///< some work is never waited for
};

Program RandomProgram(std::mt19937& random, const Mischief& mischief);

/// What happens by the rules.
struct Truth {
  std::vector<bool> stuck;      ///< ranks that never come to their end
  bool deadlock = false;        ///< any
  bool mismatch = false;        ///< two sides that meet do not fit
  bool leftover = false;        ///< everybody ends, and something is left
  std::vector<int64_t> rounds;  ///< the round of each rank's last operation
  std::string Text() const;
};

Truth Simulate(const Program& program);

/// Runs a program in records instead of in processes: ranks take turns at random, records reach the matcher late and
/// out of step, and it is asked at random moments. Returns what it said wrongly, empty if nothing.
std::string AskMatcher(const Program& program, const Truth& truth, std::mt19937& random);

/// This rank's part of the program, on a real communicator.
void RunRank(const Program& program, Communicator& comm);

/// The program, for a failure's message.
std::string Text(const Program& program);

}  // namespace shardlab::test
