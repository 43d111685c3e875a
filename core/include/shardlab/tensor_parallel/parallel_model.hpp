#pragma once

#include <memory>
#include <string>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"
#include "shardlab/layers/layer.hpp"
#include "shardlab/models/classifiers.hpp"

namespace shardlab {

/// One of the models of shardlab/models, held by T ranks together, as a sequence of layers.
///
/// What goes into a layer and what comes out of it is whole on every rank, with the same bits: images, the tensors
/// between two layers, logits. So the loss and the training loop (shardlab/models/trainer.hpp) stay what they are in one
/// process, and a pipeline can cut the model between any two layers: rank t of a stage talks to rank t of the next.
///
/// A layer is one region in which tensors are sharded: a convolution with what follows it, or a pair of dense layers.
/// It joins (LayerSpec::joins) the layers of MakeSequence(name, options) that are in it, and has submodules of their
/// names. Parameters and buffers have their names in that model, and the values of its slices: a weight is drawn from
/// the seed and the name alone, so a rank can make a layer of the full model, cut its part out of it, and throw the rest
/// away. Every layer can be made more than once, and does not communicate while it is made.
///
///     linear    [fc]
///     mlp       [fc1 fc2] [fc3 fc4] ...             an odd last layer is alone
///     mlp-ln    [fc1 ln1 fc2 ln2] [fc3 ln3 fc4 ln4] ...
///     cnn       [conv1] [conv2] [fc1 fc2]
///     cnn-bn    [conv1 bn1] [conv2 bn2] [fc1 fc2]
///
/// How the layers are split:
///
///     dense        fc1 by columns, fc2 by rows, fc3 by columns, fc4 by rows, ...; what a column layer leaves
///                  sharded is what the row layer after it wants. The last one, when it is a column layer, gathers
///                  the logits.
///     LayerNorm    ln<i> behind a column layer is sharded; behind a row layer it is replicated.
///     convolution  by output channels: weight and bias are the slices SplitRange(C_out, T, rank) of their first
///                  dimension. Its input is whole.
///     BatchNorm    bn<i> is sharded as the channels before it: MicroBatchNorm (shardlab/layers/batch_norm.hpp) on this
///                  rank's channels, which hands what it sees to MicroBatch::statistics. ReLU and the pooling stay on
///                  the shard. Then the channels are gathered.
///
/// Communication of one step, in order, for B images (the images need no gradient):
///
///     model    forward                                       backward
///     linear   gather logits                                 -
///     mlp      all-reduce behind every row layer;            all-reduce before every column layer but the first
///              gather logits if the last is a column layer
///     mlp-ln   the same, and two numbers a row in every      the same, and two numbers a row in every sharded norm
///              sharded norm
///     cnn,     gather behind each convolution; fc1, fc2      all-reduce before fc1; before conv2
///     cnn-bn   one all-reduce
///
/// \param name one of ModelNames().
/// \param options as for MakeSequence; the same on every rank.
/// \throws UsageError and ContractError as MakeSequence does.
SHARDLAB_CONTRACT LayerSequence MakeParallelModel(const std::string& name, const ModelOptions& options,
                                                  std::shared_ptr<Communicator> comm);

}  // namespace shardlab
