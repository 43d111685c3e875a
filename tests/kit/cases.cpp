// A referee of the tests: what Calls and the traffic between marks say of the bodies beside.

#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "kit/calls.hpp"
#include "kit/costs.hpp"
#include "kit/images.hpp"
#include "kit/traffic.hpp"

namespace shardlab::grade {
namespace {

void ExpectTwice(CaseContext& t, const std::string& how, bool strided = false) {
  Calls calls("twice");
  const at::Tensor same = t.Integers({3, 4}, at::kDouble) + 20;
  const std::vector<at::Tensor> x = t.PerRank([&](int) { return same.clone(); });
  std::vector<at::Tensor> twice = t.PerRank([&](int rank) { return x[rank] * 2; });
  if (how == "on the root" || how == "on rank 1") twice = {twice[0], at::Tensor()};
  calls.Add({"the numbers", x, twice, {{"how", how}, {"strided", strided}}});
  calls.Add({"others", x, {}, {{"how", "right"}}});
  calls.LaunchAndExpect(t);
}

}  // namespace

SHARDLAB_CASE(calls, right, kValue, {2}) { ExpectTwice(t, "right"); }
SHARDLAB_CASE(calls, on_the_root, kValue, {2}) { ExpectTwice(t, "on the root"); }
SHARDLAB_CASE(calls, strided, kValue, {2}) { ExpectTwice(t, "strided", true); }
SHARDLAB_CASE(calls, on_another, kValue, {2}) { ExpectTwice(t, "on rank 1"); }
SHARDLAB_CASE(calls, in_place, kValue, {1}) { ExpectTwice(t, "in place"); }
SHARDLAB_CASE(calls, alias, kValue, {1}) {
  Calls calls("twice");
  const at::Tensor x = t.Integers({5}, at::kDouble);
  calls.Add({"an alias", {x}, {x}, {{"how", "alias"}}});
  calls.LaunchAndExpect(t);
}
SHARDLAB_CASE(calls, transposed, kValue, {1}) { ExpectTwice(t, "transposed"); }
SHARDLAB_CASE(calls, throws, kValue, {1}) { ExpectTwice(t, "throws"); }

SHARDLAB_CASE(calls, one_for_all_calls, kValue, {1}) {
  Calls calls("twice");
  for (int i = 0; i < 2; ++i) {
    const at::Tensor x = t.Integers({5}, at::kDouble) + 10 * i;
    calls.Add({"numbers", {x}, {x * 2}, {{"how", "one for all calls"}}});
  }
  calls.LaunchAndExpect(t);
}
SHARDLAB_CASE(calls, turns_the_input, kValue, {1}) { ExpectTwice(t, "turns the input"); }
SHARDLAB_CASE(calls, in_groups, kValue, {3}) {
  Calls calls("twice");
  const auto number = [](int rank) { return at::full({2}, rank, at::kDouble); };
  for (const std::vector<int>& members : GroupsInTurn()) {
    std::vector<at::Tensor> inputs, expected;
    for (size_t i = 0; i < members.size(); ++i) {
      inputs.push_back(t.Integers({3}, at::kDouble));
      expected.push_back(number(static_cast<int>(i)));
    }
    calls.Add(InGroup({"the rank", inputs, expected, {{"how", "rank"}}}, members, t.ranks()));
  }
  calls.LaunchAndExpect(t);
}
SHARDLAB_CASE(calls, that_fail, kValue, {1}) { ExpectCommErrors(t, "fails", {"open"}); }
SHARDLAB_CASE(calls, that_hide_it, kValue, {1}) { ExpectCommErrors(t, "fails", {"hidden"}); }
SHARDLAB_CASE(calls, that_say_another, kValue, {1}) { ExpectCommErrors(t, "fails", {"other"}); }

// 2 rounds with 2 messages on 2 ranks are no ring, which has 4: both figures are looked at.
SHARDLAB_CASE(costs, are_told_apart, kCost, {1}) {
  Costs costs;
  costs.Add("rounds: log2 T", 2, 1, "rounds");
  costs.Add("messages", 2, 2, "messages");
  costs.AddToTell(7);
  costs.Expect(t,
               {{"it is a ring", {2, 4, 7}}, {"another one is longest", {2, 2, 6}}, {"they take turns", {2, kAny, 7}}});
}

SHARDLAB_CASE(traffic, between_marks, kCost, {2}) {
  const Run run = t.Launch({.body = "talk"});
  const Traffic first = TrafficBetween(run, 0, "begin", "end"), second = TrafficBetween(run, 1, "begin", "end");
  t.Expect(first.messages == 1 && first.bytes == 24, "rank 0 sends one message of 24 bytes");
  t.Expect(second.messages == 0 && second.bytes == 0, "rank 1 sends none");
  t.Expect(first.collectives.size() == 1 && first.collectives[0].elements == 3, "the second all-reduce is behind");
  const Traffic total = TotalTraffic(run, "begin", "end");
  t.Expect(total.messages == 1 && total.collectives.size() == 2, "the ranks' traffic together");
  const auto one = [](int) { return std::vector<Collective>{{OpKind::kAllReduce, 3}}; };
  ExpectCollectives(t, run, "talking", "begin", "end", one);
  ExpectCollectives(t, run, "silence", "over", "begin", NoCollectives);
}
SHARDLAB_CASE(traffic, another_size, kCost, {2}) {
  const Run run = t.Launch({.body = "talk"});
  const auto one = [](int) { return std::vector<Collective>{{OpKind::kAllReduce, 4}}; };
  ExpectCollectives(t, run, "talking", "begin", "end", one);
}
SHARDLAB_CASE(traffic, another_kind, kCost, {2}) {
  const Run run = t.Launch({.body = "talk"});
  const auto one = [](int) { return std::vector<Collective>{{OpKind::kAllGather, 3}}; };
  ExpectCollectives(t, run, "any kind", "begin", "end", one, /*any_kind=*/true);
  ExpectCollectives(t, run, "talking", "begin", "end", one);
}

SHARDLAB_CASE(images, of_the_seed, kValue, {1}) {
  const Images once = DrawImages(t, 7), again = DrawImages(t, 7);
  t.Expect(once.pixels.sizes() == at::IntArrayRef({7, 3, 32, 32}) && once.pixels.scalar_type() == at::kByte, "pixels");
  t.Expect(once.labels.sizes() == at::IntArrayRef({7}) && once.labels.max().item<int64_t>() < 10, "labels");
  t.Expect(once.pixels.equal(again.pixels) && once.labels.equal(again.labels), "the same twice");
  t.Expect(!once.pixels[0].equal(once.pixels[1]) && !once.source.empty(), "different images with a source");
}

}  // namespace shardlab::grade
