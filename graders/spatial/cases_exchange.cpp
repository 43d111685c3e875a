#include <string>
#include <vector>

#include <fmt/format.h>

#include "kit/traffic.hpp"
#include "tile_calls.hpp"

// Pixels that travel: what arrives, in how many messages, and how the gradients come back.

namespace shardlab::grade {
namespace {

// Ranges with `before` and `behind` more pixels, within the image.
std::vector<Range> Grown(const std::vector<Range>& ranges, int64_t before, int64_t behind) {
  std::vector<Range> grown;
  const int64_t end = ranges.back().end;
  for (const Range& range : ranges) {
    grown.push_back({std::max<int64_t>(range.begin - before, 0), std::min(range.end + behind, end)});
  }
  return grown;
}

Tiling Grown(const Tiling& tiling, int64_t rows, int64_t columns) {
  return {Grown(tiling.rows, rows, rows), Grown(tiling.columns, columns, columns)};
}

// `ranks` tiles beside each other, or above each other.
Tiling Slices(int ranks, bool vertical, int64_t height, int64_t width) {
  return EvenTiling(vertical ? Grid{1, ranks} : Grid{ranks, 1}, height, width);
}

TileCall ExchangeCall(CaseContext& t, const std::string& what, const Distribution& from, const Distribution& to,
                      std::vector<int64_t> sizes, bool backward = false) {
  TileCall call;
  call.what = "ExchangePixels (" + what + ")";
  call.x = t.Integers(sizes, at::kDouble);
  call.held = from;
  call.outputs = to;
  call.oracle = [](const at::Tensor& x, const at::Tensor&, const at::Tensor&) { return x.clone(); };
  call.params = {{"op", "exchange"}, {"from", from}, {"to", to}};
  if (backward) call.dy = {t.Integers(sizes, at::kDouble)};
  call.y_mistakes = [=, x = call.x](int rank) {
    const Box& mine = to[static_cast<size_t>(rank)];
    return std::vector<Hypothesis>{{"nothing arrives: pixels of other ranks are 0",
                                    [=] {
                                      const at::Tensor own = at::zeros_like(x);
                                      const Box& had = from[static_cast<size_t>(rank)];
                                      ViewOfPixels(own, had).copy_(PixelsOf(x, had));
                                      return PixelsOf(own, mine);
                                    }},
                                   {"it is what this rank had: the halo is missing",
                                    [=] { return PixelsOf(x, from[static_cast<size_t>(rank)]); }}};
  };
  return call;
}

// How many messages, and of how many bytes, an exchange of doubles has.
struct Expected {
  int64_t messages = 0, bytes = 0;
};
Expected MessagesOf(const Distribution& from, const Distribution& to, int64_t images) {
  Expected expected;
  for (const Move& move : Moves(from, to)) {
    if (move.from == move.to) continue;
    ++expected.messages;
    expected.bytes += move.box.volume() * images * 8;
  }
  return expected;
}

void ExpectTraffic(CaseContext& t, const Run& run, const std::string& from, const std::string& to,
                   const std::string& what, const Expected& expected) {
  const Traffic traffic = TotalTraffic(run, from, to);
  t.ExpectCost(fmt::format("{}: one message for each pair of ranks", what), static_cast<double>(traffic.messages),
               static_cast<double>(expected.messages), "messages");
  t.ExpectCost(fmt::format("{}: what is missing, and nothing else", what), static_cast<double>(traffic.bytes),
               static_cast<double>(expected.bytes), "bytes");
}

}  // namespace

SHARDLAB_CASE(slices, exchange_of_a_halo, kValue, {1, 2, 3}) {
  TileCalls calls(t.ranks());
  for (const bool vertical : {true, false}) {
    const Tiling tiling = Slices(t.ranks(), vertical, vertical ? 2 : 7, vertical ? 7 : 2);
    calls.Add(ExchangeCall(t, vertical ? "one column wide" : "one row wide", tiling.Boxes(),
                           Grown(tiling, 1, 1).Boxes(), {1, 1, tiling.height(), tiling.width()}));
    calls.Add(ExchangeCall(t, "2 pixels wide, 2 images, 3 channels", tiling.Boxes(), Grown(tiling, 2, 2).Boxes(),
                           {2, 3, tiling.height(), tiling.width()}));
  }
  calls.ExpectResults(t, calls.Launch(t));
}

SHARDLAB_CASE(slices, exchange_with_several_owners, kRobustness, {3, 4}) {
  TileCalls calls(t.ranks());
  const Tiling tiling = Slices(t.ranks(), true, 2, 6);
  calls.Add(ExchangeCall(t, "a halo wider than a tile", tiling.Boxes(), Grown(tiling, 0, 3).Boxes(), {1, 2, 2, 6}));
  const Distribution whole(static_cast<size_t>(t.ranks()), WholeBox({2, 6}));
  calls.Add(ExchangeCall(t, "the whole image on every rank", tiling.Boxes(), whole, {1, 2, 2, 6}));
  Distribution one = whole;
  for (size_t rank = 1; rank < one.size(); ++rank) one[rank] = Box{{{0, 0}, {0, 0}}};
  calls.Add(ExchangeCall(t, "the whole image on rank 0, and nothing on the others", tiling.Boxes(), one, {1, 2, 2, 6}));
  calls.Add(ExchangeCall(t, "from rank 0 alone", one, tiling.Boxes(), {1, 2, 2, 6}));
  Distribution middle = whole;  // rank 0 lacks what lies on both sides of its own pixels
  middle[0] = Box{{{0, 2}, {2, 4}}};
  calls.Add(ExchangeCall(t, "two boxes for one rank", middle, whole, {1, 2, 2, 6}));
  calls.ExpectResults(t, calls.Launch(t));
}

SHARDLAB_CASE(slices, exchange_of_nothing, kRobustness, {2}) {
  TileCalls calls(t.ranks());
  const Tiling tiling = Slices(2, true, 3, 4);
  calls.Add(ExchangeCall(t, "everybody has what it needs", tiling.Boxes(), tiling.Boxes(), {2, 1, 3, 4}));
  calls.Add(ExchangeCall(t, "no image", tiling.Boxes(), Grown(tiling, 1, 1).Boxes(), {0, 2, 3, 4}));
  calls.Add(ExchangeCall(t, "no channel", tiling.Boxes(), Grown(tiling, 1, 1).Boxes(), {2, 0, 3, 4}));
  TileCall strided = ExchangeCall(t, "x is not contiguous", tiling.Boxes(), Grown(tiling, 1, 1).Boxes(), {2, 2, 3, 4});
  strided.params["strided"] = true;
  calls.Add(strided);
  calls.ExpectResults(t, calls.Launch(t));
}

SHARDLAB_CASE(slices, exchange_cost, kCost, {3}) {
  const Tiling tiling = Slices(3, true, 4, 9);
  TileCalls calls(3);
  calls.Add(ExchangeCall(t, "one column wide", tiling.Boxes(), Grown(tiling, 1, 1).Boxes(), {2, 3, 4, 9}));
  const Run run = calls.Launch(t);
  ExpectTraffic(t, run, "forward 0", "forward done 0", "a halo of one column between three slices",
                MessagesOf(tiling.Boxes(), Grown(tiling, 1, 1).Boxes(), 6));
}

SHARDLAB_CASE(slices, what_nobody_has_is_refused, kRobustness, {2}) {
  RunSpec spec;
  spec.body = "refusals";
  const Tiling tiling = Slices(2, true, 2, 4);
  const Distribution beyond(2, WholeBox({2, 5}));
  spec.params["calls"] = {
      {{"what", "pixels that nobody has"}, {"op", "exchange"}, {"from", tiling.Boxes()}, {"to", beyond}},
      {{"what", "x of another size"},
       {"op", "exchange"},
       {"from", tiling.Boxes()},
       {"to", Grown(tiling, 1, 1).Boxes()}}};
  spec.inputs["x0"] = t.PerRank([&](int) { return t.Integers({1, 1, 2, 2}, at::kDouble); });
  spec.inputs["x1"] = t.PerRank([&](int) { return t.Integers({1, 1, 2, 3}, at::kDouble); });
  const Run run = t.Launch(spec);
  for (int rank = 0; rank < 2; ++rank) {
    t.Expect(run.Number(rank, "refused0") == 1,
             fmt::format(
                 "ExchangePixels to pixels 4:5 that no rank has: not refused on rank {}, and must throw ContractError "
                 "(Moves does)",
                 rank));
    t.Expect(run.Number(rank, "refused1") == 1,
             fmt::format("ExchangePixels of [1, 1, 2, 3] where rank {} has 2 x 2 pixels: not refused, and must throw "
                         "ContractError",
                         rank));
  }
}

SHARDLAB_CASE(grid, exchange_with_corners, kValue, {4, 6}) {
  const Grid grid = t.ranks() == 4 ? Grid{2, 2} : Grid{2, 3};
  const Tiling tiling = EvenTiling(grid, 5, 7);
  TileCalls calls(t.ranks());
  calls.Add(ExchangeCall(t, "one pixel wide all around", tiling.Boxes(), Grown(tiling, 1, 1).Boxes(), {1, 1, 5, 7}));
  calls.Add(ExchangeCall(t, "2 rows and 1 column wide", tiling.Boxes(), Grown(tiling, 2, 1).Boxes(), {2, 2, 5, 7}));
  calls.ExpectResults(t, calls.Launch(t));
}

SHARDLAB_CASE(grid, two_rounds, kValue, {1, 4, 6}) {
  const Grid grid = t.ranks() == 1 ? Grid{1, 1} : t.ranks() == 4 ? Grid{2, 2} : Grid{3, 2};
  const Tiling tiling = EvenTiling(grid, 7, 5);
  TileCalls calls(t.ranks());
  for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{1, 1}, {2, 1}, {0, 2}}) {
    const Tiling to = Grown(tiling, rows, columns);
    TileCall call = ExchangeCall(t, "", tiling.Boxes(), to.Boxes(), {2, 1, 7, 5});
    call.what = fmt::format("ExchangeInTwoRounds ({} rows, {} columns wide)", rows, columns);
    call.params = {{"op", "two_rounds"}, {"tiling", tiling}, {"held", tiling}, {"outputs", to}};
    calls.Add(call);
  }
  calls.ExpectResults(t, calls.Launch(t));
}

