#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shardlab/models/profile.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/plan/schedule.hpp"
#include "shardlab/plan/simulate.hpp"

/// \file
/// What `lab bench pipeline` measures, apart from how it prints it. All of it runs in ranks of its own, one thread
/// each.

namespace shardlab::bench {

/// What is trained.
struct Task {
  std::string model = "resnet101";
  int64_t side = 64;     ///< of the images
  int64_t samples = 2;   ///< a micro-batch
  int microbatches = 8;  ///< an update
  int updates = 8;       ///< of a run that does not flush
  int runs = 7;          ///< of every schedule, in turn
  uint64_t seed = 1;
};

/// The layers of the task's model, and a mini-batch of `microbatches` micro-batches.
LayerSequence ModelOf(const Task& task);

/// A schedule on the clock, beside what it should take.
struct Trial {
  std::string name;             ///< "gpipe"
  bool flushes = true;          ///< whether every update waits until the pipeline is empty
  std::vector<int> balance;     ///< layers a stage
  double imbalance = 1;         ///< how much longer the rank with the most work computes than the mean one
  std::vector<double> seconds;  ///< an update, run by run
  /// Run by run, an update of two trainings side by side, right before and after this one and for about as long: what
  /// the machine gave at that time.
  std::vector<double> side_by_side;
  double simulated_s = 0;  ///< an update, from the stages' measured times
  /// What is left of bound x limit beside a neighbour (BesideANeighbour), simulated.
  double beside_a_neighbour = 1;
  double even_s = 0;  ///< the same with stages of equal time: what the cut costs
};

/// What MeasureSpeed found.
struct Speed {
  std::vector<LayerProfile> profile;   ///< of a micro-batch
  double message_s = 0;                ///< of the largest boundary of the cut in two, one way, sender and receiver idle
  std::vector<double> machine_limits;  ///< run by run: two trainings side by side over one alone, halved
  Trial naive_1;                       ///< one process, the same micro-batches one after the other
  std::vector<Trial> two;              ///< on two ranks: gpipe, 1f1b, 2bw, wpipe
};

/// Runs naive-1 and every schedule on two ranks in turn, `runs` times, with the machine limit in each turn.
/// \throws EnvironmentError when a rank fails.
Speed MeasureSpeed(const Task& task);

/// Seconds an update on `stages` ranks of their own, from the layers' measured times.
/// \param schedule complete but for its messages.
/// \param updates that it runs through.
double SimulatedSeconds(const Schedule& schedule, int updates, const std::vector<LayerProfile>& profile,
                        const std::vector<int>& balance, double message_s);

/// What part of bound x limit a schedule still reaches when another program takes half of one rank's processor, now of
/// this one and now of that, each time for about as long as a rank computes on a micro-batch. Simulated, the mean of
/// some draws. Only the schedule's slack counts: whoever is not held up waits for the other as soon as there is nothing
/// between them.
/// \param schedule complete but for its messages.
/// \param forward,backward seconds of each stage.
double BesideANeighbour(const Schedule& schedule, int updates, const std::vector<double>& forward,
                        const std::vector<double>& backward);

/// Bytes of one rank.
struct Memory {
  int64_t parameters = 0;   ///< of all weight versions that it holds
  int64_t activations = 0;  ///< the peak of a whole update beyond parameters, gradients and optimizer
  int64_t step = 0;         ///< the peak of the whole update
};

/// Runs an update on the ranks of the schedule and counts every byte.
/// \param schedule complete but for its messages.
/// \returns one entry a rank.
/// \throws EnvironmentError when a rank fails.
std::vector<Memory> MeasureMemory(const Task& task, const Schedule& schedule, int updates,
                                  const std::vector<int>& balance);

/// The times of the layers, by a rank of its own.
std::vector<LayerProfile> MeasureLayers(const Task& task);

}  // namespace shardlab::bench
