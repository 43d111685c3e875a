// Two copies of a model in one pipeline (GEMS) are the training of one process, whatever their schedule says about who
// runs what.
//
//     bidirectional 3     rank 0   stages 0 2     copy 0 begins on rank 0 and ends on rank 2,
//                         rank 1   stages 1 1     copy 1 the other way round
//                         rank 2   stages 2 0
//
// Here between threads; with processes and data parallelism in replicas_test.cpp.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <torch/torch.h>

#include "both_ways.hpp"
#include "on_ranks.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/comm/operation.hpp"
#include "shardlab/pipeline/deferred_statistics.hpp"
#include "shardlab/pipeline/engine.hpp"
#include "shardlab/pipeline/policies.hpp"
#include "shardlab/pipeline/stage_times.hpp"
#include "shardlab/plan/passes.hpp"
#include "shardlab/plan/text.hpp"
#include "shardlab/plan/validate.hpp"
#include "toy_model.hpp"

namespace shardlab {
namespace {

using test::OnRanks;
using test::Steps;

// Counts what goes through it and its sub-groups.
struct Counts {
  int messages = 0, all_reduces = 0;
};
class Counted final : public Communicator {
 public:
  Counted(std::shared_ptr<Communicator> inner, Counts* counts)
      : Communicator(inner->rank(), inner->group()), inner_(std::move(inner)), counts_(counts) {}
  std::unique_ptr<Work> Start(const Operation& operation) override {
    if (operation.kind == OpKind::kSend) ++counts_->messages;
    if (operation.kind == OpKind::kAllReduce) ++counts_->all_reduces;
    return inner_->Start(operation);
  }

 protected:
  std::shared_ptr<Communicator> MakeSubgroup(int rank, const Group& group, const Where& where) override {
    return std::make_shared<Counted>(MakeSubgroupOf(*inner_, rank, group, where), counts_);
  }

