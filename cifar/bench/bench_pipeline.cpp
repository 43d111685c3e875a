// The program behind `lab bench pipeline`: pipelines on the clock and on the scales, each beside what it should be.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "pipeline_trials.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/balance.hpp"
#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/policies.hpp"
#include "shardlab/plan/passes.hpp"
#include "shardlab/report/files.hpp"

namespace {

using namespace shardlab;         // NOLINT: a program, not a header
using namespace shardlab::bench;  // NOLINT
using nlohmann::json;

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double Sum(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum;
}

std::string MiB(int64_t bytes) { return fmt::format("{:.1f}", static_cast<double>(bytes) / (1 << 20)); }

/// How much slower the slowest stage is than the mean one.
double Imbalance(const std::vector<LayerProfile>& profile, const std::vector<int>& balance) {
  const std::vector<double> costs = SecondsOf(profile);
  return LargestPart(costs, balance) * static_cast<double>(balance.size()) / Sum(costs);
}

json PrintTwoRanks(const Task& task, const Speed& speed) {
  const double limit = Median(speed.machine_limits);
  fmt::print("{} at {} x {}, {} micro-batches of {} an update; medians of {} runs in turn\n", task.model, task.side,
             task.side, task.microbatches, task.samples, task.runs);
  fmt::print("naive-1 (one process, the same micro-batches): {:.3f} s an update\n", Median(speed.naive_1.seconds));
  fmt::print("machine limit: two trainings side by side reach {:.2f} of twice one alone\n", limit);
  fmt::print("a message of the boundary takes {:.2f} ms\n\n", 1e3 * speed.message_s);
  fmt::print("{:<8}{:>9}{:>14}{:>8}{:>9}{:>9}{:>7}{:>11}{:>10}{:>11}\n", "2 ranks", "speed-up", "(spread)", "bound",
             "x limit", "reached", "goal", "imbalance", "even cut", "neighbour");
  json rows = json::array();
  for (const Trial& trial : speed.two) {
    std::vector<double> speedups, limits, of_limits;
    for (size_t run = 0; run < trial.seconds.size(); ++run) {
      speedups.push_back(speed.naive_1.seconds[run] / trial.seconds[run]);
      limits.push_back(speed.naive_1.seconds[run] / trial.side_by_side[run]);
      of_limits.push_back(trial.side_by_side[run] / trial.seconds[run]);
    }
    const double limit = Median(limits);  // while this schedule ran
    const auto [low, high] = std::minmax_element(speedups.begin(), speedups.end());
    const double measured = Median(speedups);
    const double bound = speed.naive_1.simulated_s / trial.simulated_s;
    const double even = speed.naive_1.even_s / trial.even_s;
    const double goal = (trial.flushes ? 0.93 * bound : 0.95 * 2) * limit;
    const double reached = Median(of_limits) / bound;
    fmt::print("{:<8}{:>9.2f}{:>14}{:>8.2f}{:>9.2f}{:>8.0f}%{:>7.2f}{:>11.3f}{:>10.2f}{:>10.0f}%\n", trial.name,
               measured, fmt::format("{:.2f}..{:.2f}", *low, *high), bound, bound * limit, 100 * reached, goal,
               trial.imbalance, even, 100 * trial.beside_a_neighbour);
    rows.push_back({{"schedule", trial.name},
                    {"speedup", measured},
                    {"low", *low},
                    {"high", *high},
                    {"bound", bound},
                    {"limit", limit},
                    {"reached", reached},
                    {"goal", goal},
                    {"imbalance", trial.imbalance},
                    {"even", even},
                    {"beside_a_neighbour", trial.beside_a_neighbour},
                    {"balance", trial.balance}});
  }
  fmt::print(
      "\nbound: from the measured times of the stages of this cut; imbalance: of the ranks' work; even cut: with\n"
      "stages of equal time and no messages. 2bw and wpipe run {} updates without a flush. goal: 93 % of bound x\n"
      "limit where there is a flush, 95 % of 2 x limit where there is none. limit: what two trainings side by side\n"
      "reach right before and after each run, in as much time. neighbour: what would be left of bound x limit if\n"
      "another program took half of one rank's processor, now of this one and now of that, for a micro-batch at a\n"
      "time (simulated). A rank that is held up holds the other one up as soon as no micro-batch waits between them:\n"
      "the more a schedule keeps in flight, and the longer it waits in its flushes anyway, the less it loses.\n",
      task.updates);
  return rows;
}

json PrintManyRanks(const Task& task, const Speed& speed) {
  fmt::print("\n{:<12}{:>12}{:>14}{:>14}{:>13}\n", "ranks", "cut's worst", "gpipe", "with R", "1f1b with R");
  json rows = json::array();
  const int m = task.microbatches;
  for (const int stages : {1, 2, 4, 8}) {
    if (stages > static_cast<int>(speed.profile.size())) break;
    const std::vector<int> balance = Balance(SecondsOf(speed.profile, true), stages);
    const auto speedup = [&](const Schedule& schedule) {
      return speed.naive_1.simulated_s / SimulatedSeconds(schedule, 1, speed.profile, balance, speed.message_s);
    };
    const double plain = speedup(Flush(GPipe(stages, m)));
    const double recomputed = speedup(AddRecompute(Flush(GPipe(stages, m)), Recompute::kExceptLast));
    const double recomputed_1f1b = speedup(AddRecompute(Flush(OneFOneB(stages, m)), Recompute::kExceptLast));
    const double worst = Imbalance(speed.profile, balance);
    fmt::print("{:<12}{:>11.3f}x{:>14.2f}{:>14.2f}{:>13.2f}\n", fmt::format("pipeline-{}", stages), worst, plain,
               recomputed, recomputed_1f1b);
    rows.push_back({{"stages", stages},
                    {"balance", balance},
                    {"imbalance", worst},
                    {"gpipe", plain},
                    {"gpipe_except_last", recomputed},
                    {"1f1b_except_last", recomputed_1f1b}});
  }
  fmt::print(
      "\nSimulated, not measured: the stages' times are measured, and every stage is given a core of its own. R:\n"
      "recomputation of all micro-batches but the last. Speed-up over naive-1 with the same {} micro-batches.\n",
      m);
  return rows;
}

struct MemoryRow {
  std::string name;
  Schedule schedule;
  int updates;
};

json PrintMemory(const Task& task, const std::vector<LayerProfile>& profile, const std::string& title,
                 const std::vector<MemoryRow>& all) {
  int64_t whole = 0;
  for (const LayerProfile& layer : profile) whole += layer.parameter_bytes;
  fmt::print("\n{}: {} at {} x {}, {} micro-batches of {}, W = {} MiB\n", title, task.model, task.side, task.side,
             task.microbatches, task.samples, MiB(whole));
  fmt::print("{:<26}{:>12}{:>14}{:>16}{:>12}\n", "largest rank, MiB", "weights", "activations", "of all ranks: W",
             "step");
  json rows = json::array();
  for (const MemoryRow& row : all) {
    const std::vector<int> balance = Balance(BytesOf(profile, 2), row.schedule.layout.stages());
    Memory largest;
    int64_t weights = 0;
    for (const Memory& rank : MeasureMemory(task, row.schedule, row.updates, balance)) {
      largest.parameters = std::max(largest.parameters, rank.parameters);
      largest.activations = std::max(largest.activations, rank.activations);
      largest.step = std::max(largest.step, rank.step);
      weights += rank.parameters;
    }
    const double in_models = static_cast<double>(weights) / static_cast<double>(whole);
    fmt::print("{:<26}{:>12}{:>14}{:>16.2f}{:>12}\n", row.name, MiB(largest.parameters), MiB(largest.activations),
               in_models, MiB(largest.step));
    rows.push_back({{"name", row.name},
                    {"model", task.model},
                    {"weights", largest.parameters},
                    {"activations", largest.activations},
                    {"models", in_models},
                    {"step", largest.step}});
  }
  return rows;
}

/// An AmoebaNet-D, and how it is run.
struct SizeRow {
  std::string name;
  int layers;
  int filters;
  int stages;
  bool in_pieces;  ///< micro-batches that are recomputed; else the whole mini-batch at once
};

/// Larger and larger models on more and more ranks, none of which needs more than one rank did for the smallest.
json PrintLargerModels(const Task& memory_task) {
  const std::vector<SizeRow> all = {{"naive-1", 6, 48, 1, false},
                                    {"pipeline-1", 6, 192, 1, true},
                                    {"pipeline-2", 6, 256, 2, true},
                                    {"pipeline-4", 12, 240, 4, true}};
  const int64_t samples = memory_task.samples * memory_task.microbatches;
  fmt::print(
      "\nLarger models: AmoebaNet-D (L, F) at {} x {}, a mini-batch of {}; pipelines in {} micro-batches, all\n"
      "recomputed. \"fits\": the largest rank needs no more than naive-1 did.\n",
      memory_task.side, memory_task.side, samples, memory_task.microbatches);
  fmt::print("{:<12}{:>10}{:>13}{:>14}{:>18}{:>15}\n", "MiB", "(L, F)", "parameters", "weights, all",
             "activations, all", "largest rank");
  json rows = json::array();
  int64_t room = 0;
  for (const SizeRow& row : all) {
    Task task = memory_task;
    task.model = fmt::format("amoebanet-{}-{}", row.layers, row.filters);
    if (!row.in_pieces) {
      task.microbatches = 1;
      task.samples = samples;
    }
    const std::vector<LayerProfile> profile = MeasureLayers(task);
    const Schedule schedule = AddRecompute(Flush(GPipe(row.stages, task.microbatches)),
                                           row.in_pieces ? Recompute::kAlways : Recompute::kNever);
    int64_t weights = 0, activations = 0, largest = 0;
    for (const Memory& rank : MeasureMemory(task, schedule, 1, Balance(BytesOf(profile, 2), row.stages))) {
      weights += rank.parameters;
      activations += rank.activations;
      largest = std::max(largest, rank.step);
    }
    if (room == 0) room = largest;
    const auto parameters = weights / static_cast<int64_t>(sizeof(float));
    fmt::print("{:<12}{:>10}{:>11.2f} M{:>14}{:>18}{:>15}{}\n", row.name,
               fmt::format("({}, {})", row.layers, row.filters), static_cast<double>(parameters) / 1e6, MiB(weights),
               MiB(activations), MiB(largest), largest <= room ? "  fits" : "  more");
    rows.push_back({{"name", row.name},
                    {"model", task.model},
                    {"parameters", parameters},
                    {"weights", weights},
                    {"activations", activations},
                    {"largest_rank", largest}});
  }
  return rows;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Pipelines on the clock and on the scales, each beside its bound"};
  Task speed_task;
  Task memory_task;
  memory_task.model = "amoebanet-6-64";
  memory_task.side = 32;
  memory_task.samples = 4;
  memory_task.updates = 2;
  std::string json_path, only = "all";
  app.add_option("--model", speed_task.model, "what the speed is measured with")->capture_default_str();
  app.add_option("--image", speed_task.side, "side of its images")->capture_default_str();
  app.add_option("--samples", speed_task.samples, "of a micro-batch")->capture_default_str();
  app.add_option("--micro-batches", speed_task.microbatches, "an update")->capture_default_str();
  app.add_option("--runs", speed_task.runs, "of every schedule, in turn")
      ->check(CLI::Range(1, 99))
      ->capture_default_str();
  app.add_option("--memory-model", memory_task.model, "what the memory is measured with")->capture_default_str();
  app.add_option("--only", only, "one of the tables")->check(CLI::IsMember({"all", "speed", "memory"}));
  app.add_option("--json", json_path, "write the figures to this file, too");
  CLI11_PARSE(app, argc, argv);
  try {
    if (!json_path.empty()) RequireWritable(json_path, "--json");
    if (speed_task.microbatches < 2 || speed_task.microbatches % 2 != 0) {
      throw UsageError(
          fmt::format("--micro-batches {}: wpipe on two ranks needs an even number", speed_task.microbatches));
    }
    memory_task.microbatches = speed_task.microbatches;
    json figures = json::object();
    if (only != "memory") {
      const Speed speed = MeasureSpeed(speed_task);
      figures["two_ranks"] = PrintTwoRanks(speed_task, speed);
      figures["simulated"] = PrintManyRanks(speed_task, speed);
    }
    if (only != "speed") {
      const int m = memory_task.microbatches;
      const int updates = memory_task.updates;
      const std::vector<LayerProfile> profile = MeasureLayers(memory_task);
      std::vector<MemoryRow> rows;
      for (const int stages : {1, 2, 4}) {
        for (const bool recompute : {false, true}) {
          rows.push_back({fmt::format("gpipe-{}{}", stages, recompute ? ", recomputed" : ""),
                          AddRecompute(Flush(GPipe(stages, m)), recompute ? Recompute::kAlways : Recompute::kNever),
                          1});
        }
        rows.push_back({fmt::format("1f1b-{}", stages), Flush(OneFOneB(stages, m)), 1});
      }
      figures["memory"] = PrintMemory(memory_task, profile, "Memory", rows);
      figures["larger"] = PrintLargerModels(memory_task);
      // Blocks of one size: the two groups of wpipe hold half of the weights each.
      Task even_task = memory_task;
      even_task.model = "transformer-8-192";
      figures["versions"] = PrintMemory(even_task, MeasureLayers(even_task), "Without a flush",
                                        {{"2bw-2", DoubleBufferWeights(OneFOneB(2, m * updates), m), updates},
                                         {"wpipe-2", GroupWeights(WPipe(2, m * updates), m), updates}});
    }
    if (!json_path.empty()) WriteFileSafely(json_path, figures.dump(2) + "\n");
    return 0;
  } catch (const UsageError& error) {
    fmt::print(stderr, "bench pipeline: {}\n", error.what());
    return 2;
  } catch (const ContractError& error) {
    fmt::print(stderr, "bench pipeline: {}\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench pipeline: {}\n", error.what());
    return 3;
  }
}
