#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kit/hypotheses.hpp"
#include "shardlab/models/classifiers.hpp"
#include "shardlab/models/trainer.hpp"

/// \file
/// How a data-parallel step goes wrong. The gradient of a batch is the sum over all micro-batches of all ranks of
/// weight * gradient of the micro-batch's mean loss, with weight = samples / batch: most mistakes are other weights.

namespace shardlab::grade {

/// How a mean of the ranks' gradients goes wrong. \param alone why the rank may have its own gradient only.
std::vector<Hypothesis> AverageMistakes(const std::vector<at::Tensor>& gradients, int rank, const std::string& alone);

/// What one micro-batch of one rank has of a batch.
struct BatchPiece {
  int rank = 0;
  int ranks = 1;
  int64_t index = 0;         ///< among its rank's
  int64_t count = 1;         ///< of its rank's micro-batches
  int64_t samples = 0;       ///< in it
  int64_t rank_samples = 0;  ///< in all of its rank's
  int64_t batch = 0;         ///< on all ranks

  double RightWeight() const { return static_cast<double>(samples) / static_cast<double>(batch); }
};

/// The micro-batches of `rank`, which has samples[rank] samples.
std::vector<BatchPiece> MicroBatchesOf(int rank, const std::vector<int64_t>& samples, int64_t micro_batches);

/// A step with other weights.
struct StepMistake {
  std::string meaning;
  std::function<double(const BatchPiece&)> weight;
  bool alone = false;  ///< a rank counts its own micro-batches only
};

/// What students do.
const std::vector<StepMistake>& StepMistakes();

/// The gradients of one step with each of the mistakes.
/// \param gradient of the mean loss of a micro-batch.
std::vector<Hypothesis> StepHypotheses(int rank, const std::vector<int64_t>& samples, int64_t micro_batches,
                                       const std::function<at::Tensor(const BatchPiece&)>& gradient);

/// What is trained, and on what.
struct DataParallelTraining {
  std::function<std::shared_ptr<ImageClassifier>()> make_model;
  TrainOptions options;
  int64_t micro_batches = 1;
  std::vector<std::vector<at::Tensor>> images;  ///< a rank and a step
  std::vector<std::vector<at::Tensor>> labels;
};

/// The training repeated with each of the mistakes. Outputs: "losses", the ranks' shares added up; "weighted", the same
/// with the mistake's weights; "<rank>.<parameter>".
std::vector<MistakenRun> MistakenTrainings(const DataParallelTraining& training);

}  // namespace shardlab::grade
