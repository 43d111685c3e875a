#include "pipeline_trials.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <tuple>
#include <utility>

#include <fmt/format.h>
#include <torch/torch.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/launch/run_ranks.hpp"
#include "shardlab/measure/memory.hpp"
#include "shardlab/pipeline/balance.hpp"
#include "shardlab/pipeline/computation.hpp"
#include "shardlab/pipeline/engine.hpp"
#include "shardlab/plan/dependencies.hpp"
#include "shardlab/plan/passes.hpp"

namespace shardlab::bench {

namespace {

using Clock = std::chrono::steady_clock;
using World = std::shared_ptr<Communicator>;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Numbers that ranks leave for the process that has forked them.
class Shared {
 public:
  explicit Shared(size_t count) : bytes_(count * sizeof(double)) {
    void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw EnvironmentError(fmt::format("cannot share memory: {}", std::strerror(errno)));
    numbers_ = static_cast<double*>(memory);
  }
  ~Shared() { munmap(numbers_, bytes_); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  double& operator[](size_t i) { return numbers_[i]; }

 private:
  size_t bytes_;
  double* numbers_;
};

void OnRanks(int ranks, const std::function<void(const World&)>& body) {
  RunRanksOptions options;
  options.limit_s = 3600;
  options.operation_limit_s = 600;
  const auto failures = RunRanks(ranks, body, options);
  if (!failures.empty()) {
    throw EnvironmentError(fmt::format("rank {} {}", failures[0].rank, failures[0].message));
  }
}

MiniBatch BatchOf(const Task& task) {
  torch::manual_seed(task.seed);
  MiniBatch batch;
  batch.samples = task.samples * task.microbatches;
  batch.inputs = {torch::randn({batch.samples, 3, task.side, task.side})};
  batch.targets = torch::randint(0, 10, {batch.samples}, torch::kLong);
  return batch;
}

std::unique_ptr<Engine> EngineOf(const Task& task, const Schedule& schedule, const std::vector<int>& balance,
                                 const World& world) {
  PipelineSetup setup{ModelOf(task), balance, schedule.layout};
  setup.loss = [](const Tensors& outputs, const at::Tensor& targets) {
    return at::cross_entropy_loss(outputs[0], targets);
  };
  setup.optimizer = [](int, const std::vector<at::Tensor>& parameters) {
    Recipe recipe;
    recipe.learning_rate = 1e-3;
    return MakeOptimizer(recipe, parameters);
  };
  setup.weights = MakeWeightVersions;
  return MakeEngine(setup, world);
}

/// One kind of run, on the ranks of its communicator.
struct Runner {
  Schedule schedule;
  int updates;
  World world;  // null on ranks that only wait
  std::unique_ptr<Engine> engine;

