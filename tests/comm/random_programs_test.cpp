// The matcher against random programs: in records by the thousand, and over Gloo by the dozen. No wrong verdict.

#include <gtest/gtest.h>

#include <algorithm>

#include <fmt/format.h>

#include "fork_ranks.hpp"
#include "random_programs.hpp"

namespace shardlab::test {
namespace {

Mischief MischiefOf(unsigned bits) { return {(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0}; }

TEST(RandomPrograms, InRecords) {
  std::mt19937 random(20240229);
  int deadlocks = 0, mismatches = 0, leftovers = 0, clean = 0;
  const int count = 6000;
  for (int i = 0; i < count; ++i) {
    const Program program = RandomProgram(random, MischiefOf(unsigned(i) % 16));
    const Truth truth = Simulate(program);
    deadlocks += truth.deadlock;
    mismatches += truth.mismatch;
    leftovers += truth.leftover;
    clean += !truth.deadlock && !truth.mismatch && !truth.leftover;
    const std::string wrong = AskMatcher(program, truth, random);
    ASSERT_EQ(wrong, "") << "program " << i << ":\n" << Text(program) << truth.Text();
  }
  // The programs are of all kinds, or this proves little.
  EXPECT_GT(deadlocks, count / 10);
  EXPECT_GT(mismatches, count / 10);
  EXPECT_GT(leftovers, count / 20);
  EXPECT_GT(clean, count / 10);
}

TEST(RandomPrograms, OverGloo) {
  std::mt19937 random(77);
  int deadlocks = 0;
  double slowest = 0;
  for (int i = 0; i < 60; ++i) {
    // Nothing that does not fit: Gloo ends the process.
    const Program program = RandomProgram(random, MischiefOf(unsigned(i) % 4));
    const Truth truth = Simulate(program);
    if (truth.mismatch) continue;
    deadlocks += truth.deadlock;
    const ForkedRun run =
        ForkRanks(static_cast<int>(program.size()), [&](Communicator& comm) { RunRank(program, comm); });
    const VerdictKind expected = truth.deadlock   ? VerdictKind::kDeadlock
                                 : truth.leftover ? VerdictKind::kLeftover
                                                  : VerdictKind::kNone;
    ASSERT_EQ(run.verdict.kind, expected) << "program " << i << ":\n" << Text(program) << run.AllErrors();
    if (truth.deadlock) slowest = std::max(slowest, run.seconds_to_verdict);
  }
  EXPECT_GT(deadlocks, 10);
  fmt::print("{} deadlocks, each found within {:.1f} ms of the last record\n", deadlocks, slowest * 1e3);
}

}  // namespace
}  // namespace shardlab::test
