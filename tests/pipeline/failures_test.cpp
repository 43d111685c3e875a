// Whatever goes wrong on one rank of a pipeline: every rank ends with a ScheduleError that says what it was doing and,
// of the first rank that failed, who it is and why.
//
// Forked ranks: nothing here may run a tensor operation before RunRanks.

#include <gtest/gtest.h>

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <torch/torch.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/launch/process.hpp"
#include "shardlab/launch/run_ranks.hpp"
#include "shardlab/pipeline/engine.hpp"
#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/policies.hpp"
#include "shardlab/plan/passes.hpp"
#include "toy_model.hpp"

namespace shardlab {
namespace {

using World = std::shared_ptr<Communicator>;

constexpr int kMicrobatches = 5;      // an update
constexpr int kUpdates = 4;           // of which the second fails, so that nobody has come to its end before
constexpr int kCall = 6;              // of what fails: in the second update
constexpr double kNotice_s = 1;       // what a rank may take to notice; the goal
constexpr double kPatience_s = 10;    // what a test gives it: a busy machine does other things as well
constexpr double kNeverNoticed = 60;  // how long one that does not notice would wait

// When it happened, and when each rank had noticed; shared by the ranks.
struct Times {
  std::atomic<int64_t> failed{0};
  std::atomic<bool> computes{false};  // a rank has begun what takes long
  std::array<std::atomic<int64_t>, 8> noticed{};
};

class Clock {
 public:
  Clock() : times_(new (Map()) Times()) {}
  ~Clock() { munmap(times_, sizeof(Times)); }
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;
  Times* operator->() const { return times_; }
  double SecondsUntil(int rank) const {
    return static_cast<double>(times_->noticed.at(static_cast<size_t>(rank)) - times_->failed) * 1e-9;
  }

 private:
  static void* Map() {
    void* const page = mmap(nullptr, sizeof(Times), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) throw std::bad_alloc();
    return page;
  }
  Times* times_;
};

// Does what it is told at its n-th call in this process, and nothing before.
using Trap = std::function<void()>;
Trap At(int call, const std::function<void()>& then) {
  return [=, calls = std::make_shared<int>(0)] {
    if (++*calls == call) then();
  };
}

// A layer around another one.
class Trapped final : public Layer {
 public:
  Trapped(std::shared_ptr<Layer> inner, Trap forward, Trap backward)
      : inner_(register_module("inner", std::move(inner))),
        forward_(std::move(forward)),
        backward_(std::move(backward)) {}
  Tensors Forward(const Tensors& x, const MicroBatch& at) override {
    if (forward_) forward_();
    Tensors y = inner_->Forward(x, at);
    if (backward_) {
      y[0].register_hook([this](const at::Tensor& gradient) {
        backward_();
        return gradient;
      });
    }
    return y;
  }

 private:
  std::shared_ptr<Layer> inner_;
  Trap forward_, backward_;
};

class TrappedSgd final : public torch::optim::SGD {
 public:
  TrappedSgd(const std::vector<at::Tensor>& parameters, Trap trap)
      : SGD(parameters, torch::optim::SGDOptions(0.01)), trap_(std::move(trap)) {}
  at::Tensor step(LossClosure closure) override {
    trap_();
    return SGD::step(std::move(closure));
  }

