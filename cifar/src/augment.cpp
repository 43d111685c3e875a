#include "shardlab/cifar/augment.hpp"

#include <cmath>

#include <fmt/format.h>

#include "shardlab/base/counter_random.hpp"
#include "shardlab/base/errors.hpp"

namespace shardlab::cifar {
namespace {

constexpr int kImage = static_cast<int>(kImageSide);
constexpr int kPlane = kImage * kImage;
constexpr int32_t kPadding = 4;

// The number that each of the 256 bytes becomes, by channel: one rounding, whatever the compiler does elsewhere.
template <typename T>
using Table = std::array<std::array<T, 256>, kChannels>;

template <typename T>
Table<T> MakeTable(const Normalization& normalization) {
  Table<T> table;
  for (size_t c = 0; c < kChannels; ++c) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const double value = static_cast<double>(byte) / 255.0;
      table[c][byte] = static_cast<T>((value - normalization.mean[c]) / normalization.deviation[c]);
    }
  }
  return table;
}

template <typename T>
void PrepareImage(const uint8_t* image, const Table<T>& table, const Augmentation& change, T* out) {
  for (size_t c = 0; c < kChannels; ++c) {
    const uint8_t* plane = image + c * kPlane;
    for (int y = 0; y < kImage; ++y) {
      const int from_y = y - change.shift_y;
      for (int x = 0; x < kImage; ++x) {
        const int moved_x = x - change.shift_x;
        const bool inside = from_y >= 0 && from_y < kImage && moved_x >= 0 && moved_x < kImage;
        const int from_x = change.flip ? kImage - 1 - moved_x : moved_x;
        *out++ = table[c][inside ? plane[from_y * kImage + from_x] : 0];
      }
    }
  }
}

}  // namespace

Normalization Measure(const Dataset& data) {
  const int64_t n = data.size();
  if (n < 1) throw ContractError(fmt::format("{}: no image to measure", data.name));
  Normalization result;
  for (size_t c = 0; c < kChannels; ++c) {
    int64_t sum = 0, squares = 0;
#pragma omp parallel for schedule(static) reduction(+ : sum, squares)
    for (int64_t i = 0; i < n; ++i) {
      const uint8_t* plane = data.images.data() + i * kImageBytes + static_cast<int64_t>(c) * kPlane;
      for (int p = 0; p < kPlane; ++p) {
        sum += plane[p];
        squares += plane[p] * plane[p];
      }
    }
    const double count = static_cast<double>(n) * kPlane;
    const double mean = static_cast<double>(sum) / count;
    const double variance = static_cast<double>(squares) / count - mean * mean;
    result.mean[c] = mean / 255.0;
    result.deviation[c] = variance > 0 ? std::sqrt(variance) / 255.0 : 1.0;
  }
  return result;
}

Augmentation DrawAugmentation(uint64_t seed, uint64_t epoch, uint64_t sample) {
  CounterRandom random{seed, HashName("augmentation"), epoch, sample};
  Augmentation change;
  change.shift_y = random.Between(-kPadding, kPadding);
  change.shift_x = random.Between(-kPadding, kPadding);
  change.flip = random.Below(2) == 1;
  return change;
}

template <typename T>
void Prepare(const Dataset& data, const Normalization& normalization, const int64_t* samples, int64_t count,
             bool augment, uint64_t seed, uint64_t epoch, T* out) {
  // Checked before the threads start: an exception cannot leave an OpenMP region.
  for (int64_t k = 0; k < count; ++k) data.image(samples[k]);
  const Table<T> table = MakeTable<T>(normalization);
#pragma omp parallel for schedule(static)
  for (int64_t k = 0; k < count; ++k) {
    const auto sample = static_cast<uint64_t>(samples[k]);
    const Augmentation change = augment ? DrawAugmentation(seed, epoch, sample) : Augmentation{};
    PrepareImage(data.images.data() + samples[k] * kImageBytes, table, change, out + k * kImageBytes);
  }
}

template void Prepare<float>(const Dataset&, const Normalization&, const int64_t*, int64_t, bool, uint64_t, uint64_t,
                             float*);
template void Prepare<double>(const Dataset&, const Normalization&, const int64_t*, int64_t, bool, uint64_t, uint64_t,
                              double*);

}  // namespace shardlab::cifar
