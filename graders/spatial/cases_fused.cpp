#include <string>
#include <vector>

#include <fmt/format.h>

#include "kit/traffic.hpp"
#include "tile_calls.hpp"

// Part fused_halo: layers that share one exchange, held against LibTorch on the whole image.

namespace shardlab::grade {
namespace {

struct Chain {
  std::vector<SlidingWindow> windows;  // of rows and columns alike
  int64_t side = 16;
  int group = 0;  // 0: an exchange a layer
};

Grid GridFor(int ranks) { return ranks == 4 ? Grid{2, 2} : ranks == 6 ? Grid{3, 2} : Grid{1, ranks}; }

std::vector<Range> OutputsAlong(const SlidingWindow& window, const std::vector<Range>& tiles, int64_t outputs) {
  return OutputTiling({window, window}, {tiles, tiles}, outputs, outputs).rows;
}

// Runs a chain and compares; \returns the run.
Run ExpectChain(CaseContext& t, const Chain& chain) {
  const Grid grid = GridFor(t.ranks());
  RunSpec spec;
  spec.body = "chain";
  nlohmann::json windows;
  for (const SlidingWindow& window : chain.windows) windows.push_back(ImageWindow{window, window});
  spec.params = {{"windows", windows}, {"side", chain.side}, {"group", chain.group}, {"grid", ToString(grid)}};
  at::Tensor x = t.Integers({2, 1, chain.side, chain.side}, at::kDouble);
  spec.inputs["x"] = t.PerRank([&](int) { return x; });
  std::vector<at::Tensor> weights;
  Tiling tiling = EvenTiling(grid, chain.side, chain.side);
  const Tiling first = tiling;
  at::Tensor y = x.clone().requires_grad_(true);
  const at::Tensor leaf = y;
  for (size_t i = 0; i < chain.windows.size(); ++i) {
    const SlidingWindow& w = chain.windows[i];
    weights.push_back(at::randint(-1, 2, {1, 1, w.kernel, w.kernel}, at::kDouble).requires_grad_(true));
    spec.inputs["weight" + std::to_string(i)] = t.PerRank([&](int) { return weights.back().detach(); });
    y = at::conv2d(y, weights.back(), {}, w.stride, w.padding, w.dilation);
    tiling = {OutputsAlong(w, tiling.rows, y.size(2)), OutputsAlong(w, tiling.columns, y.size(3))};
  }
  const at::Tensor dy = t.Integers(y.sizes().vec(), at::kDouble);
  spec.inputs["dy"] = t.PerRank([&](int) { return dy; });
  y.backward(dy);
  const Run run = t.Launch(spec);
  const std::string what = fmt::format("{} layers on {} tiles of {} x {}, {} an exchange", chain.windows.size(),
                                       ToString(grid), chain.side, chain.side, std::max(chain.group, 1));
  for (int rank = 0; rank < t.ranks(); ++rank) {
    t.ExpectEqual(run, rank, "y", PixelsOf(y.detach(), tiling.TileOf(rank)), {"the result of " + what});
    t.ExpectEqual(run, rank, "dx", PixelsOf(leaf.grad(), first.TileOf(rank)), {"the gradient of the pixels, " + what});
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    at::Tensor sum = at::zeros_like(weights[i].grad());
    for (int rank = 0; rank < t.ranks(); ++rank) {
      const at::Tensor part = run.Output(rank, "dweight" + std::to_string(i));
      t.Expect(part.defined() && part.sizes() == sum.sizes(), what + ": a gradient of a weight is missing");
      sum += part;
    }
    t.Expect(
        at::equal(sum, weights[i].grad()),
        fmt::format("{}: the gradients of weight {} of all ranks sum to something else than that of one process: an "
                    "output that is computed twice counts once, where it is used",
                    what, i + 1));
  }
  return run;
}

}  // namespace

SHARDLAB_CASE(fused_halo, layers_that_share_a_halo, kValue, {2, 4, 6}) {
  ExpectChain(t, {{{3, 1, 1}, {3, 1, 1}, {3, 1, 1}}, 18, 3});
  ExpectChain(t, {{{3, 1, 1}, {3, 1, 1}, {3, 1, 1}}, 18, 2});
  ExpectChain(t, {{{3, 2, 1}, {3, 1, 1}, {1, 1, 0}, {3, 1, 1}}, 24, 4});
}

SHARDLAB_CASE(fused_halo, odd_windows_and_images, kRobustness, {2, 4}) {
  ExpectChain(t, {{{5, 1, 2}, {2, 1, 1}, {3, 1, 0}}, 17, 3});
  ExpectChain(t, {{{3, 1, 2, 2}, {4, 2, 1}, {3, 1, 1}}, 19, 3});
}

SHARDLAB_CASE(fused_halo, one_exchange_a_group, kCost, {4}) {
  const std::vector<SlidingWindow> four(4, SlidingWindow{3, 1, 1});
  const auto messages = [&](int group) {
    return static_cast<double>(TotalTraffic(ExpectChain(t, {four, 24, group}), "forward", "backward").messages);
  };
  t.ExpectCost("4 layers on 2x2 tiles, all in one group: 12 an exchange", messages(4), 12, "messages",
               {{"every layer exchanges its own halo", 48}});
  t.ExpectCost("4 layers on 2x2 tiles, in groups of 2: 12 an exchange", messages(2), 24, "messages",
               {{"every layer exchanges its own halo", 48}});
  t.ExpectCost("4 layers on 2x2 tiles, each by itself: 12 an exchange", messages(1), 48, "messages");
}

}  // namespace shardlab::grade
