// The one property that matters: whatever the schedule, a pipeline is the training that it stands for. Here between
// threads; engine_process_test.cpp has some of it between processes.

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <torch/torch.h>

#include "../texts.hpp"
#include "on_ranks.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/deferred_statistics.hpp"
#include "shardlab/pipeline/engine.hpp"
#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/interleaved_any.hpp"
#include "shardlab/pipeline/policies.hpp"
#include "shardlab/plan/more_generators.hpp"
#include "shardlab/plan/passes.hpp"
#include "toy_model.hpp"

namespace shardlab {
namespace {

using test::OnRanks;
using test::Steps;

// The computation of a schedule, with the optimizer's steps and all messages.
Schedule Complete(Schedule schedule, Recompute recompute = Recompute::kNever) {
  return AddCommunication(AddRecompute(Flush(std::move(schedule)), recompute));
}

// Trains step by step with a schedule that flushes, and compares with one process.
void ExpectSynchronous(const Schedule& schedule, PipelineSetup setup, test::Reference reference) {
  reference.microbatches = schedule.microbatches;
  reference.balance = setup.balance;
  reference.optimizer = setup.optimizer;
  reference.clip_norm = setup.clip_norm;
  reference.learning_rate = setup.learning_rate;
  reference.model = setup.model;
  const test::Trained expected = TrainReference(reference);
  const bool deferred = reference.deferred;
  OnRanks(schedule.layout.ranks(), [&](const std::shared_ptr<Communicator>& comm) {
    PipelineSetup mine = setup;
    if (deferred) mine.statistics = MakeDeferredStatistics();
    const auto engine = MakeEngine(mine, comm);
    for (int t = 0; t < reference.updates; ++t) {
      const auto losses = engine->Run(schedule, [&](int64_t) { return test::ToyBatch(t, reference.samples); });
      const bool sees_loss = schedule.layout.chunk(schedule.layout.chunks() - 1).rank == comm->rank();
      ASSERT_EQ(losses.size(), sees_loss ? 1u : 0u);
      if (!sees_loss) continue;
      EXPECT_NEAR(losses[0], expected.losses[static_cast<size_t>(t)], 1e-10) << schedule.name << " step " << t;
    }
    for (const int chunk : schedule.layout.ChunksOf(comm->rank())) {
      ExpectSameModule(
          engine->Module(chunk), expected,
          schedule.name + " P=" + std::to_string(comm->size()) + " m=" + std::to_string(schedule.microbatches));
    }
  });
}

// ------------------------------------------------------------------------------------------------ synchronous

TEST(Synchronous, EveryScheduleIsTheTrainingOfOneProcess) {
  for (const int P : {1, 2, 3, 4}) {
    for (const int m : {1, 3, 4, 5}) {
      const Layout layout = Layout::Linear(P);
      for (const auto& generate : {Naive, GPipe, OneFOneB}) {
        ExpectSynchronous(Complete(generate(P, m)), test::ToySetup(layout),
                          Steps(2, 13));  // 13 % m != 0 for m = 3, 4, 5
      }
    }
  }
}

TEST(Synchronous, InterleavedWithAnyNumberOfChunks) {
  for (const auto& [P, v, blocks] :
       std::vector<std::tuple<int, int, int>>{{2, 2, 1}, {2, 3, 2}, {2, 4, 1}, {3, 2, 2}, {4, 2, 1}, {3, 3, 1}}) {
    const Schedule schedule = InterleavedOneFOneB(P, v, P * blocks);
    ExpectSynchronous(Complete(schedule), test::ToySetup(schedule.layout), Steps(2, 2 * P * blocks + 1));
  }
}

TEST(Synchronous, MomentumAdamClippingAndARateSchedule) {
  const Schedule schedule = Complete(OneFOneB(3, 4));
  PipelineSetup setup = test::ToySetup(schedule.layout);
  setup.optimizer = test::MakeSgd(0.2, 0.9);
  setup.clip_norm = 0.05;
  setup.learning_rate = [](int64_t step) { return 1.0 / static_cast<double>(1 + step); };
  ExpectSynchronous(schedule, setup, Steps(4, 11));
  setup.optimizer = test::MakeAdam(0.01);
  setup.clip_norm = 0;
  ExpectSynchronous(schedule, setup, Steps(4, 11));
  const Schedule looped = Complete(InterleavedOneFOneB(2, 2, 4));
  setup = test::ToySetup(looped.layout);
  setup.clip_norm = 0.05;
  ExpectSynchronous(looped, setup, Steps(3, 9));
}

TEST(Synchronous, RunningStatisticsOfWholeMiniBatches) {
  test::Reference reference = Steps(3, 13);
  reference.deferred = true;
  for (const Schedule& schedule : {GPipe(3, 4), OneFOneB(2, 5)}) {
    for (const Recompute recompute : {Recompute::kNever, Recompute::kAlways}) {
      ExpectSynchronous(Complete(schedule, recompute), test::ToySetup(schedule.layout), reference);
    }
  }
}

TEST(Synchronous, RecomputingChangesNothing) {
  for (const Recompute recompute : {Recompute::kAlways, Recompute::kExceptLast}) {
    ExpectSynchronous(Complete(GPipe(3, 4), recompute), test::ToySetup(Layout::Linear(3)), Steps(2, 13));
    ExpectSynchronous(Complete(InterleavedOneFOneB(2, 2, 4), recompute), test::ToySetup(Layout::Looped(2, 2)),
                      Steps(2, 13));
  }
}

TEST(Synchronous, BackwardsInHalves) {
  for (const int P : {1, 2, 4}) {
    PipelineSetup setup = test::ToySetup(Layout::Linear(P));
    setup.stage = [](int) { return MakeSplitStage(); };
    for (const auto& generate : {ZeroBubbleH1, ZeroBubbleH2}) {
      for (const int m : {3, 8}) ExpectSynchronous(Complete(generate(P, m)), setup, Steps(2, 17));
      ExpectSynchronous(Complete(generate(P, 5), Recompute::kAlways), setup, Steps(2, 17));
    }
  }
}

// Those that are no exercise: both ends of the model on one rank, whole backwards beside halves, pairs.
TEST(Synchronous, WhatNoExerciseAsksForRunsToo) {
  for (const int P : {1, 2, 3}) {
    for (const int m : {2, 5, 7}) {
      for (const Schedule& schedule : {ZeroBubbleV(P, m), DualPipeV(P, m), InterleavedZeroBubble(P, 2, m),
                                       InterleavedAny(P, 2, m), LoopedBreadthFirst(P, 2, m)}) {
        PipelineSetup setup = test::ToySetup(schedule.layout);
        setup.stage = [](int) { return MakeSplitStage(); };
        ExpectSynchronous(Complete(schedule), setup, Steps(2, 17));
        if (m == 5) ExpectSynchronous(Complete(schedule, Recompute::kAlways), setup, Steps(1, 17));
      }
    }
  }
}

TEST(Synchronous, MicroBatchesOfOtherNumbersAndEvaluationInBetween) {
  const Layout layout = Layout::Linear(3);
  test::Reference reference = Steps(1, 10);
  reference.balance = test::ToySetup(layout).balance;
  OnRanks(3, [&](const std::shared_ptr<Communicator>& comm) {
    const auto engine = MakeEngine(test::ToySetup(layout), comm);
    for (const int m : {4, 2, 5}) {
      engine->Run(Complete(OneFOneB(3, m)), [&](int64_t) { return test::ToyBatch(0, 10); });
      const Tensors outputs = engine->Evaluate(test::ToyBatch(5, 7), 3);
      if (comm->rank() != 2) {
        EXPECT_TRUE(outputs.empty());
        continue;
      }
      EXPECT_EQ(outputs.at(0).sizes(), (std::vector<int64_t>{7, 3}));
      EXPECT_FALSE(outputs.at(0).requires_grad());
    }
  });
}

// ------------------------------------------------------------------------------------------------ asynchronous

// Runs several updates in one go and compares them with the sequential definition.
void ExpectAsynchronous(const Schedule& computation, int per_update, PipelineSetup setup, int64_t samples,
                        const std::function<int(int, int)>& version) {
  const Schedule schedule = AddCommunication(computation);
  test::Reference reference;
  reference.updates = schedule.microbatches / per_update;
  reference.microbatches = per_update;
  reference.samples = samples;
  reference.balance = setup.balance;
  reference.optimizer = setup.optimizer;
  reference.version = version;
  const test::Trained expected = TrainReference(reference);
  setup.weights = MakeWeightVersions;
  OnRanks(schedule.layout.ranks(), [&](const std::shared_ptr<Communicator>& comm) {
    const auto engine = MakeEngine(setup, comm);
    const auto losses = engine->Run(
        schedule, [&](int64_t update) { return test::ToyBatch(update, samples); }, per_update);
    for (size_t t = 0; t < losses.size(); ++t) EXPECT_NEAR(losses[t], expected.losses[t], 1e-10) << schedule.name << t;
    for (const int chunk : schedule.layout.ChunksOf(comm->rank())) {
      ExpectSameModule(engine->Module(chunk), expected, schedule.name + " P=" + std::to_string(comm->size()));
    }
  });
}

TEST(Asynchronous, PipeDreamUsesTheStashedVersionInBothPasses) {
  for (const int P : {1, 2, 3, 4}) {
    for (const OptimizerFactory& optimizer : {test::MakeSgd(0.05), test::MakeSgd(0.05, 0.9), test::MakeAdam(0.01)}) {
      PipelineSetup setup = test::ToySetup(Layout::Linear(P));
      setup.optimizer = optimizer;
      ExpectAsynchronous(StashWeights(OneFOneB(P, 9)), 1, setup, 3,
                         [P](int s, int t) { return std::max(t - (P - 1 - s), 0); });
      ExpectAsynchronous(StashWeightsVerticalSync(OneFOneB(P, 9)), 1, setup, 3,
                         [P](int, int t) { return std::max(t - P + 1, 0); });
    }
  }
}

TEST(Asynchronous, TwoBufferedWeights) {
  for (const auto& [P, m] : std::vector<std::pair<int, int>>{{1, 1}, {2, 3}, {3, 3}, {4, 5}}) {
    PipelineSetup setup = test::ToySetup(Layout::Linear(P));
    setup.optimizer = test::MakeSgd(0.05, 0.9);
    ExpectAsynchronous(DoubleBufferWeights(OneFOneB(P, 4 * m), m), m, setup, 2 * m + 1,
                       [](int, int t) { return std::max(t - 1, 0); });
  }
}

TEST(Asynchronous, WPipeDelaysOneHalfOfTheModelOnly) {
  for (const auto& [P, n] : std::vector<std::pair<int, int>>{{1, 1}, {2, 1}, {2, 2}, {3, 1}, {4, 1}, {4, 2}}) {
    const Schedule schedule = GroupWeights(WPipe(P, 3 * n * P), n * P);
    PipelineSetup setup = test::ToySetup(schedule.layout);
    setup.optimizer = test::MakeAdam(0.01);
    ExpectAsynchronous(schedule, n * P, setup, 2 * n * P + 1,
                       [P = P](int s, int t) { return s < P ? std::max(t - 1, 0) : t; });
  }
}

TEST(Asynchronous, AFlushNeedsNoSecondVersion) {
  const Schedule schedule = Complete(OneFOneB(2, 3));
  PipelineSetup setup = test::ToySetup(schedule.layout);
  setup.weights = MakeWeightVersions;
  setup.optimizer = test::MakeSgd(0.1, 0.9);
  ExpectSynchronous(schedule, setup, Steps(3, 8));
}

TEST(Asynchronous, WeightsUpdatedInPlaceSayThatTheyKeepNoVersions) {
  const Schedule schedule = AddCommunication(DoubleBufferWeights(OneFOneB(1, 3), 1));
  OnRanks(1, [&](const std::shared_ptr<Communicator>& comm) {
    const auto engine = MakeEngine(test::ToySetup(schedule.layout), comm);
    const auto batch = [](int64_t u) { return test::ToyBatch(u, 3); };
    const std::string message = MessageOf<ScheduleError>([&] { engine->Run(schedule, batch, 1); });
    EXPECT_NE(message.find("MakeWeightVersions"), std::string::npos) << message;
  });
}

// ------------------------------------------------------------------------------------------------ errors

TEST(Errors, SayRankActionCauseAndTable) {
  const Schedule schedule = Complete(GPipe(2, 3));
  std::mutex mutex;
  std::map<int, std::string> told;
  const auto begin = std::chrono::steady_clock::now();
  OnRanks(
      2,
      [&](const std::shared_ptr<Communicator>& comm) {
        PipelineSetup setup = test::ToySetup(schedule.layout);
        setup.loss = [](const Tensors&, const at::Tensor&) -> at::Tensor {
          throw ContractError("the loss is on strike");
        };
        const auto engine = MakeEngine(setup, comm);
        try {
          engine->Run(schedule, [](int64_t) { return test::ToyBatch(0, 6); });
        } catch (const ScheduleError& error) {
          const std::lock_guard<std::mutex> lock(mutex);
          told[comm->rank()] = error.what();
          EXPECT_NE(error.table().find("[" + std::string(comm->rank() == 1 ? "1F0" : "0B2") + "]"), std::string::npos)
              << error.table();
          if (comm->rank() == 1) throw;  // as a rank that fails does: the others must not wait for it
        }
      },
      /*throws=*/true);
  EXPECT_NE(told[1].find("rank 1 failed at 1F0"), std::string::npos) << told[1];
  EXPECT_NE(told[1].find("the loss is on strike"), std::string::npos) << told[1];
  EXPECT_NE(told[0].find("rank 0 failed at 0B2"), std::string::npos) << told[0];
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST(Errors, BadSetupsAreRefusedInOneLine) {
  OnRanks(2, [&](const std::shared_ptr<Communicator>& comm) {
    PipelineSetup setup = test::ToySetup(Layout::Linear(2));
    setup.balance = {3, 3};
    EXPECT_EQ(MessageOf<std::exception>([&] { MakeEngine(setup, comm); }),
              "the balance 3,3 adds up to 6 layers, and the model has 9: use for example 5,4");
    EXPECT_EQ(MessageOf<std::exception>([&] { MakeEngine(test::ToySetup(Layout::Linear(3)), comm); }),
              "the layout 'linear 3' is for 3 ranks, and there are 2");
    const auto engine = MakeEngine(test::ToySetup(Layout::Linear(2)), comm);
    EXPECT_NE(MessageOf<std::exception>([&] {
                engine->Run(Complete(GPipe(2, 5)), [](int64_t) { return test::ToyBatch(0, 3); });
              }).find("a mini-batch of 3 samples was given to a schedule of 5 micro-batches: use at most 3"),
              std::string::npos);
  });
}

}  // namespace
}  // namespace shardlab