SHARDLAB_CASE(grid, corners_cost_messages, kCost, {4}) {
  const Tiling tiling = EvenTiling({2, 2}, 6, 6), to = Grown(tiling, 1, 1);
  TileCalls calls(4);
  calls.Add(ExchangeCall(t, "one pixel wide all around", tiling.Boxes(), to.Boxes(), {1, 2, 6, 6}));
  TileCall rounds = ExchangeCall(t, "", tiling.Boxes(), to.Boxes(), {1, 2, 6, 6});
  rounds.what = "ExchangeInTwoRounds (one pixel wide all around)";
  rounds.params = {{"op", "two_rounds"}, {"tiling", tiling}, {"held", tiling}, {"outputs", to}};
  calls.Add(rounds);
  const Run run = calls.Launch(t);
  ExpectTraffic(t, run, "forward 0", "forward done 0", "2x2 tiles at once: 2[R(C-1) + C(R-1)] + 4(R-1)(C-1)",
                MessagesOf(tiling.Boxes(), to.Boxes(), 2));
  t.ExpectCost("2x2 tiles in two rounds: 2[R(C-1) + C(R-1)]",
               static_cast<double>(TotalTraffic(run, "forward 1", "forward done 1").messages), 8, "messages",
               {{"corners travel by themselves", 12}});
}

