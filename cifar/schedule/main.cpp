// The program behind `lab schedule`: generates a schedule or reads one, checks, simulates and draws it. Linked once
// with the solutions' generators and once with the student's; `lab schedule --mine` starts the latter.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "catalogue.hpp"
#include "command_line.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/base/suggest.hpp"
#include "shardlab/plan/draw.hpp"
#include "shardlab/plan/figures.hpp"
#include "shardlab/plan/passes.hpp"
#include "shardlab/plan/simulate.hpp"
#include "shardlab/plan/text.hpp"
#include "shardlab/plan/traits.hpp"
#include "shardlab/report/files.hpp"
#include "shardlab/report/terminal.hpp"

namespace shardlab {
namespace {

constexpr int kFailed = 1;
constexpr int kWrongUsage = 2;
constexpr int kCannot = 3;

struct Arguments {
  std::string name;
  std::string check;
  std::optional<int> stages, microbatches, chunks, updates, layers;
  std::vector<double> forward{1}, backward{2}, weight, message{0};
  std::vector<int64_t> bytes{0};
  double pair = 1;
  std::string recompute = "never";
  std::string svg, trace, csv, text;
  bool communication = false;
};

constexpr size_t kMostLookedAt = 200'000;  // actions

size_t ActionsOf(const Schedule& schedule) {
  return std::accumulate(schedule.ranks.begin(), schedule.ranks.end(), size_t{0},
                         [](size_t sum, const auto& list) { return sum + list.size(); });
}

// The schedule that was asked for, with steps and recomputation but without messages. `other` becomes what is different
// from the schedule of this name, of a valid one: a student's generator can make any.
Schedule Generate(const Arguments& arguments, std::string& other) {
  if (arguments.name.empty()) {
    throw UsageError(fmt::format("name a schedule ({}) or a file to --check", fmt::join(ScheduleNames(), ", ")));
  }
  ScheduleRequest request;
  request.name = arguments.name;
  TraitsOf(request.name);  // an unknown name is the more helpful complaint
  if (!arguments.stages || !arguments.microbatches) {
    throw UsageError("give --stages and --micro-batches, for example --stages 4 --micro-batches 8");
  }
  request.stages = *arguments.stages;
  request.microbatches = *arguments.microbatches;
  request.chunks = arguments.chunks;
  request.updates = arguments.updates;
  // Before the schedule, so that a student who has written no generator yet is told as well.
  const Schedule schedule = MakeSchedule(request);
  if (arguments.layers) RequireLayers(schedule.layout, *arguments.layers);
  try {
    if (ActionsOf(schedule) <= kMostLookedAt) other = DifferenceFromItsName(TraitsOf(request.name), schedule);
  } catch (const ScheduleError&) {
    // Not valid, which is shown in a moment.
  }

  const bool runs_on = schedule.microbatches % request.microbatches == 0;
  const int mini_batch = runs_on ? request.microbatches : schedule.microbatches;
  for (const auto& [word, mode] :
       {std::pair{"always", Recompute::kAlways}, std::pair{"except_last", Recompute::kExceptLast},
        std::pair{"never", Recompute::kNever}}) {
    if (arguments.recompute == word) return AddRecompute(schedule, mode, mini_batch);
  }
  throw UsageError(UnknownName("mode of recomputation", arguments.recompute, {"always", "except_last", "never"}));
}

Schedule Read(const Arguments& arguments, std::string& skipped) {
  if (!arguments.name.empty()) {
    throw UsageError(
        fmt::format("--check takes a file, and '{}' names a schedule besides: give one of the two", arguments.name));
  }
  if (arguments.stages || arguments.microbatches || arguments.chunks || arguments.updates ||
      arguments.recompute != "never") {
    throw UsageError(
        "--check takes stages, micro-batches, chunks, updates and recomputation from the file: leave them out");
  }
  Schedule schedule = ReadScheduleFile(arguments.check, "--check", &skipped);
  if (arguments.layers) RequireLayers(schedule.layout, *arguments.layers);
  return schedule;
}

void RequireTime(double time, const char* option) {
  if (!(time >= 0) || time > CostModel::kMost) {
    throw UsageError(fmt::format("{} {}: a time is 0 or more, and at most {:g}", option, time, CostModel::kMost));
  }
}

// Times of every stage. A single time is that of one rank's share of the model, and is divided among its chunks; with
// --layers by how many layers each chunk has.
CostModel Costs(const Arguments& arguments, const Layout& layout) {
  const int stages = layout.stages();
  std::vector<double> share(static_cast<size_t>(stages), 1.0);  // of a rank's even share
  const int per_rank = layout.stages() / layout.ranks();
  if (arguments.layers) {
    const auto sizes = SplitSizes(*arguments.layers, stages);
    for (int s = 0; s < stages; ++s) {
      share[static_cast<size_t>(s)] =
          static_cast<double>(sizes[static_cast<size_t>(s)]) * layout.ranks() / *arguments.layers;
    }
  } else {
    for (double& part : share) part = 1.0 / per_rank;
  }
  const auto times = [&](const std::vector<double>& given, const char* option) {
    for (const double time : given) {
      RequireTime(time, option);
    }
    std::vector<double> all = given;
    if (given.size() == 1) {
      all.clear();
      for (const double part : share) all.push_back(given.front() * part);
    } else if (static_cast<int>(given.size()) != stages) {
      throw UsageError(fmt::format("{} has {} times: give one for all, or one for each of the {} stages", option,
                                   given.size(), stages));
    }
    return all;
  };
  CostModel costs;
  costs.forward = times(arguments.forward, "--forward");
  const std::vector<double> whole = times(arguments.backward, "--backward");
  if (arguments.weight.empty()) {
    costs.backward_weight = whole;
    for (double& time : costs.backward_weight) time /= 2;
  } else {
    costs.backward_weight = times(arguments.weight, "--weight");
  }
  costs.backward_input.clear();
  for (size_t s = 0; s < whole.size(); ++s) {
    if (costs.backward_weight[s] > whole[s]) {
      throw UsageError(fmt::format("--weight {} is more than the whole --backward {} of stage {}",
                                   costs.backward_weight[s], whole[s], s));
    }
    costs.backward_input.push_back(whole[s] - costs.backward_weight[s]);
  }
  const auto boundaries = [&](size_t given, const char* option) {
    if (given != 1 && static_cast<int>(given) != stages - 1) {
      throw UsageError(fmt::format("{} has {} entries: give one for all, or one for each of the {} boundaries", option,
                                   given, stages - 1));
    }
  };
  boundaries(arguments.message.size(), "--message");
  boundaries(arguments.bytes.size(), "--bytes");
  for (const double time : arguments.message) {
    RequireTime(time, "--message");
  }
  for (const int64_t bytes : arguments.bytes) {
    if (bytes < 0 || static_cast<double>(bytes) > CostModel::kMost) {
      throw UsageError(
          fmt::format("--bytes {}: a tensor has 0 bytes or more, and at most {:g}", bytes, CostModel::kMost));
    }
  }
  if (!(arguments.pair > 0 && arguments.pair <= 1)) {
    throw UsageError(fmt::format("--pair {}: the share is above 0 and at most 1", arguments.pair));
  }
  costs.pair = arguments.pair;
  costs.message = arguments.message;
  costs.boundary_bytes = arguments.bytes;
  if (costs.message.size() > 1) costs.message.push_back(0);  // nothing lies behind the last stage
  if (costs.boundary_bytes.size() > 1) costs.boundary_bytes.push_back(0);
  return costs;
}

void PrintFigures(const Schedule& schedule, const Simulation& run, const Terminal& terminal) {
  fmt::print("{}\n", Paint(fmt::format("makespan {:g}, bubble {:.1f} %", run.makespan, 100 * run.bubble), Tone::kStrong,
                           terminal));
  if (!run.messages.empty()) {
    fmt::print("{} messages", PrettyNumber(static_cast<double>(run.messages.size())));
    if (run.bytes > 0) fmt::print(" of {} bytes in all", PrettyNumber(static_cast<double>(run.bytes)));
    fmt::print("\n");
  }
  const Footprint& keeps = run.footprint;
  const bool halves = keeps.live != keeps.live_until_input_gradient;
  const bool inputs = std::any_of(keeps.kept_inputs.begin(), keeps.kept_inputs.end(), [](int n) { return n > 0; });
  const bool versions = std::any_of(keeps.versions.begin(), keeps.versions.end(), [](int n) { return n > 1; });

  // A row a rank; equal rows in the middle of a long pipeline are not repeated.
  std::vector<std::string> rows;
  for (int rank = 0; rank < schedule.layout.ranks(); ++rank) {
    const size_t r = static_cast<size_t>(rank);
    std::string row =
        fmt::format("{:>8g} {:>8g} {:>8g} {:>6}", run.busy[r], run.makespan - run.busy[r], run.gaps[r], keeps.live[r]);
    if (halves) row += fmt::format(" {:>9}", keeps.live_until_input_gradient[r]);
    if (inputs) row += fmt::format(" {:>12}", keeps.kept_inputs[r]);
    if (versions) {
      std::string held;
      for (const int chunk : schedule.layout.ChunksOf(rank)) {
        held += fmt::format("{}{}", held.empty() ? "" : " + ", keeps.versions[static_cast<size_t>(chunk)]);
      }
      row += fmt::format(" {:>9}", held);
    }
    rows.push_back(row);
  }
  std::string head = fmt::format("rank {:>8} {:>8} {:>8} {:>6}", "busy", "idle", "between", "live");
  if (halves) head += fmt::format(" {:>9}", "until I");
  if (inputs) head += fmt::format(" {:>12}", "kept inputs");
  if (versions) head += fmt::format(" {:>9}", "versions");
  fmt::print("\n{}\n", Paint(head, Tone::kQuiet, terminal));
  constexpr size_t kMost = 32;
  for (size_t rank = 0; rank < std::min(rows.size(), kMost); ++rank) fmt::print("{:<4} {}\n", rank, rows[rank]);
  if (rows.size() > kMost) fmt::print("and {} more ranks\n", rows.size() - kMost);
  std::vector<std::string> legend = {
      "between: of the idle time, what lies between a rank's first and last computation"};
  const int chunks = schedule.layout.chunks_per_rank();
  legend.push_back(chunks > 1 ? fmt::format("live: micro-batches kept at once, of {} chunks a rank", chunks)
                              : "live: micro-batches kept at once");
  if (halves) legend.back() += ", until their weights' gradient; until I: until the input's";
  if (inputs) legend.push_back("kept inputs: boundary tensors kept at once for a recomputation");
  if (versions) legend.push_back("versions: of the weights, held at once");
  for (const std::string& line : legend) fmt::print("{}\n", Paint(line, Tone::kQuiet, terminal));
}

// The entry in brackets stands out.
std::string PaintMarks(const std::string& table, const Terminal& terminal) {
  std::string painted;
  for (size_t at = 0; at < table.size();) {
    const size_t open = table.find('[', at);
    const size_t close = open == std::string::npos ? open : table.find(']', open);
    if (close == std::string::npos) return painted + table.substr(at);
    painted += table.substr(at, open - at) + Paint(table.substr(open, close + 1 - open), Tone::kBad, terminal);
    at = close + 1;
  }
  return painted;
}

// A picture of millions of actions takes gigabytes, and no program shows it.
void RequireDrawable(const Arguments& arguments, const Schedule& schedule) {
  const size_t actions = ActionsOf(schedule);
  for (const auto& [path, option] : {std::pair{arguments.svg, "--svg"}, std::pair{arguments.trace, "--trace"}}) {
    if (path.empty() || actions <= kMostLookedAt) continue;
    throw UsageError(fmt::format(
        "{}: {} actions are too many to look at: draw at most {}, with fewer ranks or micro-batches", option,
        PrettyNumber(static_cast<double>(actions)), PrettyNumber(static_cast<double>(kMostLookedAt))));
  }
}

int Show(const Arguments& arguments) {
  std::map<std::string, std::string> written_by;
  for (const auto& [path, option] : {std::pair{arguments.svg, "--svg"}, std::pair{arguments.trace, "--trace"},
                                     std::pair{arguments.csv, "--csv"}, std::pair{arguments.text, "--text"}}) {
    if (path.empty()) continue;
    RequireWritable(path, option);
    const auto [other, is_new] = written_by.emplace(path, option);
    if (!is_new) throw UsageError(fmt::format("{} and {} both name {}: give two files", other->second, option, path));
    if (path == arguments.check) {
      throw UsageError(fmt::format("{} would overwrite the file that is checked, {}: name another", option, path));
    }
  }
  std::string other, skipped;
  const Schedule bare = arguments.check.empty() ? Generate(arguments, other) : Read(arguments, skipped);
  RequireDrawable(arguments, bare);
  const CostModel costs = Costs(arguments, bare.layout);
  const Terminal terminal = Terminal::Of(1);
  Simulation run;
  Schedule schedule = bare;
  try {
    Validate(bare);  // a fault is shown in the schedule as it was written
    if (!bare.HasCommunication()) schedule = AddCommunication(bare);
    run = Simulate(schedule, costs);
  } catch (const ScheduleError& error) {
    fmt::print(stderr, "{}\n{}", error.what(), PaintMarks(error.table(), Terminal::Of(2)));
    return kFailed;
  }

  // Nothing is printed or written unless all of it can be said.
  const Schedule& written = arguments.communication ? schedule : bare;
  const std::string csv = arguments.csv.empty() ? "" : ToPyTorchCsv(written);

  fmt::print("{}: {}\n\n", Paint(schedule.name, Tone::kStrong, terminal), DescribeSize(schedule));
  fmt::print("{}\n", DrawText(schedule, run, {terminal.columns, terminal.colour, terminal.unicode}));
  PrintFigures(schedule, run, terminal);
  if (!other.empty()) {
    fmt::print("\n{}\n", Paint(fmt::format("valid, but not the contract's order: {}", other), Tone::kBad, terminal));
  }
  if (!skipped.empty()) {
    fmt::print("\nskipped {}: they gather and free sharded weights, and shardlab's are whole\n", skipped);
  }

  if (!arguments.svg.empty()) WriteFileSafely(arguments.svg, DrawSvg(schedule, run));
  if (!arguments.trace.empty()) WriteFileSafely(arguments.trace, ToChromeTrace(schedule, run));
  if (!arguments.csv.empty()) WriteFileSafely(arguments.csv, csv);
  if (!arguments.text.empty()) WriteFileSafely(arguments.text, FormatSchedule(written));
  std::vector<std::string> files;
  if (!arguments.svg.empty()) files.push_back(arguments.svg);
  if (!arguments.trace.empty()) files.push_back(arguments.trace + " (for ui.perfetto.dev or chrome://tracing)");
  if (!arguments.csv.empty()) files.push_back(arguments.csv);
  if (!arguments.text.empty()) files.push_back(arguments.text);
  if (!files.empty()) fmt::print("\nWritten: {}\n", fmt::join(files, ", "));
  return 0;
}

int Run(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Generates, validates, simulates and draws a pipeline schedule.", "lab schedule");
  app.set_help_flag("--help", "This text");
  app.add_option("NAME", arguments.name, fmt::format("{}", fmt::join(ScheduleNames(), ", ")));
  app.add_option("--check", arguments.check,
                 "Check a schedule from a file instead: shardlab's text form, or PyTorch's CSV")
      ->type_name("FILE");
  app.add_option("--stages", arguments.stages, "Ranks of the pipeline")->type_name("P");
  app.add_option("--micro-batches", arguments.microbatches, "Micro-batches an update (pipedream: of the run)")
      ->type_name("M");
  app.add_option("--chunks", arguments.chunks, "Chunks a rank, for interleaved and its kind (2)")->type_name("V");
  app.add_option("--updates", arguments.updates, "Updates without a flush, for 2bw and wpipe (3)")->type_name("N");
  app.add_option("--recompute", arguments.recompute, "always, except_last or never")
      ->capture_default_str()
      ->type_name("MODE");
  app.add_option("--layers", arguments.layers, "Layers of the model: cut into stages, which then differ")
      ->type_name("N");
  app.add_option("--forward", arguments.forward, "Time of a rank's forward, or a list: one a stage (1)")
      ->delimiter(',')
      ->type_name("T");
  app.add_option("--backward", arguments.backward, "Time of a rank's whole backward, or a list (2)")
      ->delimiter(',')
      ->type_name("T");
  app.add_option("--weight", arguments.weight, "Time of its weight half, or a list (half of it)")
      ->delimiter(',')
      ->type_name("T");
  app.add_option("--message", arguments.message, "Time of a message, or a list: one a boundary (0)")
      ->delimiter(',')
      ->type_name("T");
  app.add_option("--bytes", arguments.bytes, "Bytes of a boundary tensor, or a list")->delimiter(',')->type_name("N");
  app.add_option("--pair", arguments.pair, "What a pair takes, as a share of its parts' times (1)")->type_name("SHARE");
  app.add_option("--svg", arguments.svg, "Draw it as SVG")->type_name("FILE");
  app.add_option("--trace", arguments.trace, "Write it for Perfetto or chrome://tracing")->type_name("FILE");
  app.add_option("--csv", arguments.csv, "Write it as the CSV of PyTorch's pipelining")->type_name("FILE");
  app.add_option("--text", arguments.text, "Write it in shardlab's text form, which --check reads")->type_name("FILE");
  app.add_flag("--communication", arguments.communication, "Write sends and receives too");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", app.help());
    return 0;
  } catch (const CLI::ParseError& error) {
    throw UsageError(WhatIsWrong(error) + " (lab schedule --help)");
  }
  return Show(arguments);
}

}  // namespace
}  // namespace shardlab

int main(int argc, char** argv) {
  const auto complain = [](const std::exception& error, int status) {
    fmt::print(stderr, "lab schedule: {}\n", shardlab::Brief(error));
    return status;
  };
  try {
    return shardlab::Run(argc, argv);
  } catch (const shardlab::UsageError& error) {
    return complain(error, shardlab::kWrongUsage);
  } catch (const shardlab::ScheduleError& error) {
    return complain(error, shardlab::kWrongUsage);
  } catch (const shardlab::EnvironmentError& error) {
    return complain(error, shardlab::kCannot);
  } catch (const shardlab::NotImplemented& error) {
    return complain(error, shardlab::kFailed);
  } catch (const std::exception& error) {
    return complain(error, shardlab::kFailed);
  }
}