 private:
  Trap trap_;
};

enum class Place { kForward, kBackward, kLoss, kStep, kSource };

struct Setting {
  Schedule schedule;  // complete
  PipelineSetup setup;
  MiniBatchSource source;
  int runs = 1;
};

// A pipeline that trains. `asynchronous`: 2BW, all updates in one run.
Setting Training(int ranks, bool asynchronous) {
  const Schedule schedule =
      AddCommunication(asynchronous ? DoubleBufferWeights(OneFOneB(ranks, kUpdates * kMicrobatches), kMicrobatches)
                                    : Flush(OneFOneB(ranks, kMicrobatches)));
  PipelineSetup setup = test::ToySetup(schedule.layout);
  setup.optimizer = test::MakeSgd(0.01);
  if (asynchronous) setup.weights = MakeWeightVersions;
  return {schedule, setup, [](int64_t update) { return test::ToyBatch(update, 2 * kMicrobatches); },
          asynchronous ? 1 : kUpdates};
}

void SetTrap(Setting& setting, Place where, int rank, const std::function<void()>& then, int call = kCall) {
  // The last layer of the stage.
  int layer = -1;
  for (int stage = 0; stage <= rank; ++stage) layer += setting.setup.balance[static_cast<size_t>(stage)];
  LayerSpec& spec = setting.setup.model[static_cast<size_t>(layer)];
  switch (where) {
    case Place::kForward:
    case Place::kBackward: {
      const Trap trap = At(call, then);
      spec.make = [make = spec.make, trap, where] {
        return std::make_shared<Trapped>(make(), where == Place::kForward ? trap : Trap(),
                                         where == Place::kBackward ? trap : Trap());
      };
      break;
    }
    case Place::kLoss:
      setting.setup.loss = [trap = At(call, then)](const Tensors& y, const at::Tensor& labels) {
        trap();
        return test::CrossEntropy()(y, labels);
      };
      break;
    case Place::kStep:
      setting.setup.optimizer = [trap = At(2, then)](int, const std::vector<at::Tensor>& parameters) {
        return std::make_unique<TrappedSgd>(parameters, trap);
      };
      break;
    case Place::kSource:
      setting.source = [source = setting.source, trap = At(2, then)](int64_t update) {
        trap();
        return source(update);
      };
      break;
  }
}

// Trains on this rank, and turns what ends it into one line. The table has the place marked.
void TrainUntilItFails(const Setting& setting, const World& comm, const Clock& clock) {
  const auto failed = [&](const std::string& how) {
    clock->noticed.at(static_cast<size_t>(comm->rank())) = launch::MonotonicNs();
    throw std::runtime_error(how);
  };
  try {
    const auto engine = MakeEngine(setting.setup, comm);
    for (int run = 0; run < setting.runs; ++run) {
      engine->Run(
          setting.schedule, [&](int64_t update) { return setting.source(run + update); }, kMicrobatches);
    }
  } catch (const ScheduleError& error) {
    const std::string marked = fmt::format(
        "[{}]", ToString(setting.schedule.ranks[static_cast<size_t>(comm->rank())][static_cast<size_t>(error.step())]));
    if (error.rank() != comm->rank() || error.table().find(marked) == std::string::npos) {
      failed("a ScheduleError whose table does not mark " + marked);
    }
    failed(error.what());
  } catch (const std::exception& error) {
    failed(fmt::format("no ScheduleError, but: {}", error.what()));
  }
}

struct Mishap {
  const char* name;
  Place where;
  std::function<void()> then;
  std::string action;  // at which the failing rank says that it failed; empty: it says nothing
  std::string cause;   // as the others tell it
};

std::vector<Mishap> Mishaps() {
  const auto strike = [] { throw ContractError("on strike"); };
  return {
      {"forward", Place::kForward, strike, "F", "on strike"},
      {"backward", Place::kBackward, strike, "B", "on strike"},
      {"step", Place::kStep, strike, "STEP", "on strike"},
      {"source", Place::kSource, strike, "", "on strike"},
      {"no exception class", Place::kForward, [] { throw 42; }, "F", "no std::exception"},
      {"SIGKILL", Place::kForward, [] { raise(SIGKILL); }, "", "was killed by SIGKILL"},
      {"SIGSEGV", Place::kBackward, [] { raise(SIGSEGV); }, "", "was killed by SIGSEGV"},
      {"exit", Place::kForward, [] { _exit(0); }, "", "ended with exit status 0"},
  };
}

void ExpectTold(const Mishap& mishap, int ranks, bool asynchronous, int failing) {
  const std::string which =
      fmt::format("{} on rank {} of {}, {}", mishap.name, failing, ranks, asynchronous ? "2bw" : "1f1b");
  const Clock clock;
  RunRanksOptions options;
  options.operation_limit_s = kNeverNoticed;
  options.grace_s = kNeverNoticed;
  options.limit_s = 2 * kNeverNoticed;
  const auto failures = RunRanks(
      ranks,
      [&](const World& comm) {
        Setting setting = Training(ranks, asynchronous);
        if (comm->rank() == failing) {
          SetTrap(setting, mishap.where, failing, [&] {
            clock->failed = launch::MonotonicNs();
            mishap.then();
          });
        }
        TrainUntilItFails(setting, comm, clock);
      },
      options);

  ASSERT_EQ(failures.size(), static_cast<size_t>(ranks)) << which;
  EXPECT_EQ(failures[0].rank, failing) << which << ": " << failures[0].message;
  EXPECT_NE(failures[0].message.find(mishap.cause), std::string::npos) << which << ": " << failures[0].message;
  const bool speaks = failures[0].message.find("failed at") != std::string::npos;
  if (!mishap.action.empty()) {
    EXPECT_NE(failures[0].message.find(fmt::format("rank {} failed at {}{}", failing, failing, mishap.action)),
              std::string::npos)
        << which << ": " << failures[0].message;
  }
  for (size_t i = 1; i < failures.size(); ++i) {
    const RankFailure& other = failures[i];
    const auto has = [&](const std::string& words) { return other.message.find(words) != std::string::npos; };
    EXPECT_TRUE(other.consequence);
    EXPECT_TRUE(has(fmt::format("threw rank {} failed at {}", other.rank, other.rank)))
        << which << ": " << other.message;
    EXPECT_TRUE(has(fmt::format("was given up: rank {}", failing))) << which << ": " << other.message;
    EXPECT_TRUE(has(mishap.cause)) << which << ": " << other.message;
    EXPECT_TRUE(!speaks || has(fmt::format("given up: rank {} failed at", failing))) << which << ": " << other.message;
    EXPECT_LT(clock.SecondsUntil(other.rank), kPatience_s) << which;
    if (clock.SecondsUntil(other.rank) > kNotice_s) {
      fmt::print("{}: rank {} needed {:.1f} s\n", which, other.rank, clock.SecondsUntil(other.rank));
    }
  }
}

TEST(Failures, OfTwoRanksAreToldByBoth) {
  for (const Mishap& mishap : Mishaps()) {
    ExpectTold(mishap, 2, false, 1);
    ExpectTold(mishap, 2, true, 0);
  }
}

TEST(Failures, OfFourRanksAreToldByAll) {
  for (const Mishap& mishap : Mishaps()) {
    ExpectTold(mishap, 4, false, 0);
    ExpectTold(mishap, 4, true, mishap.where == Place::kForward ? 1 : 3);
  }
  ExpectTold({"loss", Place::kLoss, [] { throw ContractError("on strike"); }, "F", "on strike"}, 4, false, 3);
}

// Rank 3 fails while rank 2 computes. Rank 1 waits for rank 2, and rank 0 for rank 1: nothing of theirs breaks, and
// still they do not wait for rank 2.
TEST(Failures, AreToldToWhoeverWaitsForARankThatComputes) {
  const Clock clock;
  RunRanksOptions options;
  options.operation_limit_s = kNeverNoticed;
  options.grace_s = kNeverNoticed;
  const auto failures = RunRanks(
      4,
      [&](const World& comm) {
        Setting setting = Training(4, false);
        if (comm->rank() == 3) {
          SetTrap(setting, Place::kLoss, 3, [&] {
            for (const launch::Deadline limit(kNeverNoticed); !clock->computes && !limit.Passed();) usleep(1000);
            clock->failed = launch::MonotonicNs();
            throw ContractError("on strike");
          });
        }
        if (comm->rank() == 2) {  // one micro-batch ahead of rank 3
          SetTrap(
              setting, Place::kForward, 2,
              [&] {
                clock->computes = true;
                std::this_thread::sleep_for(std::chrono::seconds(6));
              },
              kCall + 1);
        }
        TrainUntilItFails(setting, comm, clock);
      },
      options);
  ASSERT_EQ(failures.size(), 4u);
  EXPECT_EQ(failures[0].rank, 3) << failures[0].message;
  for (size_t i = 1; i < failures.size(); ++i) {
    EXPECT_NE(failures[i].message.find("given up: rank 3 failed at 3F"), std::string::npos) << failures[i].message;
  }
  EXPECT_LT(clock.SecondsUntil(0), clock.SecondsUntil(2) / 2);
  EXPECT_LT(clock.SecondsUntil(1), clock.SecondsUntil(2) / 2);
}

// One that does not notice in time is ended, and the first failure is still the first.
TEST(Failures, EndARankThatComputesOn) {
  RunRanksOptions options;
  options.operation_limit_s = kNeverNoticed;
  options.grace_s = 0.3;
  const Clock clock;
  const auto failures = RunRanks(
      2,
      [&](const World& comm) {
        Setting setting = Training(2, false);
        if (comm->rank() == 1) {
          SetTrap(setting, Place::kLoss, 1, [] { throw ContractError("on strike"); });
        } else {
          SetTrap(
              setting, Place::kForward, 0, [] { std::this_thread::sleep_for(std::chrono::minutes(5)); }, kCall + 1);
        }
        TrainUntilItFails(setting, comm, clock);
      },
      options);
  ASSERT_EQ(failures.size(), 2u);
  EXPECT_EQ(failures[0].rank, 1);
  EXPECT_NE(failures[0].message.find("on strike"), std::string::npos) << failures[0].message;
  EXPECT_EQ(failures[1].message, "was ended because another rank had failed");
}

}  // namespace
}  // namespace shardlab
