#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "shardlab/layers/layer.hpp"
#include "shardlab/layers/recipe.hpp"
#include "shardlab/plan/schedule.hpp"
#include "shardlab/plan/traits.hpp"

/// \file
/// What is trained and how, told once and read by the ranks and by the referee.

namespace shardlab::grade {

/// A training run of a pipeline.
struct TrainingPlan {
  std::string model = "cnn-bn";  ///< as MakeSequence knows it, or "probe" (probe.hpp)
  uint64_t model_seed = 1;       ///< of its weights
  int64_t side = 32;             ///< of the images
  int layers = 4;                ///< of the probe
  int64_t width = 8;             ///< of the probe

  std::string schedule = "gpipe";  ///< as `lab schedule` calls it
  int ranks = 1;                   ///< P
  int chunks = 1;                  ///< a rank has
  std::vector<int> balance;        ///< layers of each stage
  int microbatches = 1;            ///< an update; fewer where a mini-batch has fewer samples
  std::vector<int64_t> batches;    ///< the samples of each update
  std::string recompute = "never";
  bool halves = false;    ///< stages with a backward in halves
  bool deferred = false;  ///< running statistics of whole mini-batches

  bool adam = false;
  double learning_rate = 0.1;
  double momentum = 0;
  double clip_norm = 0;
  /// Above 0: each rank of the case is a pipeline by itself, and the norm is over all of them; every second gradient,
  /// from the first on, counts so much in it.
  double norm_count = 0;
  bool decays = false;   ///< the learning rate is divided by 1, 2, 3, ...
  int64_t evaluate = 0;  ///< how many samples of the first mini-batch are evaluated after every update

  /// Whether updates happen without a flush, so that all of them are one run.
  bool IsAsynchronous() const { return TraitsOf(schedule).IsAsynchronous(); }
  /// The layout of the schedule.
  Layout MakeLayout() const { return TraitsOf(schedule).MakeLayout(ranks, chunks); }
  /// How an update is made.
  Recipe MakeRecipe() const;
  /// What a list of the schedule, with its steps, lacks: recomputation and messages.
  /// \param an_update micro-batches
  Schedule Complete(const Schedule& list, int an_update) const;
  /// The layers.
  LayerSequence MakeModel() const;
  /// An even balance, for the layout.
  void BalanceEvenly();

  NLOHMANN_DEFINE_TYPE_INTRUSIVE(TrainingPlan, model, model_seed, side, layers, width, schedule, ranks, chunks, balance,
                                 microbatches, batches, recompute, halves, deferred, adam, learning_rate, momentum,
                                 clip_norm, norm_count, decays, evaluate)
};

}  // namespace shardlab::grade
