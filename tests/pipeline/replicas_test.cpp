// Data parallelism of whole pipelines: R replicas of P ranks, each with its part of every mini-batch, are one process.
//
//       P = 3, R = 2         stage 0        stage 1        stage 2
//
//       replica 0            rank 0 ------> rank 1 ------> rank 2
//       replica 1            rank 3 ------> rank 4 ------> rank 5
//                               \______________\______________\______   REDUCE_GRAD: the sum
//
// Forked ranks: nothing here may run a tensor operation before RunRanks.

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <torch/torch.h>

#include "both_ways.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/launch/run_ranks.hpp"
#include "shardlab/pipeline/engine.hpp"
#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/policies.hpp"
#include "shardlab/pipeline/ports.hpp"
#include "shardlab/plan/passes.hpp"
#include "toy_model.hpp"

namespace shardlab {
namespace {

struct ReplicaRun {
  const char* name;
  int stages;  // ranks of one replica
  int replicas;
  int per_update;   // micro-batches of a replica
  int64_t samples;  // of an update, of all replicas together
  int updates;
  std::function<Schedule(int microbatches)> make;               // of one update, or with `version` of all
  std::function<int(int stage, int update)> version = nullptr;  // of asynchronous ones
  std::function<OptimizerFactory()> optimizer = [] { return test::MakeSgd(0.1, 0.9); };
  double clip_norm = 0;
};

void Require(bool holds, const std::string& otherwise) {
  if (!holds) throw std::runtime_error(otherwise);
}

void TrainReplicas(const ReplicaRun& recipe, const std::shared_ptr<Communicator>& world) {
  const int replica = world->rank() / recipe.stages;
  const std::shared_ptr<Communicator> pipe = world->Split(replica, world->rank(), "pipe");
  const Range mine = SplitRange(recipe.samples, recipe.replicas, replica);
  const bool runs_on = recipe.version != nullptr;
  const int m = static_cast<int>(std::min<int64_t>(recipe.per_update, mine.size()));
  const Schedule schedule = AddCommunication(AddGradientReduction(recipe.make(runs_on ? m * recipe.updates : m)));

  PipelineSetup setup = test::ToySetup(schedule.layout);
  setup.optimizer = recipe.optimizer();
  setup.stage = [](int) { return MakeSplitStage(); };
  if (runs_on) setup.weights = MakeWeightVersions;
  setup.clip_norm = recipe.clip_norm;
  const auto same = SameWeights(schedule.layout, pipe->rank(), *world);
  setup.same_weights = same;

  test::Reference reference;
  reference.balance = setup.balance;
  reference.updates = recipe.updates;
  reference.microbatches = recipe.per_update;
  reference.samples = recipe.samples;
  reference.replicas = recipe.replicas;
  reference.optimizer = setup.optimizer;
  reference.clip_norm = recipe.clip_norm;
  reference.version = recipe.version;
  const test::Trained expected = TrainReference(reference);

  const auto batch = [&](int64_t update) {
    const MiniBatch whole = test::ToyBatch(update, recipe.samples);
    MiniBatch part{mine.size(), {}, whole.targets.narrow(0, mine.begin, mine.size()), mine.begin, recipe.samples};
    part.inputs = {whole.inputs[0].narrow(0, mine.begin, mine.size())};
    return part;
  };
  const auto engine = MakeEngine(setup, pipe);
  const at::Tensor losses = at::zeros({recipe.updates}, at::kDouble);
  for (int run = 0; run < (runs_on ? 1 : recipe.updates); ++run) {
    const auto more = engine->Run(
        schedule, [&](int64_t update) { return batch(run + update); }, m);
    for (size_t t = 0; t < more.size(); ++t) losses[run + static_cast<int64_t>(t)] = more[t];
  }
  world->AllReduce(losses);  // of all ends of all pipelines
  for (int t = 0; t < recipe.updates; ++t) {
    const double loss = losses[t].item<double>(), right = expected.losses[static_cast<size_t>(t)];
    Require(std::abs(loss - right) < 1e-10, fmt::format("the loss of update {} is {}, not {}", t, loss, right));
  }
  std::vector<int> chunks = schedule.layout.ChunksOf(pipe->rank());
  std::stable_sort(chunks.begin(), chunks.end(),
                   [&](int a, int b) { return schedule.layout.chunk(a).stage < schedule.layout.chunk(b).stage; });
  for (const int chunk : chunks) {
    for (const auto& [name, value] : engine->Module(chunk).NamedParameters()) {
      const auto right = std::find_if(expected.parameters.begin(), expected.parameters.end(),
                                      [&, n = name](const auto& item) { return item.first == n; });
      const double apart = (value - right->second).abs().max().item<double>();
      Require(apart < 1e-10, fmt::format("{} is {} off", name, apart));
      // Not only as good as equal: a replica that drifts would be noticed too late.
      at::Tensor other = value.detach().clone();
      same->Broadcast(other, 0);
      Require(at::equal(other, value), name + " differs between the ranks that hold it");
    }
  }
}

void RunAll(const std::vector<ReplicaRun>& recipes) {
  for (const ReplicaRun& recipe : recipes) {
    const auto failures = RunRanks(recipe.stages * recipe.replicas,
                                   [&](const std::shared_ptr<Communicator>& world) { TrainReplicas(recipe, world); });
    for (const RankFailure& failure : failures) {
      ADD_FAILURE() << recipe.name << ", rank " << failure.rank << ": " << failure.message;
    }
  }
}

// After one update with the rate 1 the change of the weights is the gradient.
TEST(Replicas, TheirGradientIsThatOfOneProcess) {
  const auto plain = [] { return test::MakeSgd(1.0); };
  RunAll({{"halves of 5 samples", 1, 2, 2, 10, 1, [](int m) { return Flush(GPipe(1, m)); }, nullptr, plain},
          {"6 and 5 samples", 2, 2, 3, 11, 1, [](int m) { return Flush(OneFOneB(2, m)); }, nullptr, plain},
          {"3, 3 and 2 samples", 2, 3, 2, 8, 1, [](int m) { return Flush(GPipe(2, m)); }, nullptr, plain}});
}

TEST(Replicas, TrainAsOneProcessDoes) {
  RunAll({{"gpipe, 4 and 3 micro-batches", 3, 2, 4, 7, 3, [](int m) { return Flush(GPipe(3, m)); }},
          {"three chunks a rank", 2, 2, 4, 9, 2, [](int m) { return Flush(InterleavedOneFOneB(2, 3, m)); }},
          {"recomputing", 2, 2, 3, 9, 2,
           [](int m) { return AddRecompute(Flush(OneFOneB(2, m)), Recompute::kExceptLast); }},
          {"backwards in halves", 2, 2, 3, 9, 2, [](int m) { return Flush(ZeroBubbleH1(2, m)); }, nullptr,
           [] { return test::MakeAdam(0.01); }}});
}

// The norm is that of the sum: all chunks of a rank are summed before the first of them is clipped.
TEST(Replicas, ClipTheSumOfTheirGradients) {
  const auto sgd = [] { return test::MakeSgd(0.2, 0.9); };
  RunAll(
      {{"one chunk", 2, 2, 3, 7, 3, [](int m) { return Flush(OneFOneB(2, m)); }, nullptr, sgd, 0.05},
       {"two chunks", 2, 2, 4, 9, 3, [](int m) { return Flush(InterleavedOneFOneB(2, 2, m)); }, nullptr, sgd, 0.05}});
}

// Copies within a pipeline and pipelines beside each other: 2 D ranks hold a stage, of an odd number in the middle D
// ranks twice.
TEST(Replicas, OfPipelinesWithTwoCopies) {
  const auto sgd = [] { return test::MakeSgd(0.2, 0.9); };
  RunAll({{"2 x 2", 2, 2, 3, 11, 2, [](int m) { return Flush(test::BothWays(2, m)); }, nullptr, sgd},
          {"2 x 3, clipped", 3, 2, 2, 9, 3, [](int m) { return Flush(test::BothWays(3, m)); }, nullptr, sgd, 0.05},
          {"3 x 1, clipped", 1, 3, 2, 8, 3, [](int m) { return Flush(test::BothWays(1, m)); }, nullptr, sgd, 0.05}});
}

TEST(Replicas, KeepTheDelaysOfAsynchronousSchedules) {
  RunAll({{"2bw", 3, 2, 3, 7, 4, [](int m) { return DoubleBufferWeights(OneFOneB(3, m), 3); },
           [](int, int t) { return std::max(t - 1, 0); }},
          {"wpipe", 2, 2, 2, 5, 4, [](int m) { return GroupWeights(WPipe(2, m), 2); },
           [](int s, int t) { return s < 2 ? std::max(t - 1, 0) : t; }},
          {"pipedream", 3, 2, 1, 5, 5, [](int m) { return StashWeights(OneFOneB(3, m)); },
           [](int s, int t) { return std::max(t - (2 - s), 0); }}});
}

}  // namespace
}  // namespace shardlab
