// Pipelines of processes over Gloo: every schedule against the sequential definition. What a failure leaves behind is
// in failures_test.cpp, data parallelism in replicas_test.cpp.

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include <torch/torch.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/launch/run_ranks.hpp"
#include "shardlab/pipeline/engine.hpp"
#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/policies.hpp"
#include "shardlab/plan/passes.hpp"
#include "toy_model.hpp"

namespace shardlab {
namespace {

struct Trial {
  const char* name;
  int ranks;
  int per_update;
  int updates;  // of one run; 1 where there is a flush
  std::function<Schedule()> make;
  std::function<int(int s, int t)> version = nullptr;
};

// Forked ranks: nothing here may run a tensor operation before RunRanks.
std::vector<Trial> Trials() {
  return {
      {"naive", 2, 3, 1, [] { return Flush(Naive(2, 3)); }},
      {"gpipe", 4, 5, 1, [] { return Flush(GPipe(4, 5)); }},
      {"1f1b", 4, 7, 1, [] { return Flush(OneFOneB(4, 7)); }},
      {"1f1b, recomputing", 3, 5, 1, [] { return AddRecompute(Flush(OneFOneB(3, 5)), Recompute::kExceptLast); }},
      {"interleaved", 4, 4, 1, [] { return Flush(InterleavedOneFOneB(4, 2, 4)); }},
      {"zb-h1", 4, 5, 1, [] { return Flush(ZeroBubbleH1(4, 5)); }},
      {"zb-h2", 3, 7, 1, [] { return Flush(ZeroBubbleH2(3, 7)); }},
      {"pipedream", 4, 1, 9, [] { return StashWeights(OneFOneB(4, 9)); },
       [](int s, int t) { return std::max(t - (3 - s), 0); }},
      {"pipedream-vsync", 4, 1, 9, [] { return StashWeightsVerticalSync(OneFOneB(4, 9)); },
       [](int, int t) { return std::max(t - 3, 0); }},
      {"2bw", 4, 5, 4, [] { return DoubleBufferWeights(OneFOneB(4, 20), 5); },
       [](int, int t) { return std::max(t - 1, 0); }},
      {"wpipe", 4, 4, 4, [] { return GroupWeights(WPipe(4, 16), 4); },
       [](int s, int t) { return s < 4 ? std::max(t - 1, 0) : t; }},
  };
}

void TrainAndCompare(const Trial& trial, const std::shared_ptr<Communicator>& comm) {
  const int64_t samples = 2 * trial.per_update + 1;
  const Schedule schedule = AddCommunication(trial.make());
  PipelineSetup setup = test::ToySetup(schedule.layout);
  setup.optimizer = test::MakeSgd(0.05, 0.9);
  setup.stage = [](int) { return MakeSplitStage(); };
  setup.weights = MakeWeightVersions;
  test::Reference reference;
  reference.balance = setup.balance;
  reference.updates = trial.updates == 1 ? 2 : trial.updates;
  reference.microbatches = trial.per_update;
  reference.samples = samples;
  reference.optimizer = setup.optimizer;
  reference.version = trial.version;
  const test::Trained expected = TrainReference(reference);

  const auto engine = MakeEngine(setup, comm);
  std::vector<double> losses;
  for (int run = 0; run < (trial.updates == 1 ? 2 : 1); ++run) {
    const auto more = engine->Run(
        schedule, [&](int64_t update) { return test::ToyBatch(run + update, samples); }, trial.per_update);
    losses.insert(losses.end(), more.begin(), more.end());
  }
  for (size_t t = 0; t < losses.size(); ++t) {
    if (!(std::abs(losses[t] - expected.losses[t]) < 1e-10)) throw std::runtime_error("another loss");
  }
  for (const int chunk : schedule.layout.ChunksOf(comm->rank())) {
    for (const auto& [name, value] : engine->Module(chunk).NamedParameters()) {
      for (const auto& [other, right] : expected.parameters) {
        if (name == other && !at::allclose(value, right, 1e-10, 1e-12)) throw std::runtime_error("another " + name);
      }
    }
  }
}

TEST(Processes, EveryScheduleIsItsDefinition) {
  for (const Trial& trial : Trials()) {
    const auto failures =
        RunRanks(trial.ranks, [&](const std::shared_ptr<Communicator>& comm) { TrainAndCompare(trial, comm); });
    for (const RankFailure& failure : failures) {
      ADD_FAILURE() << trial.name << ", rank " << failure.rank << ": " << failure.message;
    }
  }
}

}  // namespace
}  // namespace shardlab
