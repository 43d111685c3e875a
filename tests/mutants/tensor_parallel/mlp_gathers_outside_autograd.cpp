#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "shardlab/base/split.hpp"
#include "shardlab/tensor_parallel/column_linear.hpp"
#include "shardlab/tensor_parallel/sharded_mlp.hpp"

namespace shardlab {
namespace {

class ShardedMlp : public ShardedLayer {
 public:
  ShardedMlp(const MlpWeights& weights, const std::shared_ptr<Communicator>& comm)
      : comm_(comm),
        hidden_(weights.weight1_HI.size(0)),
        first_(register_module("first", MakeColumnLinear(weights.weight1_HI, weights.bias1_H, comm))),
        second_(register_module("second",
                                MakeColumnLinear(weights.weight2_OH, weights.bias2_O, comm, ColumnOutput::kWhole))) {}

  at::Tensor forward(const at::Tensor& x_BI) override {
    const at::Tensor h_Bh = first_->forward(x_BI).relu();
    std::vector<at::Tensor> parts;
    for (int rank = 0; rank < comm_->size(); ++rank) {
      parts.push_back(at::empty({h_Bh.size(0), SplitRange(hidden_, comm_->size(), rank).size()}, h_Bh.options()));
    }
    comm_->AllGather(parts, h_Bh.detach().contiguous());
    return second_->forward(at::cat(parts, 1));
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
