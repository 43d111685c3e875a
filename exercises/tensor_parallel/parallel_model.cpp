#include "shardlab/tensor_parallel/parallel_model.hpp"

// TASK tensor_parallel.train: MakeParallelModel
//
// One of the models of shardlab/models, held by T ranks together.
//
// Write a class that derives from ImageClassifier, with submodules named as those of MakeModel(name, options) ("fc1",
// "ln1", "conv1", "bn1", ...) and made of your layers. The images go in whole on every rank; the logits come out whole
// on every rank. MakeModel draws every weight from the seed and the name alone, so a rank makes the full model, and
// your layers cut their part out of its weights (full->named_parameters()["fc1.weight"]).
//
//     dense        fc1 by columns, fc2 by rows, fc3 by columns, ...; the last one gathers the logits if it is a column
//                  layer
//     LayerNorm    ln<i> behind a column layer is sharded; behind a row layer it is replicated: an ordinary
//                  torch::nn::LayerNorm
//     convolution  by output channels: weight and bias are slices SplitRange(C_out, T, rank) of their first dimension
//     BatchNorm    bn<i> is sharded as the channels before it; ReLU and pooling stay on the shard, and then the
//                  channels are gathered
//
// The loss and the training loop stay those of one process: Train (shardlab/models/trainer.hpp) runs on every rank,
// gives every rank the same loss, and its optimizer updates this rank's parameters with this rank's gradients. Nothing
// is divided by T: there is one batch and one loss, computed T times alike.
//
// Cost: shardlab/tensor_parallel/parallel_model.hpp has the table.

#include <torch/torch.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/tensor_parallel/batch_norm.hpp"
#include "shardlab/tensor_parallel/column_linear.hpp"
#include "shardlab/tensor_parallel/layer_norm.hpp"
#include "shardlab/tensor_parallel/row_linear.hpp"
#include "shardlab/tensor_parallel/shards.hpp"

namespace shardlab {

std::shared_ptr<ImageClassifier> MakeParallelModel(const std::string& name, const ModelOptions& options,
                                                   std::shared_ptr<Communicator> comm) {
  (void)name, (void)options, (void)comm;
  throw NotImplemented("tensor_parallel.train: MakeParallelModel (exercises/tensor_parallel/parallel_model.cpp)");
}

}  // namespace shardlab
