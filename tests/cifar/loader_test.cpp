#include "shardlab/cifar/loader.hpp"

#include <algorithm>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "scratch.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/cifar/synthetic.hpp"

namespace shardlab::cifar {
namespace {

std::shared_ptr<const Dataset> PlainImages(int64_t n) {
  return std::make_shared<Dataset>(MakeSynthetic({n, 1, 1}).train);
}

Loader Make(int64_t n, LoaderOptions options) {
  const auto data = PlainImages(n);
  return Loader(data, Measure(*data), options);
}

TEST(Loader, ShowsEveryImageOnceAnEpochWithASmallerLastBatch) {
  LoaderOptions options;
  options.batch = 8;
  Loader loader = Make(21, options);
  ASSERT_EQ(loader.batches_per_epoch(), 3);
  std::vector<int64_t> first, second;
  for (int64_t step = 0; step < 6; ++step) {
    const std::vector<int64_t> samples = loader.Samples(step);
    EXPECT_EQ(samples.size(), step % 3 == 2 ? 5u : 8u);
    (step < 3 ? first : second).insert((step < 3 ? first : second).end(), samples.begin(), samples.end());
  }
  EXPECT_NE(first, second);
  for (std::vector<int64_t>* epoch : {&first, &second}) {
    EXPECT_FALSE(std::is_sorted(epoch->begin(), epoch->end()));
    std::sort(epoch->begin(), epoch->end());
    for (int64_t i = 0; i < 21; ++i) EXPECT_EQ((*epoch)[static_cast<size_t>(i)], i);
  }
}

TEST(Loader, WithoutShufflingKeepsTheStoredOrder) {
  LoaderOptions options;
  options.batch = 4;
  options.shuffle = false;
  Loader loader = Make(6, options);
  EXPECT_EQ(loader.Samples(0), (std::vector<int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(loader.Samples(3), (std::vector<int64_t>{4, 5}));
}

// The property that data parallelism stands on: shards, joined, are the batch, bit for bit, whoever made them.
TEST(Loader, ShardsJoinedAreTheBatch) {
  LoaderOptions options;
  options.batch = 10;
  options.augment = true;
  options.dtype = at::kDouble;
  for (const int64_t shards : {1, 2, 3, 7, 12}) {
    Loader whole = Make(23, options);
    for (const int64_t step : {0, 2, 4, 5}) {  // 2 and 5 are batches of 3
      const Batch batch = whole.Get(step);
      std::vector<at::Tensor> images, labels;
      for (int64_t shard = 0; shard < shards; ++shard) {
        Loader own = Make(23, options);  // a rank has its own loader
        const Batch part = own.Get(step, shard, shards);
        EXPECT_EQ(part.images.size(0), SplitSizes(batch.images.size(0), shards)[static_cast<size_t>(shard)]);
        images.push_back(part.images);
        labels.push_back(part.labels);
      }
      EXPECT_TRUE(at::equal(at::cat(images), batch.images)) << shards << " shards, step " << step;
      EXPECT_TRUE(at::equal(at::cat(labels), batch.labels));
    }
  }
}

TEST(Loader, GivesTheTypeAndTheLabelsOfTheSet) {
  const auto data = PlainImages(12);
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    LoaderOptions options;
    options.batch = 5;
    options.dtype = dtype;
    Loader loader(data, Measure(*data), options);
    const Batch batch = loader.Get(1);
    EXPECT_EQ(batch.images.scalar_type(), dtype);
    EXPECT_EQ(batch.images.sizes(), (std::vector<int64_t>{5, 3, 32, 32}));
    const std::vector<int64_t> samples = loader.Samples(1);
    for (int64_t k = 0; k < 5; ++k) {
      EXPECT_EQ(batch.labels[k].item<int64_t>(), data->labels[static_cast<size_t>(samples[static_cast<size_t>(k)])]);
    }
  }
}

TEST(Loader, Float32IsFloat64RoundedOnce) {
  LoaderOptions options;
  options.augment = true;
  Loader single = Make(30, options);
  options.dtype = at::kDouble;
  Loader twice = Make(30, options);
  EXPECT_TRUE(at::equal(single.Get(0).images, twice.Get(0).images.to(at::kFloat)));
}

TEST(Loader, StepsMayBeAskedForInAnyOrder) {
  LoaderOptions options;
  options.batch = 8;
  Loader forwards = Make(21, options), backwards = Make(21, options);
  std::vector<std::vector<int64_t>> seen;
  for (int64_t step = 0; step < 7; ++step) seen.push_back(forwards.Samples(step));
  for (int64_t step = 6; step >= 0; --step) EXPECT_EQ(backwards.Samples(step), seen[static_cast<size_t>(step)]);
}

TEST(Loader, RefusesWhatCannotBe) {
  LoaderOptions options;
  options.batch = 0;
  EXPECT_SAYS(MessageOf<ContractError>([&] { Make(5, options); }), "at least 1 image, not 0");
  options.batch = 2;
  options.dtype = at::kHalf;
  EXPECT_SAYS(MessageOf<ContractError>([&] { Make(5, options); }), "not as Half");
  options.dtype = at::kFloat;
  Loader loader = Make(5, options);
  EXPECT_SAYS(MessageOf<ContractError>([&] { loader.Get(-1); }), "no step -1");
  EXPECT_THROW(loader.Get(0, 2, 2), ContractError);
  EXPECT_THROW(Loader(nullptr, Normalization{}, options), ContractError);
}

}  // namespace
}  // namespace shardlab::cifar
