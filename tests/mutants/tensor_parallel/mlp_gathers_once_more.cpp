#include <utility>

#include <ATen/ATen.h>

#include "shardlab/base/split.hpp"
#include "shardlab/tensor_parallel/column_linear.hpp"
#include "shardlab/tensor_parallel/sharded_mlp.hpp"
#include "shardlab/tensor_parallel/shards.hpp"

namespace shardlab {
namespace {

class ShardedMlp : public ShardedLayer {
 public:
  ShardedMlp(const MlpWeights& weights, const std::shared_ptr<Communicator>& comm)
      : comm_(comm),
        hidden_(weights.weight1_HI.size(0)),
        first_(register_module("first",
                               MakeColumnLinear(weights.weight1_HI, weights.bias1_H, comm, ColumnOutput::kWhole))),
        second_(register_module("second",
                                MakeColumnLinear(weights.weight2_OH, weights.bias2_O, comm, ColumnOutput::kWhole))) {}

  at::Tensor forward(const at::Tensor& x_BI) override {
    const at::Tensor h_BH = first_->forward(x_BI).relu();
    const Range mine = SplitRange(hidden_, comm_->size(), comm_->rank());
    return second_->forward(GatherFromShards(h_BH.narrow(1, mine.begin, mine.size()), 1, hidden_, comm_));
  }

 private:
  std::shared_ptr<Communicator> comm_;
  int64_t hidden_;
  std::shared_ptr<ShardedLayer> first_;
  std::shared_ptr<ShardedLayer> second_;
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeShardedMlp(const MlpWeights& weights, std::shared_ptr<Communicator> comm) {
  return std::make_shared<ShardedMlp>(weights, comm);
}

}  // namespace shardlab