SHARDLAB_CASE(grid, tilings_that_do_not_fit_are_refused, kRobustness, {4}) {
  RunSpec spec;
  spec.body = "refusals";
  const Tiling tiling = EvenTiling({2, 2}, 4, 4);
  spec.params["calls"] = {{{"what", "another grid"},
                           {"op", "two_rounds"},
                           {"tiling", tiling},
                           {"held", tiling},
                           {"outputs", EvenTiling({1, 4}, 4, 4)}},
                          {{"what", "tiles for two ranks"},
                           {"op", "two_rounds"},
                           {"tiling", tiling},
                           {"held", EvenTiling({2, 1}, 4, 4)},
                           {"outputs", EvenTiling({2, 1}, 4, 4)}}};
  for (const char* x : {"x0", "x1"}) {
    spec.inputs[x] = t.PerRank([&](int) { return t.Integers({1, 1, 2, 2}, at::kDouble); });
  }
  const Run run = t.Launch(spec);
  for (const auto& [i, what] : {std::pair<const char*, const char*>{"refused0", "between a grid of 2x2 and one of 1x4"},
                                {"refused1", "of 2 tiles on 4 ranks"}}) {
    t.Expect(run.Number(0, i) == 1,
             fmt::format("ExchangeInTwoRounds {}: not refused, and must throw ContractError", what));
  }
}

