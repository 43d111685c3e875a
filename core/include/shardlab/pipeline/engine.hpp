#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"
#include "shardlab/layers/batch_norm.hpp"
#include "shardlab/layers/layer.hpp"
#include "shardlab/layers/stage_module.hpp"
#include "shardlab/pipeline/positions.hpp"
#include "shardlab/pipeline/stage.hpp"
#include "shardlab/pipeline/weights.hpp"
#include "shardlab/plan/schedule.hpp"
#include "shardlab/plan/schedule_error.hpp"

/// \file
/// Contract: the engine, which runs any schedule.

namespace shardlab {

/// The samples of one update; in data parallelism those of them that this pipeline has.
struct MiniBatch {
  int64_t samples = 0;  ///< how many, known on every rank
  Tensors inputs;       ///< [samples, ...] each; only ranks with a first chunk need them
  at::Tensor targets;   ///< [samples, ...]; only ranks with a last chunk need them
  /// Which sample of the update it begins with. It becomes MicroBatch::first, so that no two pipelines draw the same
  /// random numbers.
  int64_t first = 0;
  /// B, the samples of the update in all pipelines; 0: `samples`, as there is one. It becomes
  /// MicroBatch::update_samples, by which the loss is divided.
  int64_t update_samples = 0;
};

/// Gives the mini-batch of an update of the run (0, 1, ...). Called once for each, in order, on every rank. The engine
/// lets go of the data behind the last micro-batch that uses them: a run of many updates keeps those under way.
using MiniBatchSource = std::function<MiniBatch(int64_t update)>;

/// What an engine is made of.
struct PipelineSetup {
  LayerSequence model;                   ///< all layers, on every rank
  std::vector<int> balance;              ///< how many of them each stage has
  Layout layout;                         ///< who holds which stage
  LossFunction loss = nullptr;           ///< the mean loss of some samples
  OptimizerFactory optimizer = nullptr;  ///< for each chunk
  /// Makes a chunk's stage, once, with the engine; null: MakeStage. Whoever fills this in gives MakeSplitStage if a schedule
  /// has halves of a backward. The engine does not choose: it sees its first schedule in Run.
  StageMaker stage = nullptr;
  /// Makes a chunk's weights, once, with the engine; null: MakeWeights. Whoever fills this in gives MakeWeightVersions if a
  /// schedule updates without a flush. The engine does not choose.
  WeightStoreFactory weights = nullptr;
  /// What the learning rate is multiplied with at an update (0, 1, ... over all runs); none: 1.
  std::function<double(int64_t update)> learning_rate = nullptr;
  /// The largest norm of the model's gradients; 0: they are not clipped. As torch::nn::utils's clip_grad_norm_ does it:
  /// gradients are multiplied by min(1, clip_norm / (norm + 1e-6)), in a norm that counts each weight once, however many
  /// copies there are. Needs a flush: without one there is no time at which all gradients of an update are there.
  double clip_norm = 0;
  /// The ranks that hold the model together, where they are more than this pipeline's: those of several pipelines whose
  /// layers are split between them. The norm is over all of them. Null: this pipeline's ranks.
  std::shared_ptr<Communicator> norm_ranks = nullptr;
  /// What the square of a gradient counts in the norm: 1/k where k pipelines of `norm_ranks` hold the same weights.
  /// `parameter` is its index in WeightStore::Gradients(). None: 1.
  std::function<double(int chunk, size_t parameter)> norm_count = nullptr;
  /// How many updates were made before, in a run that is resumed: what MicroBatch::step and `learning_rate` count from.
  int64_t first_update = 0;
  /// Where the layers of this rank are; the data may come from elsewhere.
  at::Device device = at::Device(at::kCPU);
  /// Who keeps running statistics; null: each layer, at every micro-batch.
  std::shared_ptr<BatchStatistics> statistics = nullptr;
  /// The ranks that hold the same weights as this one (SameWeights, ports.hpp), of several pipelines in data
  /// parallelism: REDUCE_GRAD sums their gradients. It divides by nothing: what a micro-batch counts, n_i / B, is in its
  /// loss. Null: those of this pipeline.
  std::shared_ptr<Communicator> same_weights = nullptr;
  /// Where positions of the layout are held by several ranks, each with its tile of every image (positions.hpp): the layers
  /// of their stages are those of SpatialSequence, and `same_weights` holds the ranks of a position together. None: rank r
  /// of the communicator is position r.
  TiledStages tiles = {};
};

/// One rank of a pipeline: the chunks that it holds, and what runs them. All ranks make one alike, and call Run and
/// Evaluate in the same order.
///
/// In a bidirectional layout the model is there twice, and the schedule says which micro-batch runs through which copy.
/// Both begin equal and stay so, bit for bit: a gradient is the sum over both. Running statistics are those of the
/// micro-batches that ran through a copy. No part of this module needs such a layout: an engine may refuse it with a
/// ContractError.
class Engine {
 public:
  virtual ~Engine() = default;

