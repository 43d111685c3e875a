// lab bench: `edit` measures what a student waits for after a save, `build` what everybody waits for at first; every other
// name is a program bench_<name>.
#include <stdlib.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "build.hpp"
#include "commands.hpp"
#include "graders.hpp"
#include "run_program.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/base/suggest.hpp"
#include "shardlab/report/files.hpp"
#include "shardlab/report/rubric.hpp"

namespace shardlab::cli {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/// A table whose columns are as wide as their widest cell; numbers go to the right.
void PrintTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], DisplayWidth(row[i]));
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const bool text = i == 0 || row[i].find_first_not_of("0123456789.,") != std::string::npos;
      const bool heading = &row == &rows[0];
      const bool number_column = !heading && !text;
      const bool over_numbers = heading && rows.size() > 1 && i < rows[1].size() && i > 0 &&
                                rows[1][i].find_first_not_of("0123456789.,-") == std::string::npos;
      line += (number_column || over_numbers ? PadLeft(row[i], widths[i]) : PadRight(row[i], widths[i])) + "   ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    fmt::print("{}\n", line);
  }
}

/// Modules whose exercises can be graded in this build.
std::vector<Rubric> Gradable(const Context& context) {
  const std::vector<std::string> hosts = ProgramsInBuild(context, "host_");
  std::vector<Rubric> rubrics;
  for (const Rubric& rubric : LoadRubrics(context.root)) {
    const std::string host = fmt::format("host_{}_exercises", rubric.id);
    if (std::find(hosts.begin(), hosts.end(), host) != hosts.end()) rubrics.push_back(rubric);
  }
  if (rubrics.empty()) throw EnvironmentError("this build has no host_<module>_exercises to measure");
  return rubrics;
}

/// Saves `file` again.
void Save(const Context& context, const std::string& file) {
  std::error_code error;
  std::filesystem::last_write_time(context.InRoot(file), std::filesystem::file_time_type::clock::now(), error);
  if (error) throw EnvironmentError(fmt::format("{} cannot be saved: {}", file, error.message()));
}

/// The first part of a module that has a file without LibTorch, and that file; empty: there is none.
std::pair<std::string, std::string> PlainPart(const Context& context, const Rubric& rubric) {
  const std::vector<std::string> plain = PlainFiles(context, rubric.id);
  for (const Part& part : rubric.parts) {
    for (const std::string& file : part.files) {
      if (std::find(plain.begin(), plain.end(), file) != plain.end()) return {part.id, file};
    }
  }
  return {};
}

/// From saving one file of a module to a host that can be graded, and where it needs no LibTorch on to the verdicts on
/// its part: medians.
Json BenchEdit(const Context& context) {
  constexpr int kRuns = 3;
  // A compiler cache would answer instead of the compiler: the content is the same.
  setenv("CCACHE_DISABLE", "1", 1);
  setenv("SHARDLAB_COMPILE_STUBS", "1", 1);  // a file that is still its stub would not be compiled either
  Json rows = Json::array();
  std::vector<std::vector<std::string>> table = {
      {"module", "saved file", "seconds to a host that can be graded", "to its verdicts"}};
  for (const Rubric& rubric : Gradable(context)) {
    const std::string target = fmt::format("host_{}_exercises", rubric.id);
    const std::string file = fmt::format("exercises/{}/{}", rubric.id, rubric.parts[0].files[0]);
    Build(context, {target});
    std::vector<double> seconds;
    for (int run = 0; run < kRuns; ++run) {
      Save(context, file);
      const auto start = Clock::now();
      Build(context, {target});
      seconds.push_back(SecondsSince(start));
    }
    rows.push_back({{"module", rubric.id}, {"file", file}, {"seconds", Median(seconds)}});
    table.push_back({rubric.id, file, fmt::format("{:.2f}", Median(seconds)), ""});

    const auto [part, plain] = PlainPart(context, rubric);
    if (part.empty()) continue;
    const std::string plain_file = fmt::format("exercises/{}/{}", rubric.id, plain);
    const Graders graders = GradersOf(context, rubric.id, "exercises", /*quick=*/true);
    Build(context, graders.targets);
    std::vector<double> to_host, to_verdicts;
    for (int run = 0; run < kRuns; ++run) {
      Save(context, plain_file);
      const auto start = Clock::now();
      Build(context, graders.targets);
      to_host.push_back(SecondsSince(start));
      grade::SessionOptions session;
      session.module = rubric.id;
      session.programs = graders.programs;
      session.parts = {rubric.FullId(part)};
      grade::RunGradeSession(session);
      to_verdicts.push_back(SecondsSince(start));
    }
    rows.push_back({{"module", rubric.id},
                    {"file", plain_file},
                    {"seconds", Median(to_host)},
                    {"verdicts_seconds", Median(to_verdicts)}});
    table.push_back(
        {rubric.id, plain_file, fmt::format("{:.2f}", Median(to_host)), fmt::format("{:.2f}", Median(to_verdicts))});
  }
  const auto start = Clock::now();
  Build(context, {fmt::format("host_{}_exercises", rows[0]["module"].get<std::string>())});
  const double nothing = SecondsSince(start);
  rows.push_back({{"module", ""}, {"file", ""}, {"seconds", nothing}});
  table.push_back({"(nothing to build)", "", fmt::format("{:.2f}", nothing), ""});
  PrintTable(table);
  return rows;
}

