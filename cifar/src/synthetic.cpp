#include "shardlab/cifar/synthetic.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "shardlab/base/counter_random.hpp"
#include "shardlab/base/errors.hpp"

namespace shardlab::cifar {
namespace {

constexpr int kSide = static_cast<int>(kImageSide);
constexpr int kGrid = 4;    // random colours along each side of the background
constexpr int kNoise = 25;  // largest noise on a pixel, in grey levels of 0..255

int IntegerSquareRoot(int n) {
  int root = 0;
  while ((root + 1) * (root + 1) <= n) ++root;
  return root;
}

// Whether a texture is on its bright side (true) at (y, x), relative to the patch's centre.
bool IsBright(int label, int y, int x, int phase) {
  // Non-negative operands, so that / and % mean the same on both sides of the centre.
  const int far = 1 << 12;
  const auto stripe = [&](int distance, int width) { return (distance + phase + far) / width % 2 == 0; };
  switch (label) {
    case 0:
      return stripe(y, 2);
    case 1:
      return stripe(x, 2);
    case 2:
      return stripe(x - y, 3);
    case 3:
      return stripe(x + y, 3);
    case 4:
      return stripe(y, 2) == stripe(x, 2);
    case 5:
      return stripe(y, 4);
    case 6:
      return stripe(x, 4);
    case 7:
      return stripe(x - y, 6);
    case 8:
      return stripe(x + y, 6);
    default:
      return stripe(IntegerSquareRoot(x * x + y * y), 2);
  }
}

void DrawImage(CounterRandom random, int label, uint8_t* image) {
  // Figure, background: a grid of colours, interpolated in units of 1 / kSide between grid points.
  int grid[kChannels][kGrid][kGrid];
  for (auto& channel : grid) {
    for (auto& row : channel) {
      for (int& colour : row) colour = random.Between(60, 195);
    }
  }
  // Figure, 1 and 3.
  const int side = random.Between(10, 16);
  const int top = random.Between(0, kSide - side);
  const int left = random.Between(0, kSide - side);
  const int phase = random.Between(0, 11);
  const int sign = random.Below(2) == 0 ? 1 : -1;
  int contrast[kChannels];
  for (int& c : contrast) c = sign * random.Between(12, 50);

  for (int c = 0; c < kChannels; ++c) {
    for (int y = 0; y < kSide; ++y) {
      for (int x = 0; x < kSide; ++x) {
        const int gy = y * (kGrid - 1), gx = x * (kGrid - 1);
        const int iy = gy / kSide, ix = gx / kSide, fy = gy % kSide, fx = gx % kSide;
        const int upper = grid[c][iy][ix] * (kSide - fx) + grid[c][iy][ix + 1] * fx;
        const int lower = grid[c][iy + 1][ix] * (kSide - fx) + grid[c][iy + 1][ix + 1] * fx;
        int value = (upper * (kSide - fy) + lower * fy) / (kSide * kSide);
        if (y >= top && y < top + side && x >= left && x < left + side) {
          const bool bright = IsBright(label, y - top - side / 2, x - left - side / 2, phase);
          value += bright ? contrast[c] : -contrast[c];
        }
        value += random.Between(-kNoise, kNoise);  // Figure, 4
        *image++ = static_cast<uint8_t>(std::clamp(value, 0, 255));
      }
    }
  }
}

Dataset MakeSplit(const std::string& name, uint64_t split, int64_t n, uint64_t seed) {
  Dataset data;
  data.name = "synthetic " + name;
  data.classes = SyntheticClasses();
  data.labels.resize(static_cast<size_t>(n));
  data.images.resize(static_cast<size_t>(n * kImageBytes));

  const auto classes = static_cast<int64_t>(SyntheticClasses().size());
  for (int64_t i = 0; i < n; ++i) data.labels[static_cast<size_t>(i)] = static_cast<uint8_t>(i % classes);
  CounterRandom order{seed, split, HashName("order")};
  for (int64_t i = n - 1; i > 0; --i) {
    std::swap(data.labels[static_cast<size_t>(i)], data.labels[order.Below(static_cast<uint32_t>(i + 1))]);
  }

#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; ++i) {
    DrawImage(CounterRandom{seed, split, static_cast<uint64_t>(i)}, data.labels[static_cast<size_t>(i)],
              data.images.data() + i * kImageBytes);
  }
  return data;
}

}  // namespace

const std::vector<std::string>& SyntheticClasses() {
  static const std::vector<std::string> classes = {
      "rows",      "columns",      "falling diagonals",      "rising diagonals",      "checkerboard",
      "wide rows", "wide columns", "wide falling diagonals", "wide rising diagonals", "rings"};
  return classes;
}

DataSplits MakeSynthetic(const SyntheticOptions& options) {
  if (options.train < 1 || options.test < 1 || options.train > UINT32_MAX || options.test > UINT32_MAX) {
    throw ContractError(fmt::format("a synthetic set needs at least 1 image to train and 1 to test, not {} and {}",
                                    options.train, options.test));
  }
  return {MakeSplit("train", 0, options.train, options.seed), MakeSplit("test", 1, options.test, options.seed)};
}

}  // namespace shardlab::cifar