  /// Works off this rank's list of the schedule.
  ///
  ///  - Micro-batch i belongs to update i / m of this run, in which it is piece i % m; i is its number for links and
  ///    stages.
  ///  - Versions in the schedule count from the weights that the run begins with: these are its version 0.
  ///
  /// \param schedule complete, with sends and receives, for `PipelineSetup::layout`. The same on every rank.
  /// \param microbatches_per_update m; 0: all micro-batches of the schedule are one update. Mini-batches have at least m
  ///        samples.
  /// \returns on ranks with a last chunk what the micro-batches that end here add to the loss of each update of the run,
  /// in order; on others nothing. The loss is the sum over these ranks; with one pipeline and one copy it is the number
  /// itself.
  /// \throws ScheduleError, on every rank within a second of the first failure, with rank, action, cause and table: when
  /// the schedule is not valid, or anything fails while it runs. After a failure the engine is of no use any more.
  virtual std::vector<double> Run(const Schedule& schedule, const MiniBatchSource& source,
                                  int microbatches_per_update = 0) = 0;

  /// Runs a mini-batch forward, in evaluation mode, in micro-batches of at most B / m samples (rounded up), and leaves
  /// every layer in training mode. Of two copies of the model the first one (Chunk::replica 0) does it.
  /// \returns on the rank with its last chunk the outputs [B, ...]; on others nothing.
  virtual Tensors Evaluate(const MiniBatch& batch, int microbatches) = 0;

  /// The newest weights of a chunk of this rank: to save, to load into, to compare.
  /// \throws ContractError for a chunk of another rank.
  virtual StageModule& Module(int chunk) = 0;
};

/// Makes an engine for this rank.
///
/// An engine is a table from the kind of an action to the method that does it:
///
///     F        take the chunk's input (from the data, from the link), run it, keep the output for SEND_F
///     B        take the gradient of the output, go back, keep the gradient of the input for SEND_B
///     I, W     the halves of B
///     R        run F again for what B needs
///     SEND_F   start to send the output         RECV_F   post the receive of the input
///     SEND_B   start to send the gradient       RECV_B   post the receive of the gradient
///     REDUCE_GRAD  sum over the copies          STEP     clip, and let the optimizer make the next version
///
/// It keeps an activation from the F that makes it until the B (or W) that uses it, and not longer; so what a rank
/// holds is what Validate says, however many micro-batches there are.
///
/// A rank that holds both copies of a stage (the middle one of an odd number) adds their gradients without a message.
///
/// \throws ContractError when the balance does not fit the model and the layout, naming one that does; or the
/// communicator has another number of ranks than the layout, or than the positions together.
SHARDLAB_CONTRACT std::unique_ptr<Engine> MakeEngine(PipelineSetup setup, std::shared_ptr<Communicator> comm);

}  // namespace shardlab