SHARDLAB_CASE(gradients, exchange_brings_gradients_home, kGradient, {2, 4}) {
  const Grid grid = t.ranks() == 2 ? Grid{1, 2} : Grid{2, 2};
  const Tiling tiling = EvenTiling(grid, 5, 6);
  TileCalls calls(t.ranks());
  calls.Add(ExchangeCall(t, "one pixel wide", tiling.Boxes(), Grown(tiling, 1, 1).Boxes(), {1, 1, 5, 6}, true));
  const Distribution whole(static_cast<size_t>(t.ranks()), WholeBox({5, 6}));
  calls.Add(ExchangeCall(t, "the whole image on every rank", tiling.Boxes(), whole, {2, 2, 5, 6}, true));
  Distribution one = whole;
  for (size_t rank = 1; rank < one.size(); ++rank) one[rank] = Box{{{0, 0}, {0, 0}}};
  calls.Add(ExchangeCall(t, "the whole image on rank 0", tiling.Boxes(), one, {2, 1, 5, 6}, true));
  calls.Add(ExchangeCall(t, "pixels that nobody needs", tiling.Boxes(),
                         Distribution(whole.size(), Box{{{0, 2}, {1, 3}}}), {1, 1, 5, 6}, true));
  calls.ExpectGradients(t, calls.Launch(t));
}

SHARDLAB_CASE(gradients, two_rounds_backward, kGradient, {4}) {
  const Tiling tiling = EvenTiling({2, 2}, 5, 6), to = Grown(tiling, 1, 1);
  TileCall call = ExchangeCall(t, "", tiling.Boxes(), to.Boxes(), {2, 1, 5, 6}, true);
  call.what = "ExchangeInTwoRounds (one pixel wide)";
  call.params = {{"op", "two_rounds"}, {"tiling", tiling}, {"held", tiling}, {"outputs", to}};
  TileCalls calls(4);
  calls.Add(call);
  calls.ExpectGradients(t, calls.Launch(t));
}

SHARDLAB_CASE(gradients, the_way_back_costs_as_much, kCost, {4}) {
  const Tiling tiling = EvenTiling({2, 2}, 6, 6), to = Grown(tiling, 1, 1);
  TileCalls calls(4);
  calls.Add(ExchangeCall(t, "one pixel wide", tiling.Boxes(), to.Boxes(), {1, 2, 6, 6}, true));
  TileCall images = ExchangeCall(t, "images that need no gradient", tiling.Boxes(), to.Boxes(), {1, 2, 6, 6}, true);
  images.params["needs_gradient"] = false;
  calls.Add(images);
  const Run run = calls.Launch(t);
  ExpectTraffic(t, run, "backward 0", "backward done 0", "gradients of a halo of 2x2 tiles",
                MessagesOf(tiling.Boxes(), to.Boxes(), 2));
  t.ExpectCost("messages back for images that need no gradient",
               static_cast<double>(TotalTraffic(run, "backward 1", "backward done 1").messages), 0, "messages");
}

}  // namespace shardlab::grade
