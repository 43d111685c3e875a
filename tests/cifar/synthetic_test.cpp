#include "shardlab/cifar/synthetic.hpp"

#include <omp.h>

#include <algorithm>

#include <gtest/gtest.h>

#include "scratch.hpp"
#include "shardlab/base/counter_random.hpp"
#include "shardlab/base/errors.hpp"

namespace shardlab::cifar {
namespace {

uint64_t DigestOf(const Dataset& data) {
  uint64_t digest = 0;
  for (const uint8_t byte : data.images) digest = MixBits(digest + byte + 1);
  for (const uint8_t byte : data.labels) digest = MixBits(digest + byte + 1);
  return digest;
}

// Integers only, so these hold on every platform; a change of them changes every learning curve of the course.
TEST(SyntheticSet, IsTheSameBytesEverywhere) {
  const DataSplits data = MakeSynthetic();
  EXPECT_EQ(data.train.size(), 10000);
  EXPECT_EQ(data.test.size(), 2000);
  EXPECT_EQ(DigestOf(data.train), 4496621429251038359u);
  EXPECT_EQ(DigestOf(data.test), 12241061979192640172u);
}

TEST(SyntheticSet, DoesNotDependOnTheNumberOfThreads) {
  const SyntheticOptions few{100, 10, 7};
  omp_set_num_threads(2);
  const DataSplits two = MakeSynthetic(few);
  omp_set_num_threads(1);
  const DataSplits one = MakeSynthetic(few);
  EXPECT_EQ(one.train.images, two.train.images);
}

TEST(SyntheticSet, ChangesWithTheSeed) {
  EXPECT_NE(MakeSynthetic({100, 10, 1}).train.images, MakeSynthetic({100, 10, 2}).train.images);
}

TEST(SyntheticSet, HasEveryClassEquallyOften) {
  const DataSplits data = MakeSynthetic({103, 20, 1});
  for (uint8_t label = 0; label < 10; ++label) {
    EXPECT_EQ(std::count(data.train.labels.begin(), data.train.labels.end(), label), label < 3 ? 11 : 10);
    EXPECT_EQ(std::count(data.test.labels.begin(), data.test.labels.end(), label), 2);
  }
}

TEST(SyntheticSet, ShowsNoTestImageInTraining) {
  const DataSplits data = MakeSynthetic({200, 100, 1});
  for (int64_t t = 0; t < data.test.size(); ++t) {
    for (int64_t i = 0; i < data.train.size(); ++i) {
      ASSERT_FALSE(std::equal(data.test.image(t), data.test.image(t) + kImageBytes, data.train.image(i)));
    }
  }
}

TEST(SyntheticSet, NeedsAnImage) {
  EXPECT_SAYS(MessageOf<ContractError>([] { MakeSynthetic({0, 1, 1}); }), "not 0 and 1");
}

}  // namespace
}  // namespace shardlab::cifar
