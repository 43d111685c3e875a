#include "shardlab/tensor_parallel/parallel_model.hpp"

// TASK tensor_parallel.train: MakeParallelModel
//
// One of the models of shardlab/models, held by T ranks together, as a sequence of layers.
//
// A layer of yours is a region in which tensors are sharded: a convolution with its norm, ReLU, pooling and the gather
// behind them; a dense layer by columns with its norm and ReLU, and the one by rows behind it. Whole tensors go in and
// whole tensors come out. Write a class that derives from Layer (shardlab/layers/layer.hpp), with submodules named as
// the model's layers ("fc1", "ln1", "conv1", "bn1", ...) and made of your sharded layers, and return a LayerSpec for
// each region: a name of your choice, a function that makes the layer, and in `joins` the names of its submodules.
//
// MakeSequence(name, options) has the layers of one process under their names; every weight is drawn from the seed and
// the name alone, so a rank makes a layer of it (spec.make()->named_parameters()["weight"]), and yours cuts its part out.
//
//     dense        fc1 by columns, fc2 by rows, fc3 by columns, ...; the last one gathers the logits if it is a column
//                  layer
//     LayerNorm    ln<i> behind a column layer is sharded; behind a row layer it is replicated: the model's own layer,
//                  as MakeSequence makes it, with its ReLU
//     convolution  by output channels: weight and bias are slices SplitRange(C_out, T, rank) of their first dimension
//     BatchNorm    bn<i> is sharded as the channels before it: a MicroBatchNorm of your channels, which is told in
//                  which micro-batch it runs. ReLU and pooling stay on the shard, and then the channels are gathered
//
// The loss and the training loop stay those of one process: Train (shardlab/models/trainer.hpp) runs on every rank,
// gives every rank the same loss, and its optimizer updates this rank's parameters with this rank's gradients. Nothing
// is divided by T: there is one batch and one loss, computed T times alike.
//
// Cost: shardlab/tensor_parallel/parallel_model.hpp has the table, and the list of regions of every model.

#include <torch/torch.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/layers/batch_norm.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/tensor_parallel/column_linear.hpp"
#include "shardlab/tensor_parallel/layer_norm.hpp"
#include "shardlab/tensor_parallel/row_linear.hpp"
#include "shardlab/tensor_parallel/shards.hpp"

namespace shardlab {

LayerSequence MakeParallelModel(const std::string& name, const ModelOptions& options,
                                std::shared_ptr<Communicator> comm) {
  (void)name, (void)options, (void)comm;
  throw NotImplemented("tensor_parallel.train: MakeParallelModel (exercises/tensor_parallel/parallel_model.cpp)");
}

}  // namespace shardlab
