#include "shardlab/tensor_parallel/parallel_model.hpp"

// TASK tensor_parallel.train: MakeParallelModel
//
// The contract is the header above: which regions each model has, how each layer is split, what a step communicates.
// Write a class that derives from Layer (shardlab/layers/layer.hpp), with submodules named as the model's layers
// ("fc1", "ln1", "conv1", "bn1", ...), and return a LayerSpec for each region: a name of your choice, a function that
// makes the layer, and in `joins` the names of its submodules.
//
// MakeSequence(name, options) has the layers of one process under their names, and a weight is drawn from the seed and
// the name alone. So a rank makes a layer of it (spec.make()->named_parameters()["weight"]), and yours cuts its part
// out. Before you write:
//
//  * Write W (whole) or S (sharded) between the layers of each model. Where is a door, and which?
//  * Which layers can stay as MakeSequence makes them?
//  * There is one batch and one loss, computed T times alike. What is to be divided by T?
//  * Why do replicated parameters stay equal, although every rank updates them by itself?

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