  void Run(const Task& task, const MiniBatch& batch) {
    engine->Run(
        schedule, [&](int64_t) { return batch; }, task.microbatches);
  }
};

std::vector<double> StageSeconds(const std::vector<LayerProfile>& profile, const std::vector<int>& balance,
                                 bool backward) {
  std::vector<double> seconds;
  auto layer = profile.begin();
  for (const int size : balance) {
    double sum = 0;
    for (int i = 0; i < size; ++i, ++layer) sum += backward ? layer->backward_s : layer->forward_s;
    seconds.push_back(sum);
  }
  return seconds;
}

double Simulated(const Schedule& schedule, int updates, const std::vector<double>& forward,
                 const std::vector<double>& backward, double message_s) {
  CostModel costs;
  costs.forward = forward;
  costs.backward_input.clear();
  costs.backward_weight.clear();
  for (const double seconds : backward) {
    costs.backward_input.push_back(seconds / 2);
    costs.backward_weight.push_back(seconds / 2);
  }
  costs.message = {message_s};
  return Simulate(AddCommunication(schedule), costs).makespan / updates;
}

/// When lists that begin at `start` have come to their end.
/// \param end_of when a rank is done with so much work that it begins at a time.
double EndOfRun(const Schedule& schedule, const std::vector<double>& forward, const std::vector<double>& backward,
                double start, const std::function<double(int rank, double now, double work)>& end_of) {
  std::map<std::tuple<ActionKind, int, int>, double> done;
  const auto key = [](const Action& action) { return std::tuple(action.kind, action.chunk, action.microbatch); };
  std::vector<size_t> next(schedule.ranks.size());
  std::vector<double> clocks(schedule.ranks.size(), start);
  for (bool moved = true; moved;) {
    moved = false;
    for (size_t rank = 0; rank < next.size(); ++rank) {
      for (; next[rank] < schedule.ranks[rank].size(); ++next[rank]) {
        const Action& action = schedule.ranks[rank][next[rank]];
        if (!IsCompute(action.kind)) continue;
        double begin = clocks[rank];
        bool ready = true;
        for (const Dependency& need : Dependencies(schedule.layout, action)) {
          double earliest = -1;
          for (const Action& one : need.any_of) {
            const auto found = done.find(key(one));
            if (found != done.end()) earliest = std::max(earliest, found->second);
            if (!IsCompute(one.kind)) earliest = std::max(earliest, start);  // a STEP takes no time
          }
          ready = ready && earliest >= 0;
          begin = std::max(begin, earliest);
        }
        if (!ready) break;
        const auto stage = static_cast<size_t>(schedule.layout.chunk(action.chunk).stage);
        clocks[rank] = end_of(static_cast<int>(rank), begin,
                              action.kind == ActionKind::kForward ? forward[stage] : backward[stage]);
        done[key(action)] = clocks[rank];
        moved = true;
      }
    }
  }
  return *std::max_element(clocks.begin(), clocks.end());
}

/// A schedule on two ranks that is measured.
struct TrialSchedule {
  std::string name;
  Schedule schedule;
  int updates;
};

std::vector<TrialSchedule> SchedulesOnTwo(const Task& task) {
  std::vector<TrialSchedule> all;
  for (const char* name : {"gpipe", "1f1b", "2bw", "wpipe"}) {
    const ScheduleTraits& traits = TraitsOf(name);
    const int updates = traits.IsAsynchronous() ? task.updates : 1;
    Schedule schedule = ComputationOf(traits, 2, 1, task.microbatches, updates);
    all.push_back({name, traits.IsAsynchronous() ? std::move(schedule) : Flush(std::move(schedule)), updates});
  }
  return all;
}

/// A cut of which no single layer can move to a neighbour to save time. With several stages a rank, or where stages
/// wait for each other unevenly, the cut whose largest stage is smallest need not be the fastest.
std::vector<int> FastestCut(const TrialSchedule& trial, const std::vector<LayerProfile>& profile) {
  const auto seconds = [&](const std::vector<int>& cut) {
    return SimulatedSeconds(trial.schedule, trial.updates, profile, cut, 0);
  };
  std::vector<int> best = Balance(SecondsOf(profile), trial.schedule.layout.stages());
  double best_s = seconds(best);
  for (bool better = true; better;) {
    better = false;
    const std::vector<int> from = best;
    for (size_t i = 0; i + 1 < from.size(); ++i) {
      for (const int step : {-1, 1}) {
        std::vector<int> moved = from;
        moved[i] += step;
        moved[i + 1] -= step;
        if (moved[i] < 1 || moved[i + 1] < 1) continue;
        const double moved_s = seconds(moved);
        if (moved_s >= best_s) continue;
        best = moved;
        best_s = moved_s;
        better = true;
      }
    }
  }
  return best;
}

/// How much longer the rank with the most work computes than the mean one.
double ImbalanceOf(const Layout& layout, const std::vector<LayerProfile>& profile, const std::vector<int>& balance) {
  std::vector<double> ranks(static_cast<size_t>(layout.ranks()));
  const std::vector<double> costs = SecondsOf(profile);
  size_t layer = 0;
  for (size_t chunk = 0; chunk < balance.size(); ++chunk) {
    for (int i = 0; i < balance[chunk]; ++i) {
      ranks[static_cast<size_t>(layout.chunk(static_cast<int>(chunk)).rank)] += costs[layer++];
    }
  }
  const double sum = std::accumulate(ranks.begin(), ranks.end(), 0.0);
  return *std::max_element(ranks.begin(), ranks.end()) * static_cast<double>(ranks.size()) / sum;
}

/// One way of the tensor that crosses the cut: half of a round trip.
double MeasureMessage(const World& world, int64_t bytes) {
  constexpr int kTrips = 20;
  const at::Tensor tensor = torch::zeros({std::max<int64_t>(bytes / 4, 1)});
  const auto trip = [&] {
    if (world->rank() == 0) {
      world->Send(tensor, 1);
      world->Recv(tensor, 1);
    } else {
      world->Recv(tensor, 0);
      world->Send(tensor, 0);
    }
  };
  trip();
  const auto start = Clock::now();
  for (int i = 0; i < kTrips; ++i) trip();
  return SecondsSince(start) / (2 * kTrips);
}

/// Seconds of `run` on the ranks that do it, between two barriers of all.
double Timed(const World& world, const std::function<void()>& run) {
  world->Barrier();
  const auto start = Clock::now();
  run();
  world->Barrier();
  return SecondsSince(start);
}

constexpr size_t kFields = 7;

void Store(Shared& shared, const std::vector<LayerProfile>& profile) {
  for (size_t i = 0; i < profile.size(); ++i) {
    const LayerProfile& layer = profile[i];
    const double fields[kFields] = {layer.forward_s,
                                    layer.backward_s,
                                    static_cast<double>(layer.parameters),
                                    static_cast<double>(layer.parameter_bytes),
                                    static_cast<double>(layer.activation_bytes),
                                    static_cast<double>(layer.boundary_bytes),
                                    static_cast<double>(layer.skip_bytes)};
    for (size_t f = 0; f < kFields; ++f) shared[i * kFields + f] = fields[f];
  }
}

std::vector<LayerProfile> Load(Shared& shared, const LayerSequence& model) {
  std::vector<LayerProfile> profile(model.size());
  for (size_t i = 0; i < model.size(); ++i) {
    const auto field = [&](size_t f) { return shared[i * kFields + f]; };
    profile[i] = {model[i].name,
                  field(0),
                  field(1),
                  static_cast<int64_t>(field(2)),
                  static_cast<int64_t>(field(3)),
                  static_cast<int64_t>(field(4)),
                  static_cast<int64_t>(field(5)),
                  static_cast<int64_t>(field(6))};
  }
  return profile;
}

}  // namespace

LayerSequence ModelOf(const Task& task) {
  ModelOptions options;
  options.side = task.side;
  options.seed = task.seed;
  return MakeSequence(task.model, options);
}

std::vector<LayerProfile> MeasureLayers(const Task& task) {
  const LayerSequence model = ModelOf(task);
  Shared shared(model.size() * kFields);
  OnRanks(1, [&](const World&) {
    torch::manual_seed(task.seed);
    Store(shared, ProfileLayers(model, {torch::randn({task.samples, 3, task.side, task.side})}));
  });
  return Load(shared, model);
}

double SimulatedSeconds(const Schedule& schedule, int updates, const std::vector<LayerProfile>& profile,
                        const std::vector<int>& balance, double message_s) {
  return Simulated(schedule, updates, StageSeconds(profile, balance, false), StageSeconds(profile, balance, true),
                   message_s);
}

Speed MeasureSpeed(const Task& task) {
  Speed speed;
  speed.profile = MeasureLayers(task);
  const std::vector<double> costs = SecondsOf(speed.profile);
  const std::vector<TrialSchedule> schedules = SchedulesOnTwo(task);
  const auto runs = static_cast<size_t>(task.runs);

  std::vector<std::vector<int>> balances;
  for (const TrialSchedule& trial : schedules) balances.push_back(FastestCut(trial, speed.profile));
  const int64_t boundary = speed.profile[static_cast<size_t>(balances[0][0]) - 1].boundary_bytes;

  // A row a run: the limit, naive-1, then of each schedule its time and that of two trainings side by side.
  const size_t columns = 2 + 2 * schedules.size();
  Shared table(1 + runs * columns);
  OnRanks(2, [&](const World& world) {
    const MiniBatch batch = BatchOf(task);
    const World alone = world->Split(world->rank(), 0);
    const Schedule one_by_one = AddCommunication(Flush(Naive(1, task.microbatches)));
    const std::vector<int> whole = {static_cast<int>(speed.profile.size())};
    Runner naive{one_by_one, 1, alone, EngineOf(task, one_by_one, whole, alone)};
    std::vector<Runner> runners;
    for (size_t i = 0; i < schedules.size(); ++i) {
      const Schedule schedule = AddCommunication(schedules[i].schedule);
      runners.push_back({schedule, schedules[i].updates, world, EngineOf(task, schedule, balances[i], world)});
    }
    const double message_s = MeasureMessage(world, boundary);
    const auto naive_alone = [&] {
      if (world->rank() == 0) naive.Run(task, batch);
    };
    // What is made once (threads, shapes, the allocator's memory) is made before the clock runs.
    naive.Run(task, batch);
    for (Runner& runner : runners) runner.Run(task, batch);

    for (size_t run = 0; run < runs; ++run) {
      const double alone_s = Timed(world, naive_alone);
      std::vector<double> row;
      double together_s = 0;
      for (Runner& runner : runners) {
        // An update side by side takes about as long as two of the pipeline: as many before as after.
        const int times = std::max(1, runner.updates / 4);
        const auto side_by_side = [&] {
          return Timed(world, [&] {
            for (int i = 0; i < times; ++i) naive.Run(task, batch);
          });
        };
        const double before_s = side_by_side();
        row.push_back(Timed(world, [&] { runner.Run(task, batch); }) / runner.updates);
        row.push_back((before_s + side_by_side()) / (2 * times));
        together_s += row.back() / static_cast<double>(runners.size());
      }
      const double again_s = Timed(world, naive_alone);
      if (world->rank() != 0) continue;
      table[0] = message_s;
      double* to = &table[1 + run * columns];
      to[1] = (alone_s + again_s) / 2;  // before and after, so that a drift of the machine meets both sides
      to[0] = to[1] / together_s;
      std::copy(row.begin(), row.end(), to + 2);
    }
  });

  speed.message_s = table[0];
  speed.naive_1.name = "naive-1";
  for (size_t run = 0; run < runs; ++run) {
    speed.machine_limits.push_back(table[1 + run * columns]);
    speed.naive_1.seconds.push_back(table[1 + run * columns + 1]);
  }
  const double layers_s = std::accumulate(costs.begin(), costs.end(), 0.0);
  speed.naive_1.simulated_s = speed.naive_1.even_s = layers_s * task.microbatches;
  double forward_s = 0;
  for (const LayerProfile& layer : speed.profile) forward_s += layer.forward_s;
  for (size_t i = 0; i < schedules.size(); ++i) {
    Trial trial;
    trial.name = schedules[i].name;
    trial.flushes = schedules[i].schedule.HasFlush();
    trial.balance = balances[i];
    trial.imbalance = ImbalanceOf(schedules[i].schedule.layout, speed.profile, balances[i]);
    for (size_t run = 0; run < runs; ++run) {
      trial.seconds.push_back(table[1 + run * columns + 2 + 2 * i]);
      trial.side_by_side.push_back(table[1 + run * columns + 3 + 2 * i]);
    }
    trial.simulated_s =
        SimulatedSeconds(schedules[i].schedule, schedules[i].updates, speed.profile, balances[i], speed.message_s);
    const auto stages = static_cast<double>(balances[i].size());
    trial.even_s = Simulated(schedules[i].schedule, schedules[i].updates, {forward_s / stages},
                             {(layers_s - forward_s) / stages}, 0);
    trial.beside_a_neighbour =
        BesideANeighbour(schedules[i].schedule, schedules[i].updates, StageSeconds(speed.profile, balances[i], false),
                         StageSeconds(speed.profile, balances[i], true));
    speed.two.push_back(std::move(trial));
  }
  return speed;
}

double BesideANeighbour(const Schedule& schedule, int updates, const std::vector<double>& forward,
                        const std::vector<double>& backward) {
  const int ranks = schedule.layout.ranks();
  const double work =
      std::accumulate(forward.begin(), forward.end(), std::accumulate(backward.begin(), backward.end(), 0.0));
  const double micro_batch = work / ranks;
  const double update = work * schedule.microbatches / updates;  // of the whole model
  constexpr int kUpdates = 8, kDraws = 30;
  double sum = 0;
  for (int draw = 0; draw < kDraws; ++draw) {
    std::mt19937_64 random(static_cast<uint64_t>(draw));
    std::exponential_distribution<double> length(1 / micro_batch);
    // By rank, when half of its processor is taken.
    std::vector<std::vector<std::pair<double, double>>> taken(static_cast<size_t>(ranks));
    for (double now = 0; now < 4 * update * kUpdates;) {
      const double begin = now + length(random);
      now = begin + length(random);
      taken[random() % static_cast<uint64_t>(ranks)].emplace_back(begin, now);
    }
    const auto end_of = [&](int rank, double now, double left) {
      for (const auto& [begin, end] : taken[static_cast<size_t>(rank)]) {
        if (end <= now) continue;
        if (now + left <= begin) break;
        left -= std::max(begin - now, 0.0);
        now = std::max(begin, now);
        if (2 * left <= end - now) return now + 2 * left;
        left -= (end - now) / 2;
        now = end;
      }
      return now + left;
    };
    double pipeline = 0, quiet = 0, side_by_side = 0;
    const auto no_one = [](int, double now, double left) { return now + left; };
    for (int done = 0; done < kUpdates; done += updates) {
      pipeline = EndOfRun(schedule, forward, backward, pipeline, end_of);
      quiet = EndOfRun(schedule, forward, backward, quiet, no_one);
    }
    for (int rank = 0; rank < ranks; ++rank) {
      side_by_side = std::max(side_by_side, end_of(rank, 0, update * kUpdates));
    }
    // (one / pipeline) / ((one / quiet) * (one / side_by_side)), where one is the whole work by one undisturbed rank.
    sum += quiet / pipeline * side_by_side / (update * kUpdates);
  }
  return sum / kDraws;
}

std::vector<Memory> MeasureMemory(const Task& task, const Schedule& schedule, int updates,
                                  const std::vector<int>& balance) {
  const int ranks = schedule.layout.ranks();
  const Schedule complete = AddCommunication(schedule);
  Shared table(static_cast<size_t>(ranks) * 3);
  OnRanks(ranks, [&](const World& world) {
    const MiniBatch batch = BatchOf(task);
    CountMemory();
    Runner runner{complete, updates, world, EngineOf(task, complete, balance, world)};
    int64_t weights = 0;
    const Footprint footprint = Validate(complete);
    for (const int chunk : complete.layout.ChunksOf(world->rank())) {
      int64_t bytes = 0;
      for (const auto& [name, parameter] : runner.engine->Module(chunk).NamedParameters()) {
        bytes += static_cast<int64_t>(parameter.nbytes());
      }
      weights += bytes * footprint.versions[static_cast<size_t>(chunk)];
    }
    runner.Run(task, batch);  // gradients and the second buffers are there from here on
    const int64_t standing = LiveBytes();
    ResetPeak();
    runner.Run(task, batch);
    double* to = &table[static_cast<size_t>(world->rank()) * 3];
    to[0] = static_cast<double>(weights);
    to[1] = static_cast<double>(PeakBytes() - standing);
    to[2] = static_cast<double>(PeakBytes());
  });
  std::vector<Memory> memory;
  for (size_t rank = 0; rank < static_cast<size_t>(ranks); ++rank) {
    memory.push_back({static_cast<int64_t>(table[rank * 3]), static_cast<int64_t>(table[rank * 3 + 1]),
                      static_cast<int64_t>(table[rank * 3 + 2])});
  }
  return memory;
}

}  // namespace shardlab::bench
