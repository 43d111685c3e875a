#include "shardlab/cifar/augment.hpp"

#include <omp.h>

#include <algorithm>
#include <array>
#include <set>

#include <gtest/gtest.h>

#include "scratch.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/cifar/synthetic.hpp"

namespace shardlab::cifar {
namespace {

const Normalization kPlain{{0, 0, 0}, {1.0 / 255, 1.0 / 255, 1.0 / 255}};  // gives bytes as numbers

// One image whose red plane is 1 + column, green 1 + row, blue constant.
Dataset Ramp() {
  Dataset data;
  data.name = "ramp";
  data.labels = {0};
  data.classes = {"ramp"};
  for (int c = 0; c < 3; ++c) {
    for (int y = 0; y < 32; ++y) {
      for (int x = 0; x < 32; ++x) data.images.push_back(static_cast<uint8_t>(c == 0 ? 1 + x : c == 1 ? 1 + y : 100));
    }
  }
  return data;
}

TEST(Augmentation, ShiftsAndMirrorsAsItSays) {
  const Dataset data = Ramp();
  std::set<std::pair<int, int>> shifts;
  int flips = 0;
  const int epochs = 2000;
  for (int epoch = 0; epoch < epochs; ++epoch) {
    const Augmentation change = DrawAugmentation(3, static_cast<uint64_t>(epoch), 0);
    ASSERT_LE(std::abs(change.shift_y), 4);
    ASSERT_LE(std::abs(change.shift_x), 4);
    shifts.insert({change.shift_y, change.shift_x});
    flips += change.flip ? 1 : 0;
    if (epoch >= 20) continue;
    std::array<double, 3072> out;
    const int64_t sample = 0;
    Prepare(data, kPlain, &sample, 1, true, 3, static_cast<uint64_t>(epoch), out.data());
    for (int y = 0; y < 32; ++y) {
      for (int x = 0; x < 32; ++x) {
        const int from_y = y - change.shift_y, from_x = x - change.shift_x;
        const bool black = from_y < 0 || from_y > 31 || from_x < 0 || from_x > 31;
        const size_t at = static_cast<size_t>(y * 32 + x);
        ASSERT_NEAR(out[at], black ? 0 : change.flip ? 32 - from_x : 1 + from_x, 1e-9) << "red " << y << ", " << x;
        ASSERT_NEAR(out[1024 + at], black ? 0 : 1 + from_y, 1e-9) << "green " << y << ", " << x;
        ASSERT_NEAR(out[2048 + at], black ? 0 : 100, 1e-9) << "blue " << y << ", " << x;
      }
    }
  }
  EXPECT_EQ(shifts.size(), 81u);        // every one of 9 x 9 crops occurs
  EXPECT_NEAR(flips, epochs / 2, 120);  // 5 standard deviations
}

TEST(Augmentation, HasTheSameBitsForAnyNumberOfThreads) {
  const DataSplits data = MakeSynthetic({37, 1, 1});
  const Normalization normalization = Measure(data.train);
  std::vector<int64_t> samples(37);
  for (int64_t i = 0; i < 37; ++i) samples[static_cast<size_t>(i)] = (i * 5) % 37;
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2, 3}) {
    omp_set_num_threads(threads);
    results.emplace_back(37 * kImageBytes);
    Prepare(data.train, normalization, samples.data(), 37, true, 9, 4, results.back().data());
  }
  omp_set_num_threads(1);
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

TEST(Augmentation, DiffersBetweenSamplesEpochsAndSeeds) {
  const auto draw = [](uint64_t seed, uint64_t epoch, uint64_t sample) {
    const Augmentation a = DrawAugmentation(seed, epoch, sample);
    return std::array<int, 3>{a.shift_y, a.shift_x, a.flip};
  };
  int same_epoch = 0, same_sample = 0, same_seed = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    same_sample += draw(1, 0, i) == draw(1, 0, i + 1);
    same_epoch += draw(1, i, 0) == draw(1, i + 1, 0);
    same_seed += draw(i, 0, 0) == draw(i + 1, 0, 0);
  }
  // By chance 1 in 162.
  EXPECT_LT(same_sample, 25);
  EXPECT_LT(same_epoch, 25);
  EXPECT_LT(same_seed, 25);
}

TEST(Normalization, MakesMeanZeroAndDeviationOne) {
  const DataSplits data = MakeSynthetic({50, 1, 1});
  const Normalization normalization = Measure(data.train);
  std::vector<int64_t> samples(50);
  for (int64_t i = 0; i < 50; ++i) samples[static_cast<size_t>(i)] = i;
  std::vector<double> out(50 * kImageBytes);
  Prepare(data.train, normalization, samples.data(), 50, false, 0, 0, out.data());
  for (int c = 0; c < 3; ++c) {
    double sum = 0, squares = 0;
    for (int i = 0; i < 50; ++i) {
      for (int p = 0; p < 1024; ++p) {
        const double v = out[static_cast<size_t>(i * 3072 + c * 1024 + p)];
        sum += v;
        squares += v * v;
      }
    }
    EXPECT_NEAR(sum / 51200, 0, 1e-10);
    EXPECT_NEAR(squares / 51200, 1, 1e-10);
  }
}

TEST(Normalization, OfOneColourDividesByOne) {
  Dataset data = Ramp();
  std::fill(data.images.begin(), data.images.end(), uint8_t{51});
  const Normalization normalization = Measure(data);
  EXPECT_NEAR(normalization.mean[0], 0.2, 1e-15);
  EXPECT_EQ(normalization.deviation[0], 1.0);
}

TEST(Prepare, NamesAnImageThatDoesNotExist) {
  const Dataset data = Ramp();
  std::array<float, 3072> out;
  const int64_t sample = 1;
  EXPECT_SAYS(MessageOf<ContractError>([&] { Prepare(data, kPlain, &sample, 1, false, 0, 0, out.data()); }),
              "ramp: image 1 does not exist, there are 1");
}

}  // namespace
}  // namespace shardlab::cifar
