// The referee of these tests: the same exercise again and again, each time met by another attack. No attack computes
// the sum, but for those that "forge" it, so a case that passes is a point that was not earned.

#include <cstdlib>
#include <string>

#include <ATen/ATen.h>

#include "shardlab/grade/referee.hpp"

namespace {

using shardlab::grade::CaseContext;
using shardlab::grade::Run;

/// What the attacks are after, from the test: it reaches the referee in the environment, and the ranks as a parameter.
nlohmann::json Targets() {
  const char* text = std::getenv("SHARDLAB_TEST_TARGETS");
  return text == nullptr ? nlohmann::json::object() : nlohmann::json::parse(text);
}

Run Grade(CaseContext& t, const std::string& attack, double limit_s = 10, bool point_to_point_only = false) {
  const auto mine = t.PerRank([&](int) { return t.Integers({6}, at::kDouble); });
  const Run run = t.Launch({.body = "sum",
                            .inputs = {{"mine", mine}},
                            .params = {{"attack", attack}, {"targets", Targets()}},
                            .limit_s = limit_s,
                            .point_to_point_only = point_to_point_only});
  at::Tensor sum = at::zeros({6}, at::kDouble);
  for (const at::Tensor& tensor : mine) sum += tensor;
  for (int rank = 0; rank < t.ranks(); ++rank) t.ExpectEqual(run, rank, "sum", sum);
  return run;
}

void GradeCost(CaseContext& t, const std::string& attack) {
  const Run run = Grade(t, attack);
  for (int rank = 0; rank < t.ranks(); ++rank) {
    t.ExpectCost("messages", static_cast<double>(run.Cost(rank).messages), t.ranks() - 1, "messages");
    t.ExpectCost("bytes", static_cast<double>(run.Cost(rank).bytes_sent), (t.ranks() - 1) * 48, "bytes");
  }
}

}  // namespace

#define ATTACK(name) \
  SHARDLAB_CASE(attacks, name, kValue, {2}) { Grade(t, #name); }
#define SHORT_ATTACK(name) \
  SHARDLAB_CASE(attacks, name, kValue, {2}) { Grade(t, #name, 2); }
#define FORGERY(name) \
  SHARDLAB_CASE(forgeries, name, kCost, {3}) { GradeCost(t, #name); }

SHARDLAB_CASE(honest, values, kValue, {1, 2, 3}) { Grade(t, ""); }
SHARDLAB_CASE(honest, cost, kCost, {3}) { GradeCost(t, ""); }

ATTACK(prints_scores)
ATTACK(exits)
ATTACK(exits_at_once)
ATTACK(becomes_true)
ATTACK(writes_to_every_descriptor)
ATTACK(forges_the_hosts_word)
ATTACK(claims_to_have_returned)
ATTACK(kills_the_host)
ATTACK(kills_the_supervisor)
ATTACK(kills_the_referee)
SHORT_ATTACK(stops_everybody)
ATTACK(detaches)
SHORT_ATTACK(forks_without_end)
ATTACK(leaves_threads)
ATTACK(edits_files)
ATTACK(edits_the_environment)
ATTACK(reads_memory)
ATTACK(reads_the_seed)
ATTACK(reads_the_solution)
ATTACK(sees_processes)
ATTACK(opens_the_network)
SHORT_ATTACK(fills_the_disk)
SHORT_ATTACK(hogs_memory)
SHORT_ATTACK(announces_threads)
ATTACK(prints_escapes)
ATTACK(calls_the_kernel)
SHARDLAB_CASE(attacks, honest_afterwards, kValue, {2}) { Grade(t, ""); }

FORGERY(hides_messages)
FORGERY(talks_through_a_file)
FORGERY(meets_in_the_keyring)
FORGERY(meets_at_a_lock)

// Where there are to be sends and receives alone.
#define UNDERHAND(name) \
  SHARDLAB_CASE(underhand, name, kValue, {2}) { Grade(t, #name, 2, /*point_to_point_only=*/true); }
UNDERHAND(asks_behind_the_wrapper)
UNDERHAND(asks_behind_the_announcements)
UNDERHAND(asks_gloo)
UNDERHAND(counts_as_a_collective)
SHARDLAB_CASE(underhand, honest_messages, kValue, {2}) { Grade(t, "", 10, /*point_to_point_only=*/true); }

// Rank 0 leaves while rank 1 sleeps, and turns the clock on by an hour before it says so.
SHARDLAB_CASE(clock, order_of_announcements, kValue, {2}) {
  const Run run = t.Launch({.body = "turn_the_clock"});
  t.Expect(run.Number(0, "turned_s") > 3000, "the clock was not turned, so that nothing is tested here");
  int64_t left_ns = 0, entered_ns = 0;
  for (const shardlab::grade::Event& event : run.outcome.events) {
    if (event.record.kind != shardlab::RecordKind::kMark) continue;
    (event.rank == 0 ? left_ns : entered_ns) = event.record.time_ns;
  }
  t.Expect(left_ns > 0 && left_ns < entered_ns && entered_ns - left_ns < int64_t{10} * 1'000'000'000,
           "a clock that is turned on moves announcements");
}
