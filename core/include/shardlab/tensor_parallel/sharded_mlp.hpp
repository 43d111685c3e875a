#pragma once

#include <memory>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"
#include "shardlab/tensor_parallel/sharded_layer.hpp"

namespace shardlab {

/// The full weights of two dense layers with a hidden layer of H features between them; a bias may be undefined.
struct MlpWeights {
  at::Tensor weight1_HI;  ///< first layer, hidden x in
  at::Tensor bias1_H;     ///< first layer
  at::Tensor weight2_OH;  ///< second layer, out x hidden
  at::Tensor bias2_O;     ///< second layer
};

/// linear, ReLU, linear, split as AlexNet was: of each layer every rank computes some of the neurons and then tells
/// everybody.
///
///     x_BI --> [first: y_Bh] --> ReLU --> all-gather --> h_BH --> [second: y_Bo] --> all-gather --> y_BO
///
/// Both layers are column-parallel. Parameters: `first.weight`, `first.bias`, `second.weight`, `second.bias`, sharded
/// as those of MakeColumnLinear. forward: x [..., I], replicated, to y [..., O], replicated.
///
/// Cost for B rows: forward two AllGathers, to which a rank gives B*h and B*o elements. Backward two AllReduces, of B*H
/// and B*I elements; only the first of them when x needs no gradient.
///
/// \throws ContractError for weights and biases whose shapes do not fit together.
///
/// Source: A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet classification with deep convolutional neural networks",
/// 2012, section 3.2.
SHARDLAB_CONTRACT std::shared_ptr<ShardedLayer> MakeShardedMlp(const MlpWeights& weights,
                                                               std::shared_ptr<Communicator> comm);

}  // namespace shardlab
