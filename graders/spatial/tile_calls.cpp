#include "tile_calls.hpp"

#include <fmt/format.h>

namespace shardlab::grade {
namespace {

std::vector<int64_t> OffsetOf(const Box& box) { return {0, 0, box.ranges[0].begin, box.ranges[1].begin}; }

// What every rank's tile would give if it were an image of its own.
at::Tensor OfTilesAlone(const TileCall& call, int rank) {
  return call.oracle(PixelsOf(call.x, call.held[static_cast<size_t>(rank)]), call.weight, call.bias);
}

std::vector<Range> OutputRanges(const SlidingWindow& window, const std::vector<Range>& tiles, int64_t outputs) {
  std::vector<Range> ranges;
  int64_t begin = 0;
  for (size_t i = 0; i < tiles.size(); ++i) {
    int64_t end = begin;
    while (end < outputs && (i + 1 == tiles.size() || end * window.stride < tiles[i].end)) ++end;
    ranges.push_back({begin, end});
    begin = end;
  }
  return ranges;
}

std::string Sides(int64_t rows, int64_t columns) {
  return rows == columns ? std::to_string(rows) : fmt::format("{}x{}", rows, columns);
}

}  // namespace

at::Tensor PixelsOf(const at::Tensor& image, const Box& box) { return ViewOfPixels(image, box).contiguous(); }

std::string Describe(const Tiling& tiling) {
  return fmt::format("{}x{} tiles of {} x {}", tiling.rows.size(), tiling.columns.size(), tiling.height(),
                     tiling.width());
}

std::string Describe(const ImageWindow& w) {
  std::string text = fmt::format("kernel {}", Sides(w.rows.kernel, w.columns.kernel));
  if (w.rows.stride != 1 || w.columns.stride != 1) {
    text += fmt::format(", stride {}", Sides(w.rows.stride, w.columns.stride));
  }
  text += fmt::format(", padding {}", Sides(w.rows.padding, w.columns.padding));
  if (w.rows.dilation != 1) text += fmt::format(", dilation {}", w.rows.dilation);
  return w.rows.ceil_mode ? text + ", ceil_mode" : text;
}

Tiling OutputTiling(const ImageWindow& window, const Tiling& tiling, int64_t height, int64_t width) {
  return {OutputRanges(window.rows, tiling.rows, height), OutputRanges(window.columns, tiling.columns, width)};
}

void TileCalls::Add(TileCall call) { calls_.push_back(std::move(call)); }

Run TileCalls::Launch(CaseContext& t) {
  spec.params["calls"] = nlohmann::json::array();
  for (size_t c = 0; c < calls_.size(); ++c) {
    const TileCall& call = calls_[c];
    const std::string i = std::to_string(c);
    nlohmann::json params = call.params;
    params["what"] = call.what;
    spec.params["calls"].push_back(params);
    const auto part = [&](const at::Tensor& whole, const Distribution& boxes) {
      return t.PerRank([&](int rank) { return PixelsOf(whole, boxes[static_cast<size_t>(rank)]); });
    };
    spec.inputs["x" + i] = part(call.x, call.held);
    if (call.weight.defined()) spec.inputs["weight" + i] = t.PerRank([&](int) { return call.weight; });
    if (call.bias.defined()) spec.inputs["bias" + i] = t.PerRank([&](int) { return call.bias; });
    if (call.dy.empty()) continue;
    spec.inputs["dy" + i] = call.outputs.empty() ? call.dy : part(call.dy[0], call.outputs);
  }
  return t.Launch(spec);
}

void TileCalls::ExpectResults(CaseContext& t, const Run& run) const {
  for (size_t c = 0; c < calls_.size(); ++c) {
    const TileCall& call = calls_[c];
    const std::string i = std::to_string(c);
    const at::Tensor whole = call.oracle(call.x, call.weight, call.bias);
    for (int rank = 0; rank < ranks_; ++rank) {
      t.Expect(run.Number(rank, "changed" + i) == 0, fmt::format("{} changed its input on rank {}", call.what, rank));
      Label label{"the result of " + call.what};
      if (call.y_mistakes) label.hypotheses = call.y_mistakes(rank);
      at::Tensor expected = whole;
      if (!call.outputs.empty()) {
        const Box& box = call.outputs[static_cast<size_t>(rank)];
        expected = PixelsOf(whole, box);
        for (Hypothesis& mistake : label.hypotheses) {  // some are of the whole image
          mistake.value = [=, of_whole = mistake.value] {
            const at::Tensor value = of_whole();
            return value.sizes() == whole.sizes() && whole.sizes() != expected.sizes() ? PixelsOf(value, box) : value;
          };
        }
        label.offset = OffsetOf(box);
        label.of_ranks = t.PerRank([&](int r) { return PixelsOf(whole, call.outputs[static_cast<size_t>(r)]); });
        label.hypotheses.push_back({"each tile is an image of its own, with padding at the tile's borders",
                                    [=] { return OfTilesAlone(call, rank); }});
      }
      if (call.exact) {
        t.ExpectEqual(run, rank, "y" + i, expected, label);
      } else {
        t.ExpectClose(run, rank, "y" + i, expected, label);
      }
    }
  }
}

void TileCalls::ExpectGradients(CaseContext& t, const Run& run) const {
  for (size_t c = 0; c < calls_.size(); ++c) {
    const TileCall& call = calls_[c];
    if (call.dy.empty()) continue;
    const std::string i = std::to_string(c);
    const bool needs_gradient = call.params.value("needs_gradient", true);
    const at::Tensor x = call.x.detach().clone().requires_grad_(true);
    const auto leaf = [](const at::Tensor& w) { return w.defined() ? w.detach().clone().requires_grad_(true) : w; };
    const at::Tensor weight = leaf(call.weight), bias = leaf(call.bias);
    const at::Tensor y = call.oracle(x, weight, bias);
    // What comes back to what rank r returned.
    const auto of_rank = [&](int rank) {
      if (call.outputs.empty()) return call.dy[static_cast<size_t>(rank)];
      at::Tensor own = at::zeros_like(call.dy[0]);
      const Box& box = call.outputs[static_cast<size_t>(rank)];
      ViewOfPixels(own, box).copy_(PixelsOf(call.dy[0], box));
      return own;
    };
    std::vector<at::Tensor> dx, dweight, dbias;  // by the rank whose outputs they come from
    for (int rank = 0; rank < ranks_; ++rank) {
      for (const at::Tensor& tensor : {x, weight, bias}) {
        if (tensor.defined()) tensor.mutable_grad() = at::Tensor();
      }
      y.backward(of_rank(rank), /*retain_graph=*/true);
      dx.push_back(x.grad().clone());
      if (weight.defined()) dweight.push_back(weight.grad().clone());
      if (bias.defined()) dbias.push_back(bias.grad().clone());
    }
    const at::Tensor whole = at::stack(dx).sum(0);
    const double scale = call.exact ? 0 : whole.norm().item<double>();
    const auto expect = [&](int rank, const std::string& output, const at::Tensor& expected, const Label& label) {
      if (call.exact) {
        t.ExpectEqual(run, rank, output, expected, label);
      } else {
        t.ExpectClose(run, rank, output, expected, label, scale);
      }
    };
    for (int rank = 0; rank < ranks_ && needs_gradient; ++rank) {
      const Box& box = call.held[static_cast<size_t>(rank)];
      Label label{"the gradient of the pixels, " + call.what};
      label.offset = OffsetOf(box);
      if (call.dx_mistakes) label.hypotheses = call.dx_mistakes(rank);
      label.hypotheses.push_back({"the gradients of pixels that another rank has read do not come back",
                                  [=, one = dx[static_cast<size_t>(rank)]] { return PixelsOf(one, box); }});
      for (int r = 0; r < ranks_; ++r) label.summands.push_back(PixelsOf(dx[static_cast<size_t>(r)], box));
      expect(rank, "dx" + i, PixelsOf(whole, box), label);
    }
    for (int rank = 0; rank < ranks_; ++rank) {
      const auto expect_own = [&](const std::string& name, const std::vector<at::Tensor>& by_rank) {
        if (by_rank.empty()) return;
        Label label{fmt::format("the gradient of the {}, {}", name, call.what)};
        label.hypotheses = {
            {"it is the sum over all ranks: what this rank's outputs contribute is asked for, and the sum "
             "over the ranks comes later",
             [=] { return at::stack(by_rank).sum(0); }},
            {"it is the mean over all ranks", [=] { return at::stack(by_rank).mean(0); }}};
        expect(rank, "d" + name + i, by_rank[static_cast<size_t>(rank)], label);
      };
      expect_own("weight", dweight);
      expect_own("bias", dbias);
    }
  }
}

TileCall ConvCall(CaseContext& t, const ConvShape& s, const Tiling& tiling, bool backward) {
  TileCall call;
  const ImageWindow window{{s.kernel_rows, s.stride_rows, s.padding_rows, s.dilation},
                           {s.kernel_columns, s.stride_columns, s.padding_columns, s.dilation}};
  call.what = fmt::format("TiledConv2d ({}{}; {})", Describe(window),
                          s.groups > 1 ? fmt::format(", {} groups", s.groups) : "", Describe(tiling));
  call.x = t.Integers({s.batch, s.in, s.height, s.width}, at::kDouble);
  call.weight = t.Integers({s.out, s.in / s.groups, s.kernel_rows, s.kernel_columns}, at::kDouble);
  if (s.bias) call.bias = t.Integers({s.out}, at::kDouble);
  call.oracle = [=](const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
    return at::conv2d(x, weight, bias, {s.stride_rows, s.stride_columns},
                      at::IntArrayRef{s.padding_rows, s.padding_columns}, {s.dilation, s.dilation}, s.groups);
  };
  const at::Tensor y = call.oracle(call.x, call.weight, call.bias);
  const Tiling outputs = OutputTiling(window, tiling, y.size(2), y.size(3));
  call.held = tiling.Boxes();
  call.outputs = outputs.Boxes();
  call.params = {{"op", "conv"},     {"window", window}, {"groups", s.groups},
                 {"tiling", tiling}, {"held", tiling},   {"outputs", outputs}};
  if (backward) call.dy = {t.Integers(y.sizes().vec(), at::kDouble)};
  return call;
}

}  // namespace shardlab::grade