/// An empty build folder beside the ordinary one, which goes with its owner.
class FreshBuild {
 public:
  explicit FreshBuild(const Context& context) : context_(context) {
    std::string pattern = context.build + "-bench-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) {
      throw EnvironmentError(fmt::format("no folder can be made beside {}", context.build));
    }
    context_.build = pattern;
  }
  ~FreshBuild() {
    std::error_code error;
    std::filesystem::remove_all(context_.build, error);
  }
  FreshBuild(const FreshBuild&) = delete;
  FreshBuild& operator=(const FreshBuild&) = delete;

  const Context& context() const { return context_; }

 private:
  Context context_;
};

/// Processor seconds of all programs that this one has started and that have ended.
double ProcessorSeconds() {
  rusage usage{};
  getrusage(RUSAGE_CHILDREN, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// Shows the build, and ends the run at the first verdict if that is wanted, or on a signal.
class BuildWatcher final : public GradeObserver {
 public:
  BuildWatcher(const Context& context, bool first_verdict_ends)
      : bar_(context), first_verdict_ends_(first_verdict_ends) {}

  const std::atomic<bool>* cancel() const { return &cancel_; }
  /// \throws Interrupted
  void Check() const { on_signal_.Check(); }

  void Notes(const std::string& sentence) override { bar_.Note(sentence); }
  void Built(const BuildStep& step) override {
    bar_.Show(step);
    LookForSignals();
  }
  void Starts(const grade::ListedCase&) override { LookForSignals(); }
  void Judged(const grade::CaseResult&) override {
    if (first_verdict_ends_) cancel_ = true;
  }

 private:
  void LookForSignals() {
    if (*on_signal_.flag()) cancel_ = true;
  }

  BuildBar bar_;
  const bool first_verdict_ends_;
  CancelOnSignal on_signal_;
  std::atomic<bool> cancel_{false};
};

/// The first build of a clone up to a score card, of a student up to the first verdict, and of the tests: each in an
/// empty folder, by the script `lab` and then as the command does it. Processor time changes less with other load.
Json BenchBuild(const Context& context) {
  setenv("CCACHE_DISABLE", "1", 1);
  struct Goal {
    const char* name;
    std::vector<std::string> what;  // to grade; nothing: to build everything
    bool solutions, first_verdict_ends;
  };
  std::vector<Goal> goals = {{"lab grade communication, to the first verdict", {"communication"}, false, true},
                             {"everything, tests too", {}, false, false}};
  if (context.HasSolutions()) {
    std::vector<std::string> modules;
    for (const Rubric& rubric : LoadRubrics(context.root)) modules.push_back(rubric.id);
    goals.insert(goals.begin(), {"lab grade --solutions, to the score card", modules, true, false});
  }
  Json rows = Json::array();
  std::vector<std::vector<std::string>> table = {
      {"from an empty folder", "processor seconds", "seconds", "of these the program lab"}};
  for (const Goal& goal : goals) {
    const FreshBuild fresh(context);
    const double processor_before = ProcessorSeconds();
    const auto start = Clock::now();
    RunOptions script;
    script.environment = {{"LAB_BUILD", fresh.context().build}, {"LAB_JOBS", std::to_string(context.jobs)}};
    std::string said;
    script.on_line = [&](const std::string& line) { said += line + "\n"; };
    {
      const CancelOnSignal on_signal;
      script.cancel = on_signal.flag();
      const int status = RunProgram({context.InRoot("lab"), "--help"}, script);
      on_signal.Check();
      if (status != 0) throw EnvironmentError(fmt::format("the program lab could not be built:\n{}", said));
    }
    const double program_seconds = SecondsSince(start);
    if (goal.what.empty()) {
      Build(fresh.context(), {"all"});
    } else {
      BuildWatcher watcher(fresh.context(), goal.first_verdict_ends);
      GradeOnceOptions once;
      once.what = goal.what;
      once.solutions = goal.solutions;
      once.cancel = watcher.cancel();
      const GradeResult result = GradeOnce(fresh.context(), once, watcher);
      watcher.Check();
      if (result.problem) throw EnvironmentError(fmt::format("{}: a grader could not be run", goal.name));
    }
    const double seconds = SecondsSince(start), processor = ProcessorSeconds() - processor_before;
    rows.push_back({{"goal", goal.name},
                    {"processor_seconds", processor},
                    {"seconds", seconds},
                    {"program_seconds", program_seconds},
                    {"jobs", context.jobs}});
    table.push_back({goal.name, fmt::format("{:.0f}", processor), fmt::format("{:.0f}", seconds),
                     fmt::format("{:.0f}", program_seconds)});
  }
  PrintTable(table);
  return rows;
}

/// Everything that grading the solutions needs, for programs that measure it.
std::vector<std::string> GraderTargets(const Context& context) {
  std::vector<std::string> targets;
  for (const char* prefix : {"host_", "referee_"}) {
    for (const std::string& program : ProgramsInBuild(context, prefix)) {
      const bool student =
          program.find("_exercises") != std::string::npos || program.find("_stubs") != std::string::npos;
      if (!student) targets.push_back(program);
    }
  }
  return targets;
}

/// Runs a program of its own; what it prints is its table. Its exit status goes into `status` unless it is 0.
Json BenchProgram(const Context& context, const std::string& name, const std::vector<std::string>& arguments,
                  int& status) {
  const std::string program = "bench_" + name;
  std::vector<std::string> targets = {program};
  if (name == "grading") {
    const std::vector<std::string> graders = GraderTargets(context);
    targets.insert(targets.end(), graders.begin(), graders.end());
  }
  Build(context, targets);
  Json lines = Json::array();
  RunOptions options;
  options.on_line = [&](const std::string& line) {
    fmt::print("{}\n", line);
    std::fflush(stdout);
    lines.push_back(line);
  };
  std::vector<std::string> command = {context.InBuild("bin/" + program)};
  command.insert(command.end(), arguments.begin(), arguments.end());
  const CancelOnSignal cancel;
  options.cancel = cancel.flag();
  const int ended = RunProgram(command, options);
  cancel.Check();
  if (ended != 0) status = ended;
  return lines;
}

}  // namespace

int Bench(const Context& context, std::vector<std::string> arguments) {
  std::vector<std::string> known = {"build", "edit"};
  for (const std::string& program : ProgramsInBuild(context, "bench_")) known.push_back(program.substr(6));
  std::vector<std::string> names, rest;
  std::string json_file;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--json") {
      if (i + 1 == arguments.size()) throw UsageError("lab bench: --json needs the name of a file");
      json_file = arguments[++i];
    } else if (names.empty() && (arguments[i] == "--help" || arguments[i] == "-h")) {
      fmt::print(
          "Usage: lab bench [NAME...] [--json FILE]\nMeasures and prints tables: {}. Without NAME all but build, which "
          "builds\neverything three times over.\n",
          fmt::join(known, ", "));
      return kAllPassed;
    } else if (rest.empty() && arguments[i].compare(0, 1, "-") != 0) {
      names.push_back(arguments[i]);
    } else {
      rest.push_back(arguments[i]);  // the options of the one program that was named
    }
  }
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) == known.end()) throw UsageError(UnknownName("bench", name, known));
  }
  if (!rest.empty() && (names.size() != 1 || names[0] == "edit" || names[0] == "build")) {
    throw UsageError(UnknownName("option of lab bench", rest[0], {"--json"}));
  }
  if (!json_file.empty()) RequireWritable(json_file, "--json");
  if (names.empty()) names.assign(known.begin() + 1, known.end());

  Json benches = Json::array();
  int status = kAllPassed;
  for (const std::string& name : names) {
    if (names.size() > 1) fmt::print("{}{}\n", name == names[0] ? "" : "\n", Paint(name, Tone::kStrong, context.out));
    const Json rows = name == "build"  ? BenchBuild(context)
                      : name == "edit" ? BenchEdit(context)
                                       : BenchProgram(context, name, rest, status);
    benches.push_back({{"name", name}, {"rows", rows}});
  }
  if (!json_file.empty()) {
    WriteFileSafely(
        json_file,
        Json{{"schema", 1}, {"cores", std::thread::hardware_concurrency()}, {"benches", benches}}.dump(2) + "\n");
  }
  return status;
}

}  // namespace shardlab::cli
