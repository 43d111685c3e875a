#include "shardlab/cifar/loader.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "shardlab/base/counter_random.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"

namespace shardlab::cifar {
namespace {

void CheckType(at::ScalarType dtype) {
  if (dtype != at::kFloat && dtype != at::kDouble) {
    throw ContractError(fmt::format("images are made as Float or Double, not as {}", at::toString(dtype)));
  }
}

Batch MakeBatch(const Dataset& data, const Normalization& normalization, const std::vector<int64_t>& samples,
                at::ScalarType dtype, bool augment, uint64_t seed, uint64_t epoch) {
  const auto n = static_cast<int64_t>(samples.size());
  Batch batch;
  batch.images = at::empty({n, kChannels, kImageSide, kImageSide}, at::TensorOptions().dtype(dtype));
  batch.labels = at::empty({n}, at::TensorOptions().dtype(at::kLong));
  if (dtype == at::kDouble) {
    Prepare(data, normalization, samples.data(), n, augment, seed, epoch, batch.images.data_ptr<double>());
  } else {
    Prepare(data, normalization, samples.data(), n, augment, seed, epoch, batch.images.data_ptr<float>());
  }
  auto* labels = batch.labels.data_ptr<int64_t>();
  for (int64_t k = 0; k < n; ++k) {
    labels[k] = data.labels[static_cast<size_t>(samples[static_cast<size_t>(k)])];
  }
  return batch;
}

}  // namespace

Loader::Loader(std::shared_ptr<const Dataset> data, const Normalization& normalization, const LoaderOptions& options)
    : data_(std::move(data)), normalization_(normalization), options_(options) {
  if (data_ == nullptr || data_->size() < 1) throw ContractError("a loader needs a data set with at least 1 image");
  if (options_.batch < 1) throw ContractError(fmt::format("a batch has at least 1 image, not {}", options_.batch));
  CheckType(options_.dtype);
}

int64_t Loader::batches_per_epoch() const { return (data_->size() + options_.batch - 1) / options_.batch; }

std::vector<int64_t> Loader::Samples(int64_t step, int64_t shard, int64_t shards) {
  if (step < 0) throw ContractError(fmt::format("steps count from 0, there is no step {}", step));
  const int64_t epoch = step / batches_per_epoch();
  if (epoch != ordered_epoch_) {
    order_.resize(static_cast<size_t>(data_->size()));
    std::iota(order_.begin(), order_.end(), int64_t{0});
    if (options_.shuffle) {
      CounterRandom random{options_.seed, HashName("order"), static_cast<uint64_t>(epoch)};
      for (size_t i = order_.size() - 1; i > 0; --i) {
        std::swap(order_[i], order_[random.Below(static_cast<uint32_t>(i + 1))]);
      }
    }
    ordered_epoch_ = epoch;
  }
  const int64_t begin = step % batches_per_epoch() * options_.batch;
  const int64_t end = std::min(begin + options_.batch, data_->size());
  const Range part = SplitRange(end - begin, shards, shard);
  return {order_.begin() + begin + part.begin, order_.begin() + begin + part.end};
}

Batch Loader::Get(int64_t step, int64_t shard, int64_t shards) {
  const std::vector<int64_t> samples = Samples(step, shard, shards);
  return MakeBatch(*data_, normalization_, samples, options_.dtype, options_.augment, options_.seed,
                   static_cast<uint64_t>(step / batches_per_epoch()));
}

Batch WholeSet(const Dataset& data, const Normalization& normalization, at::ScalarType dtype) {
  if (data.size() < 1) throw ContractError(fmt::format("{}: no image in the set", data.name));
  CheckType(dtype);
  std::vector<int64_t> samples(static_cast<size_t>(data.size()));
  std::iota(samples.begin(), samples.end(), int64_t{0});
  return MakeBatch(data, normalization, samples, dtype, /*augment=*/false, 0, 0);
}

}  // namespace shardlab::cifar
