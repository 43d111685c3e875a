#include <string>
#include <vector>

#include <fmt/format.h>

#include "kit/traffic.hpp"
#include "tile_calls.hpp"

// Packing, poolings, and what all pixels say together.

namespace shardlab::grade {
namespace {

// A tiling for the ranks of a case: odd tiles, in one row or in a grid.
Tiling TilesFor(int ranks, int64_t height, int64_t width) {
  return EvenTiling(ranks == 4 ? Grid{2, 2} : ranks == 6 ? Grid{2, 3} : Grid{1, ranks}, height, width);
}

struct Pooling {
  int64_t kernel, stride, padding, dilation;
  bool ceil_mode;
};

ImageWindow WindowOf(const Pooling& p) {
  const SlidingWindow side{p.kernel, p.stride, p.padding, p.dilation, p.ceil_mode};
  return {side, side};
}

void Finish(CaseContext& t, TileCall* call, const ImageWindow& window, const Tiling& tiling) {
  const at::Tensor y = call->oracle(call->x, {}, {});
  const Tiling outputs = OutputTiling(window, tiling, y.size(2), y.size(3));
  call->held = tiling.Boxes();
  call->outputs = outputs.Boxes();
  call->params["window"] = window;
  call->params["tiling"] = call->params["held"] = tiling;
  call->params["outputs"] = outputs;
  call->dy = {t.Integers(y.sizes().vec(), at::kDouble)};
}

TileCall MaxPool(CaseContext& t, const Pooling& p, const Tiling& tiling, int64_t below_zero) {
  TileCall call;
  const ImageWindow window = WindowOf(p);
  call.what = fmt::format("TiledMaxPool2d ({}; {})", Describe(window), Describe(tiling));
  // No two pixels alike: of equal ones LibTorch's backward takes the first, and a tile may have another first.
  const int64_t height = tiling.height(), width = tiling.width();
  call.x = (at::randperm(2 * height * width, at::kLong).to(at::kDouble) - static_cast<double>(below_zero))
               .reshape({1, 2, height, width});
  call.params = {{"op", "max_pool"}};
  call.oracle = [=](const at::Tensor& x, const at::Tensor&, const at::Tensor&) {
    return at::max_pool2d(x, p.kernel, p.stride, p.padding, p.dilation, p.ceil_mode);
  };
  call.y_mistakes = [=, x = call.x](int) {
    return std::vector<Hypothesis>{
        {"what lies outside of the image counts as 0, which is larger than negative pixels", [=] {
           const at::Tensor padded = at::constant_pad_nd(x, {p.padding, p.padding, p.padding, p.padding}, 0);
           return at::max_pool2d(padded, p.kernel, p.stride, 0, p.dilation, p.ceil_mode);
         }}};
  };
  Finish(t, &call, window, tiling);
  return call;
}

TileCall AveragePool(CaseContext& t, const Pooling& p, bool count_include_pad, int64_t divisor, const Tiling& tiling) {
  TileCall call;
  const ImageWindow window = WindowOf(p);
  call.what = fmt::format("TiledAveragePool2d ({}, {}{}; {})", Describe(window),
                          count_include_pad ? "count_include_pad" : "without count_include_pad",
                          divisor > 0 ? fmt::format(", divisor {}", divisor) : "", Describe(tiling));
  call.x = t.Normal({2, 2, tiling.height(), tiling.width()});
  call.exact = false;
  call.params = {{"op", "average_pool"}, {"count_include_pad", count_include_pad}, {"divisor", divisor}};
  call.oracle = [=](const at::Tensor& x, const at::Tensor&, const at::Tensor&) {
    return at::avg_pool2d(x, p.kernel, p.stride, p.padding, p.ceil_mode, count_include_pad,
                          divisor > 0 ? c10::optional<int64_t>(divisor) : c10::nullopt);
  };
  call.y_mistakes = [=, x = call.x](int) {
    std::vector<Hypothesis> all;
    if (divisor == 0) {
      all.push_back({count_include_pad ? "the padding is not counted" : "the padding is counted too", [=] {
                       return at::avg_pool2d(x, p.kernel, p.stride, p.padding, p.ceil_mode, !count_include_pad);
                     }});
      all.push_back({"every sum is divided by all pixels of the kernel", [=] {
                       return at::avg_pool2d(x, p.kernel, p.stride, p.padding, p.ceil_mode, true, p.kernel * p.kernel);
                     }});
    }
    return all;
  };
  Finish(t, &call, window, tiling);
  return call;
}

enum class Statistic { kOfBatch, kOfImage, kSum };

TileCall StatisticCall(CaseContext& t, Statistic statistic, const Tiling& tiling, int64_t batch, double mean = 3) {
  TileCall call;
  const char* names[] = {"TiledMoments, all images together", "TiledMoments, each image by itself", "TiledSum"};
  call.what = fmt::format("{} ({})", names[static_cast<int>(statistic)], Describe(tiling));
  call.exact = false;
  call.x = t.Normal({batch, 3, tiling.height(), tiling.width()}) + mean;
  call.held = tiling.Boxes();
  call.params = {{"op", statistic == Statistic::kSum ? "sum" : "moments"},
                 {"over_images", statistic == Statistic::kOfBatch},
                 {"tiling", tiling},
                 {"held", tiling}};
  const std::vector<int64_t> over =
      statistic == Statistic::kOfBatch ? std::vector<int64_t>{0, 2, 3} : std::vector<int64_t>{2, 3};
  call.oracle = [=](const at::Tensor& x, const at::Tensor&, const at::Tensor&) {
    if (statistic == Statistic::kSum) return x.sum(over);
    return at::stack({x.mean(over), x.var(over, /*unbiased=*/false)});
  };
  const at::Tensor y = call.oracle(call.x, {}, {});
  call.dy = t.PerRank([&](int) { return t.Normal(y.sizes().vec()); });
  call.y_mistakes = [=, oracle = call.oracle, x = call.x](int rank) {
    std::vector<at::Tensor> of_ranks;
    std::vector<Hypothesis> all = {
        {"it is of this rank's pixels alone", [=] { return oracle(PixelsOf(x, tiling.TileOf(rank)), {}, {}); }}};
    if (statistic == Statistic::kSum) return all;
    all.push_back({"each tile counts alike, though tiles have different numbers of pixels", [=] {
                     std::vector<at::Tensor> moments;
                     for (int r = 0; r < tiling.size(); ++r)
                       moments.push_back(oracle(PixelsOf(x, tiling.TileOf(r)), {}, {}));
                     return at::stack(moments).mean(0);
                   }});
    all.push_back({"the variance is divided by N - 1: the biased one is asked for", [=] {
                     return at::stack({x.mean(over), x.var(over, /*unbiased=*/true)});
                   }});
    return all;
  };
  return call;
}

void CheckAll(CaseContext& t, TileCalls& calls, bool gradients) {
  const Run run = calls.Launch(t);
  calls.ExpectResults(t, run);
  if (gradients) calls.ExpectGradients(t, run);
}

}  // namespace

SHARDLAB_CASE(gradients, packing, kValue, {1}) {
  RunSpec spec;
  spec.body = "pack";
  spec.threads = 2;
  struct Asked {
    std::string what;
    std::vector<Box> boxes;
    bool strided;
  };
  const std::vector<Asked> asked = {{"one column", {Box{{{0, 3}, {1, 2}}}}, false},
                                    {"two boxes", {Box{{{1, 3}, {0, 4}}}, Box{{{0, 1}, {2, 5}}}}, false},
                                    {"boxes that overlap", {Box{{{0, 3}, {0, 3}}}, Box{{{1, 4}, {1, 5}}}}, false},
                                    {"x not contiguous", {Box{{{0, 2}, {0, 5}}}, Box{{{3, 4}, {0, 1}}}}, true},
                                    {"an empty box", {Box{{{2, 2}, {0, 5}}}}, false},
                                    {"no box", {}, false}};
  std::vector<at::Tensor> packed, sums;
  for (size_t i = 0; i < asked.size(); ++i) {
    const std::string n = std::to_string(i);
    spec.params["calls"].push_back({{"what", asked[i].what}, {"boxes", asked[i].boxes}, {"strided", asked[i].strided}});
    const at::Tensor x = t.Integers({2, 3, 4, 5}, at::kDouble), into = t.Integers({2, 3, 4, 5}, at::kDouble);
    std::vector<at::Tensor> parts = {at::empty({0}, at::kDouble)};
    for (const Box& box : asked[i].boxes) parts.push_back(PixelsOf(x, box).flatten());
    packed.push_back(at::cat(parts));
    const at::Tensor add = t.Integers({packed.back().numel()}, at::kDouble);
    at::Tensor sum = into.clone();
    int64_t place = 0;
    for (const Box& box : asked[i].boxes) {
      at::Tensor pixels = ViewOfPixels(sum, box);
      pixels += add.slice(0, place, place + pixels.numel()).reshape(pixels.sizes());
      place += pixels.numel();
    }
    sums.push_back(sum);
    spec.inputs["x" + n] = {x};
    spec.inputs["into" + n] = {into};
    spec.inputs["add" + n] = {add};
  }
  const Run run = t.Launch(spec);
  for (size_t i = 0; i < asked.size(); ++i) {
    for (const int threads : {1, 2}) {
      const std::string n = fmt::format("{}/{}", i, threads);
      const std::string with = fmt::format("({}; {} thread{})", asked[i].what, threads, threads == 1 ? "" : "s");
      t.ExpectEqual(run, 0, "packed" + n, packed[i], {"what PackPixels returns " + with});
      t.ExpectEqual(run, 0, "sum" + n, sums[i], {"what AddPackedPixels leaves " + with});
    }
  }
}

SHARDLAB_CASE(gradients, max_pooling, kValue, {2, 4}) {
  TileCalls calls(t.ranks());
  const Tiling tiling = TilesFor(t.ranks(), 9, 11);
  for (const Pooling& p : {Pooling{3, 1, 1, 1, false},
                           {2, 2, 0, 1, false},
                           {3, 2, 1, 1, false},
                           {3, 2, 1, 1, true},
                           {2, 2, 0, 1, true},
                           {3, 1, 1, 2, false}}) {
    calls.Add(MaxPool(t, p, tiling, /*below_zero=*/1000));
  }
  CheckAll(t, calls, true);
}

SHARDLAB_CASE(gradients, average_pooling, kValue, {2, 4}) {
  TileCalls calls(t.ranks());
  const Tiling tiling = TilesFor(t.ranks(), 10, 11);
  for (const bool include : {false, true}) {
    for (const Pooling& p : {Pooling{3, 1, 1, 1, false}, {2, 2, 0, 1, false}, {3, 2, 1, 1, true}, {2, 2, 1, 1, true}}) {
      calls.Add(AveragePool(t, p, include, 0, tiling));
    }
  }
  calls.Add(AveragePool(t, {3, 2, 1, 1, false}, true, 5, tiling));
  CheckAll(t, calls, true);
}

SHARDLAB_CASE(gradients, poolings_of_uneven_tiles, kRobustness, {3, 6}) {
  TileCalls calls(t.ranks());
  const Tiling tiling =
      t.ranks() == 3 ? Tiling{{{0, 7}}, {{0, 1}, {1, 2}, {2, 8}}} : Tiling{{{0, 2}, {2, 7}}, {{0, 5}, {5, 6}, {6, 8}}};
  calls.Add(MaxPool(t, {3, 2, 1, 1, false}, tiling, 1000));
  calls.Add(MaxPool(t, {2, 2, 0, 1, true}, tiling, 0));
  calls.Add(AveragePool(t, {3, 2, 1, 1, false}, false, 0, tiling));
  CheckAll(t, calls, true);
}

SHARDLAB_CASE(gradients, moments_of_all_tiles, kValue, {1, 3, 4}) {
  TileCalls calls(t.ranks());
  const Tiling tiling = TilesFor(t.ranks(), 5, 7);
  calls.Add(StatisticCall(t, Statistic::kOfBatch, tiling, 3));
  calls.Add(StatisticCall(t, Statistic::kOfImage, tiling, 3));
  calls.Add(StatisticCall(t, Statistic::kSum, tiling, 3));
  CheckAll(t, calls, true);
}

SHARDLAB_CASE(gradients, moments_of_large_numbers, kRobustness, {2}) {
  // Float32, mean 1000, deviation 1: a difference of large sums loses every digit.
  TileCall call = StatisticCall(t, Statistic::kOfBatch, TilesFor(2, 6, 9), 4, 1000);
  call.x = call.x.to(at::kFloat);
  call.dy.clear();
  TileCalls calls(2);
  calls.Add(call);
  const Run run = calls.Launch(t);
  const at::Tensor x = call.x.to(at::kDouble);
  const at::Tensor right = x.var({0, 2, 3}, /*unbiased=*/false);
  for (int rank = 0; rank < 2; ++rank) {
    const at::Tensor got = run.Output(rank, "y0");
    t.Expect(got.defined() && got.dim() == 2 && got.size(0) == 2, "TiledMoments returns [2, C]");
    const double off = ((got[1].to(at::kDouble) - right) / right).abs().max().item<double>();
    t.Expect(off < 1e-4,
             fmt::format("TiledMoments of float32 with mean 1000 and deviation 1: the variance is off by {:.2g} of "
                         "itself, and may be by 1e-4: no difference of large sums (E[x^2] - mean^2)",
                         off));
  }
}

SHARDLAB_CASE(gradients, a_halo_counts_for_its_owner, kRobustness, {2}) {
  const Tiling tiling = TilesFor(2, 3, 6), wide{{{0, 3}}, {{0, 4}, {2, 6}}};
  TileCalls calls(2);
  for (const Statistic statistic : {Statistic::kOfBatch, Statistic::kOfImage, Statistic::kSum}) {
    TileCall call = StatisticCall(t, statistic, tiling, 2);
    call.what += ", ranks hold a halo besides";
    call.held = wide.Boxes();
    call.params["held"] = wide;
    call.dy.clear();
    call.y_mistakes = nullptr;
    calls.Add(call);
  }
  calls.ExpectResults(t, calls.Launch(t));
}

SHARDLAB_CASE(gradients, one_collective_each_way, kCost, {3}) {
  const Tiling tiling = TilesFor(3, 4, 7);
  TileCalls calls(3);
  calls.Add(StatisticCall(t, Statistic::kOfBatch, tiling, 2));
  calls.Add(StatisticCall(t, Statistic::kSum, tiling, 2));
  const Run run = calls.Launch(t);
  const auto one = [](int64_t elements) {
    return [=](int) { return std::vector<Collective>{{OpKind::kAllReduce, elements}}; };
  };
  ExpectCollectives(t, run, "TiledMoments of 3 channels, forward", "forward 0", "forward done 0", one(6),
                    /*any_kind=*/true);
  ExpectCollectives(t, run, "TiledMoments of 3 channels, backward", "backward 0", "backward done 0", one(6));
  ExpectCollectives(t, run, "TiledSum of 2 images with 3 channels, forward", "forward 1", "forward done 1", one(6));
  ExpectCollectives(t, run, "TiledSum of 2 images with 3 channels, backward", "backward 1", "backward done 1", one(6));
}

}  // namespace shardlab::grade
