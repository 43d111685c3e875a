#include <string>
#include <vector>

#include <fmt/format.h>

#include "kit/traffic.hpp"
#include "tile_calls.hpp"

// A convolution on tiles is LibTorch's on the whole image.

namespace shardlab::grade {
namespace {

Tiling Vertical(int ranks, int64_t height, int64_t width) { return EvenTiling({1, ranks}, height, width); }
Tiling Horizontal(int ranks, int64_t height, int64_t width) { return EvenTiling({ranks, 1}, height, width); }

// The convolutions that models are made of, and some that they are not.
std::vector<ConvShape> AllConvolutions() {
  std::vector<ConvShape> all;
  const auto add = [&](auto change) {
    ConvShape shape;
    shape.height = 9;
    shape.width = 11;
    change(shape);
    all.push_back(shape);
  };
  const auto square = [](ConvShape& s, int64_t kernel, int64_t stride, int64_t padding) {
    s.kernel_rows = s.kernel_columns = kernel;
    s.stride_rows = s.stride_columns = stride;
    s.padding_rows = s.padding_columns = padding;
  };
  add([&](ConvShape& s) { square(s, 3, 1, 1); });
  add([&](ConvShape& s) { square(s, 3, 2, 1); });
  add([&](ConvShape& s) { square(s, 1, 2, 0); });
  add([&](ConvShape& s) { square(s, 7, 2, 3); });
  add([&](ConvShape& s) { square(s, 2, 1, 1), s.bias = false; });
  add([&](ConvShape& s) { square(s, 4, 2, 1); });
  add([&](ConvShape& s) { square(s, 3, 1, 0); });
  add([&](ConvShape& s) { square(s, 3, 3, 2); });
  add([&](ConvShape& s) { square(s, 3, 1, 2), s.dilation = 2; });
  add([&](ConvShape& s) { square(s, 3, 1, 1), s.in = 4, s.out = 4, s.groups = 2; });
  add([&](ConvShape& s) {
    s.kernel_rows = 1, s.padding_rows = 0, s.kernel_columns = 7, s.padding_columns = 3, s.stride_columns = 2;
  });
  add([&](ConvShape& s) {
    s.kernel_rows = 7, s.padding_rows = 3, s.kernel_columns = 1, s.padding_columns = 0, s.batch = 1;
  });
  return all;
}

void RunConvolutions(CaseContext& t, const Tiling& tiling, bool backward) {
  TileCalls calls(t.ranks());
  for (const ConvShape& shape : AllConvolutions()) calls.Add(ConvCall(t, shape, tiling, backward));
  const Run run = calls.Launch(t);
  if (backward) {
    calls.ExpectGradients(t, run);
  } else {
    calls.ExpectResults(t, run);
  }
}

}  // namespace

SHARDLAB_CASE(slices, convolution_of_slices, kValue, {1, 2, 3}) {
  TileCalls calls(t.ranks());
  ConvShape small{1, 1, 1, 3, 6};
  calls.Add(ConvCall(t, small, Vertical(t.ranks(), 3, 6), false));
  ConvShape turned{1, 1, 1, 6, 3};
  calls.Add(ConvCall(t, turned, Horizontal(t.ranks(), 6, 3), false));
  ConvShape larger{2, 3, 2, 5, 9};
  larger.kernel_rows = larger.kernel_columns = 5;
  larger.padding_rows = larger.padding_columns = 2;
  calls.Add(ConvCall(t, larger, Vertical(t.ranks(), 5, 9), false));
  ConvShape pointwise{2, 3, 2, 4, 6};
  pointwise.kernel_rows = pointwise.kernel_columns = 1;
  pointwise.padding_rows = pointwise.padding_columns = 0;
  calls.Add(ConvCall(t, pointwise, Horizontal(t.ranks(), 4, 6), false));
  calls.ExpectResults(t, calls.Launch(t));
}

SHARDLAB_CASE(slices, one_exchange_a_convolution, kCost, {3}) {
  TileCalls calls(3);
  calls.Add(ConvCall(t, {1, 2, 2, 4, 9}, Vertical(3, 4, 9), false));
  ConvShape pointwise{1, 2, 2, 4, 9};
  pointwise.kernel_rows = pointwise.kernel_columns = 1;
  pointwise.padding_rows = pointwise.padding_columns = 0;
  calls.Add(ConvCall(t, pointwise, Vertical(3, 4, 9), false));
  const Run run = calls.Launch(t);
  t.ExpectCost("a kernel of 3 on three slices: 2 (T - 1)",
               static_cast<double>(TotalTraffic(run, "forward 0", "forward done 0").messages), 4, "messages");
  t.ExpectCost("a kernel of 1 needs no halo",
               static_cast<double>(TotalTraffic(run, "forward 1", "forward done 1").messages), 0, "messages");
}

SHARDLAB_CASE(grid, convolutions_of_all_kinds, kValue, {2, 4}) {
  RunConvolutions(t, t.ranks() == 2 ? Vertical(2, 9, 11) : EvenTiling({2, 2}, 9, 11), false);
}

SHARDLAB_CASE(grid, tiles_of_other_sizes, kRobustness, {3, 6}) {
  const Tiling uneven = t.ranks() == 3 ? Tiling{{{0, 9}}, {{0, 2}, {2, 3}, {3, 11}}}
                                       : Tiling{{{0, 1}, {1, 2}, {2, 9}}, {{0, 7}, {7, 11}}};
  RunConvolutions(t, uneven, false);
}

SHARDLAB_CASE(grid, a_rank_without_an_output, kRobustness, {3}) {
  // Stride 3: the middle tile has no pixel whose number is a multiple of 3.
  const Tiling tiling{{{0, 4}}, {{0, 4}, {4, 6}, {6, 9}}};
  ConvShape shape{2, 1, 2, 4, 9};
  shape.stride_columns = 3;
  TileCalls calls(3);
  calls.Add(ConvCall(t, shape, tiling, true));
  const Run run = calls.Launch(t);
  calls.ExpectResults(t, run);
  calls.ExpectGradients(t, run);
}

SHARDLAB_CASE(grid, a_stride_needs_fewer_messages, kCost, {4}) {
  ConvShape shape{1, 1, 1, 8, 8};
  shape.stride_rows = shape.stride_columns = 2;
  TileCalls calls(4);
  calls.Add(ConvCall(t, shape, EvenTiling({2, 2}, 8, 8), false));
  const Run run = calls.Launch(t);
  t.ExpectCost("kernel 3, stride 2, 2x2 tiles: pairs (owner, reader) whose pixels meet",
               static_cast<double>(TotalTraffic(run, "forward 0", "forward done 0").messages), 5, "messages",
               {{"a halo on all four sides travels, also where the stride needs none", 12}});
}

SHARDLAB_CASE(grid, a_halo_that_is_there_is_not_sent, kCost, {2}) {
  // The ranks hold the halo already, as within a group of fused halos.
  const Tiling tiling = Vertical(2, 3, 8), wide{{{0, 3}}, {{0, 5}, {3, 8}}};
  TileCall call = ConvCall(t, {1, 2, 2, 3, 8}, tiling, false);
  call.held = wide.Boxes();
  call.params["held"] = wide;
  TileCalls calls(2);
  calls.Add(call);
  const Run run = calls.Launch(t);
  calls.ExpectResults(t, run);
  t.ExpectCost("messages where every rank has its halo",
               static_cast<double>(TotalTraffic(run, "forward 0", "forward done 0").messages), 0, "messages");
}

SHARDLAB_CASE(gradients, convolutions_of_all_kinds, kValue, {2, 4}) {
  RunConvolutions(t, t.ranks() == 2 ? Horizontal(2, 9, 11) : EvenTiling({2, 2}, 9, 11), true);
}

SHARDLAB_CASE(gradients, convolutions_of_uneven_tiles, kGradient, {3, 6}) {
  const Tiling uneven = t.ranks() == 3 ? Tiling{{{0, 9}}, {{0, 2}, {2, 3}, {3, 11}}}
                                       : Tiling{{{0, 1}, {1, 2}, {2, 9}}, {{0, 7}, {7, 11}}};
  RunConvolutions(t, uneven, true);
}

}  // namespace shardlab::grade
