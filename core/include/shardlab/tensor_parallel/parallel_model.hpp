#pragma once

#include <memory>
#include <string>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"
#include "shardlab/models/classifiers.hpp"

namespace shardlab {

/// One of the models of shardlab/models, held by T ranks together.
///
/// It is an ImageClassifier like any other: the images go in whole on every rank, the logits come out whole on every
/// rank, with the same bits, so that the loss and the training loop (shardlab/models/trainer.hpp) stay what they are in
/// one process. Submodules, parameters and buffers have the names of MakeModel(name, options), and the values of its
/// slices: MakeModel draws every weight from the seed and the name alone, so a rank can make the full model, cut its
/// part out of it, and throw the rest away.
///
/// How the layers are split:
///
///     dense        fc1 by columns, fc2 by rows, fc3 by columns, fc4 by rows, ...; what a column layer leaves
///                  sharded is what the row layer after it wants. The last one, when it is a column layer, gathers
///                  the logits.
///     LayerNorm    ln<i> behind a column layer is sharded; behind a row layer it is replicated.
///     convolution  by output channels: weight and bias are the slices SplitRange(C_out, T, rank) of their first
///                  dimension. Its input is whole.
///     BatchNorm    bn<i> is sharded as the channels before it. ReLU and the pooling stay on the shard.
///                  Then the channels are gathered.
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
/// \param options as for MakeModel; the same on every rank.
/// \throws UsageError and ContractError as MakeModel does.
SHARDLAB_CONTRACT std::shared_ptr<ImageClassifier> MakeParallelModel(const std::string& name,
                                                                     const ModelOptions& options,
                                                                     std::shared_ptr<Communicator> comm);

}  // namespace shardlab
