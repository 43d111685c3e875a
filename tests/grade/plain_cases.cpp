// A referee without LibTorch: cases without tensors, of a part that the ordinary one has cases of too and of one that
// it has not.

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "shardlab/grade/plain_referee.hpp"

using shardlab::grade::PlainRun;

SHARDLAB_PLAIN_CASE(good, handed_back, kValue) {
  const PlainRun run = t.Ask("hands_back", {{"text", "1F0 1B0"}, {"number", -0.1}});
  t.Expect(run.Text("text") == "1F0 1B0", "a text is not what it was");
  t.Expect(run.Text("empty").empty(), "an empty text is not empty");
  t.Expect(run.Text("zero") == std::string("a\0b", 3), "a text ends at a zero");
  t.Expect(run.Number("number") == -0.1, "a number is not what it was");
  t.Expect(run.Integers("integers") == std::vector<int64_t>{std::numeric_limits<int64_t>::min(), 0, 7},
           "integers are not what they were");
  t.Expect(run.Integers("none").empty(), "no integers are some");
}

SHARDLAB_PLAIN_CASE(good, draws, kCost) {
  std::vector<int64_t> seen(3);
  for (int i = 0; i < 200; ++i) ++seen.at(static_cast<size_t>(t.Integer(-1, 1) + 1));
  t.ExpectCost("numbers that were never drawn", seen[0] * seen[1] * seen[2] == 0, 0, "numbers");
  t.ExpectAtMost("the largest of one", static_cast<double>(t.Integer(5, 5)), 5, "");
}

SHARDLAB_PLAIN_CASE(plain, is_wrong, kValue) {
  t.Ask("hands_back", {{"text", ""}, {"number", 5}});
  t.Expect(false, "2 + 2 is 4, not 5");
}

SHARDLAB_PLAIN_CASE(plain, costs_too_much, kCost) {
  t.ExpectCost("bubbles", 3, 2, "steps", {{"the warm-up is one longer", 3}});
}

SHARDLAB_PLAIN_CASE(plain, not_implemented, kValue) { t.Ask("plain_not_implemented"); }

SHARDLAB_PLAIN_CASE(plain, crashes, kRobustness) { t.Ask("plain_divides_by_zero"); }

SHARDLAB_PLAIN_CASE(plain, never_ends, kRobustness) { t.Ask("plain_never_ends", {}, 0.3); }

SHARDLAB_PLAIN_CASE(plain, handed_back_twice, kValue) { t.Ask("hands_back_twice"); }

SHARDLAB_PLAIN_CASE(plain, missing, kValue) {
  const PlainRun run = t.Ask("hands_back", {{"text", ""}, {"number", 5}});
  t.Expect(run.Text("number").empty(), "a number was taken for a text");
}

SHARDLAB_PLAIN_CASE(plain, checks_nothing, kValue) { t.Ask("hands_back", {{"text", ""}, {"number", 5}}); }

SHARDLAB_PLAIN_CASE(rough, crashes, kValue) { t.Ask("plain_divides_by_zero"); }

SHARDLAB_PLAIN_CASE(rough, never_ends, kValue) { t.Ask("plain_never_ends", {}, 0.3); }