 private:
  std::shared_ptr<Communicator> inner_;
  Counts* counts_;
};

Schedule WithSums(Schedule computation, Recompute recompute = Recompute::kNever) {
  return AddCommunication(AddRecompute(AddGradientReduction(Flush(std::move(computation))), recompute));
}

// Which micro-batches run through a copy.
std::set<int> SlicesOfCopy(const Schedule& schedule, int copy) {
  std::set<int> slices;
  for (const Action& action : schedule.ranks[0]) {
    if (action.kind == ActionKind::kForward && schedule.layout.chunk(action.chunk).replica == copy)
      slices.insert(action.microbatch);
  }
  return slices;
}

// Trains for some updates, and compares losses, parameters and deferred statistics with one process, and both copies
// with each other after every update.
void ExpectOneProcess(const Schedule& schedule, PipelineSetup setup, test::Reference reference) {
  const std::string where =
      schedule.name + " P=" + std::to_string(schedule.layout.ranks()) + " m=" + std::to_string(schedule.microbatches);
  reference.microbatches = schedule.microbatches;
  reference.balance = setup.balance;
  reference.optimizer = setup.optimizer;
  reference.clip_norm = setup.clip_norm;
  reference.learning_rate = setup.learning_rate;
  std::vector<test::Trained> expected;
  for (const int copy : {0, 1}) {
    reference.counted_slices = SlicesOfCopy(schedule, copy);
    expected.push_back(TrainReference(reference));
  }
  const auto updates = static_cast<size_t>(reference.updates);
  std::mutex mutex;
  std::vector<double> losses(updates, 0.0);
  std::vector<std::map<std::string, std::vector<at::Tensor>>> copies(updates);  // by parameter
  OnRanks(schedule.layout.ranks(), [&](const std::shared_ptr<Communicator>& comm) {
    PipelineSetup mine = setup;
    if (reference.deferred) mine.statistics = MakeDeferredStatistics();
    const auto engine = MakeEngine(mine, comm);
    for (size_t t = 0; t < updates; ++t) {
      const auto seen =
          engine->Run(schedule, [&](int64_t) { return test::ToyBatch(static_cast<int64_t>(t), reference.samples); });
      const bool is_an_end = comm->rank() == 0 || comm->rank() == comm->size() - 1;
      ASSERT_EQ(seen.size(), is_an_end ? 1u : 0u) << where;
      const std::lock_guard<std::mutex> lock(mutex);
      if (is_an_end) losses[t] += seen[0];
      for (const int chunk : schedule.layout.ChunksOf(comm->rank())) {
        for (const auto& [name, value] : engine->Module(chunk).NamedParameters()) {
          copies[t][name].push_back(value.detach().clone());
        }
      }
    }
    for (const int chunk : schedule.layout.ChunksOf(comm->rank())) {
      test::Trained right = expected[static_cast<size_t>(schedule.layout.chunk(chunk).replica)];
      // Statistics that every micro-batch moves are of no interest here: they depend on nothing but their copy's.
      if (!reference.deferred) right.buffers = engine->Module(chunk).NamedBuffers();
      ExpectSameModule(engine->Module(chunk), right, where);
    }
  });
  for (size_t t = 0; t < updates; ++t) {
    EXPECT_NEAR(losses[t], expected[0].losses[t], 1e-10) << where << ", update " << t;
    EXPECT_EQ(copies[t].size(), expected[0].parameters.size()) << where;
    for (const auto& [name, values] : copies[t]) {
      ASSERT_EQ(values.size(), 2u) << where << ": " << name;
      EXPECT_TRUE(at::equal(values[0], values[1])) << where << ": the copies of " << name << " differ, update " << t;
    }
  }
}

TEST(Bidirectional, IsTheTrainingOfOneProcess) {
  for (const int P : {1, 2, 3, 4, 5}) {
    for (const int m : {1, 2, 3, 4, 5}) {  // 13 % m != 0 for m = 2, 3, 4, 5; with an odd m one copy has one more
      const Schedule schedule = WithSums(test::BothWays(P, m));
      ExpectOneProcess(schedule, test::ToySetup(schedule.layout), Steps(2, 13));
    }
  }
}

// A schedule by hand: micro-batches 0 and 1 are in the pipe at once, 2 follows where 0's backward has freed memory, and
// a backward is cut in two.
TEST(Bidirectional, RunsWhatTheScheduleSays) {
  const Schedule schedule = ParseSchedule(
      "schedule by hand\n"
      "layout bidirectional 2\n"
      "micro-batches 3\n"
      "rank 0: 0F0 3F1 3B1 0I0 0W0 0F2 0B2\n"
      "rank 1: 2F1 1F0 1B0 2B1 1F2 1I2 1W2\n");
  PipelineSetup setup = test::ToySetup(schedule.layout);
  setup.stage = [](int) { return MakeSplitStage(); };
  ExpectOneProcess(WithSums(schedule), setup, Steps(3, 8));
  ExpectOneProcess(WithSums(schedule, Recompute::kAlways), setup, Steps(2, 8));
}

TEST(Bidirectional, MomentumAdamAndARateSchedule) {
  for (const int P : {1, 2, 3}) {
    const Schedule schedule = WithSums(test::BothWays(P, 4));
    PipelineSetup setup = test::ToySetup(schedule.layout);
    setup.optimizer = test::MakeSgd(0.2, 0.9);
    setup.learning_rate = [](int64_t step) { return 1.0 / static_cast<double>(1 + step); };
    ExpectOneProcess(schedule, setup, Steps(3, 11));
    setup.optimizer = test::MakeAdam(0.01);
    ExpectOneProcess(schedule, setup, Steps(3, 11));
    setup.weights = MakeWeightVersions;
    ExpectOneProcess(schedule, setup, Steps(3, 11));
  }
}

// Whatever ranks its copies are on, a weight counts once in the norm.
TEST(Bidirectional, ClippingCountsEachWeightOnce) {
  for (const int P : {1, 2, 3, 4}) {
    const Schedule schedule = WithSums(test::BothWays(P, 3));
    PipelineSetup setup = test::ToySetup(schedule.layout);
    setup.optimizer = test::MakeSgd(0.2, 0.9);
    setup.clip_norm = 0.05;
    ExpectOneProcess(schedule, setup, Steps(3, 11));
  }
}

TEST(Bidirectional, EachCopyKeepsTheStatisticsOfItsMicroBatches) {
  test::Reference reference = Steps(3, 13);
  reference.deferred = true;
  for (const int P : {1, 2, 3}) {
    const Schedule schedule = WithSums(test::BothWays(P, 5));
    ExpectOneProcess(schedule, test::ToySetup(schedule.layout), reference);
  }
}

TEST(Bidirectional, TheFirstCopyEvaluates) {
  const Layout layout = Layout::Bidirectional(3);
  OnRanks(3, [&](const std::shared_ptr<Communicator>& comm) {
    const auto engine = MakeEngine(test::ToySetup(layout), comm);
    const Tensors outputs = engine->Evaluate(test::ToyBatch(5, 7), 3);
    ASSERT_EQ(outputs.size(), comm->rank() == 2 ? 1u : 0u);
    engine->Run(WithSums(test::BothWays(3, 2)), [&](int64_t) { return test::ToyBatch(0, 6); });  // all train again
    if (comm->rank() != 2) return;
    StageModule whole(test::ToyModel(), 0, 9);
    whole.eval();
    const torch::NoGradGuard no_grad;
    MicroBatch at;
    at.training = false;
    EXPECT_TRUE(at::allclose(outputs[0], whole.Forward(test::ToyBatch(5, 7).inputs, at)[0], 1e-12, 1e-12));
  });
}

// One all-reduce a tensor between mirrored ranks, and none on the one that holds both copies.
TEST(Bidirectional, ARankWithBothCopiesAddsThemWithoutAMessage) {
  for (const int P : {1, 3, 4}) {
    const Schedule schedule = WithSums(test::BothWays(P, 2));
    OnRanks(P, [&](const std::shared_ptr<Communicator>& comm) {
      Counts counts;
      const auto engine = MakeEngine(test::ToySetup(schedule.layout), std::make_shared<Counted>(comm, &counts));
      engine->Run(schedule, [&](int64_t) { return test::ToyBatch(0, 6); });  // tells the shapes
      counts = {};
      engine->Run(schedule, [&](int64_t) { return test::ToyBatch(1, 6); });
      int tensors = 0;
      for (const int chunk : schedule.layout.ChunksOf(comm->rank())) {
        tensors += static_cast<int>(engine->Module(chunk).parameters().size());
      }
      EXPECT_EQ(counts.all_reduces, 2 * comm->rank() + 1 == P ? 0 : tensors) << "P=" << P << " rank " << comm->rank();
      const bool is_an_end = comm->rank() == 0 || comm->rank() == P - 1;
      EXPECT_EQ(counts.messages, P == 1 ? 0 : is_an_end ? 2 : 4) << "P=" << P << " rank " << comm->rank();
    });
  }
}

// Factories are told their chunk, and what is recorded of a stage carries it.
TEST(Bidirectional, StagesAndOptimizersKnowTheirChunk) {
  const Schedule schedule = WithSums(test::BothWays(2, 4));
  OnRanks(2, [&](const std::shared_ptr<Communicator>& comm) {
    std::vector<int> optimizers;
    StageTimes times;
    PipelineSetup setup = test::ToySetup(schedule.layout);
    setup.stage = times.Watched([](int) { return MakeStage(); });
    setup.optimizer = [&](int chunk, const std::vector<at::Tensor>& parameters) {
      optimizers.push_back(chunk);
      return test::MakeSgd(0.1)(chunk, parameters);
    };
    const auto engine = MakeEngine(setup, comm);
    const std::vector<int> chunks = schedule.layout.ChunksOf(comm->rank());
    EXPECT_EQ(optimizers, chunks);
    engine->Run(schedule, [&](int64_t) { return test::ToyBatch(0, 9); });
    std::vector<Action> computed;
    for (const Action& action : schedule.ranks[static_cast<size_t>(comm->rank())]) {
      if (IsCompute(action.kind)) computed.push_back(action);
    }
    ASSERT_EQ(times.spans().size(), computed.size());
    for (size_t i = 0; i < computed.size(); ++i) {
      EXPECT_EQ(times.spans()[i].action, computed[i]);
      EXPECT_LE(times.spans()[i].begin, times.spans()[i].end);
    }
    const Simulation run = GatherRun(times, 3, *comm);  // without the last micro-batch
    ASSERT_EQ(run.ranks.size(), comm->rank() == 0 ? 2u : 0u);
    for (const auto& spans : run.ranks) {
      EXPECT_EQ(spans.size(), 6u);
      for (const Span& span : spans) EXPECT_TRUE(span.begin >= 0 && span.end <= run.makespan);
    }
    times.Clear();
    EXPECT_TRUE(times.spans().empty());
  });
}

// Skips go from copy to copy of the same replica.
TEST(Bidirectional, SkipsStayWithinTheirCopy) {
  class Join final : public Layer {
   public:
    Tensors Forward(const Tensors& x, const MicroBatch&) override { return {x.at(0) + x.at(1)}; }
  };
  class Fork final : public Layer {
   public:
    Tensors Forward(const Tensors& x, const MicroBatch&) override { return {at::tanh(x.at(0)), x.at(0)}; }
  };
  LayerSequence model = test::ToyModel();
  model.insert(model.begin() + 7, {"fork", [] { return std::make_shared<Fork>(); }, {"skip"}, {}});
  model.insert(model.begin() + 9, {"join", [] { return std::make_shared<Join>(); }, {}, {"skip"}});
  for (const int P : {2, 3}) {
    const Schedule schedule = WithSums(test::BothWays(P, 4));
    PipelineSetup setup = test::ToySetup(schedule.layout);
    setup.model = model;
    setup.balance = P == 2 ? std::vector<int>{8, 3} : std::vector<int>{8, 1, 2};
    test::Reference reference = Steps(2, 9);
    reference.model = model;
    ExpectOneProcess(schedule, setup, reference);
  }
}

// A STEP of one copy before the gradient of the other is in its sum would make them differ.
TEST(Bidirectional, AStepWaitsForBothCopiesOnItsRank) {
  Schedule schedule = AddGradientReduction(Flush(test::BothWays(1, 2)));
  Validate(schedule);
  auto& list = schedule.ranks[0];
  ASSERT_EQ(ToString(list[list.size() - 2]), "0STEP@1");
  std::swap(list[list.size() - 2], list[list.size() - 3]);
  try {
    Validate(schedule);
    FAIL() << FormatSchedule(schedule);
  } catch (const ScheduleError& error) {
    EXPECT_NE(std::string(error.what()).find("0STEP@1 needs 1REDUCE_GRAD@1"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace shardlab
