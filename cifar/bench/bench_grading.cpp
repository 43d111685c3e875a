// The program behind `lab bench grading`: how fast the solutions of every module are graded on this machine.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "shardlab/base/errors.hpp"
#include "shardlab/grade/session.hpp"
#include "shardlab/report/rubric.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using shardlab::grade::CaseResult;
using shardlab::grade::GraderPrograms;
using shardlab::grade::Kind;
using shardlab::grade::ListedCase;
using shardlab::grade::SessionOptions;
using shardlab::grade::Status;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Row {
  std::string module;
  size_t cases = 0;
  size_t passed = 0;
  double start_s = 0;  // from nothing running to the first case: two programs that load LibTorch
  double total_s = 0;
  size_t value_cases = 0;  // on four ranks
  double value_s = 0;
};

/// The solutions of a module; where some of its cases do without LibTorch, these first.
std::vector<GraderPrograms> ProgramsOf(const std::string& module, const std::filesystem::path& build) {
  std::vector<GraderPrograms> programs;
  for (const std::string& name : {module + "_plain", module}) {
    const auto referee = build / "bin" / ("referee_" + name);
    if (name != module && !std::filesystem::exists(referee)) continue;
    programs.push_back({build / "bin" / ("host_" + name + "_solutions"), referee});
  }
  return programs;
}

Row Grade(const std::string& module, const std::filesystem::path& build, uint64_t seed) {
  Row row;
  row.module = module;
  SessionOptions options;
  options.module = module;
  options.programs = ProgramsOf(module, build);
  options.seed = seed;
  const auto start = Clock::now();
  options.on_start = [&](const ListedCase&) {
    if (row.start_s == 0) row.start_s = SecondsSince(start);
  };
  const auto session = shardlab::grade::RunGradeSession(options);
  row.total_s = SecondsSince(start);
  row.cases = session.listed.size();
  for (size_t i = 0; i < session.results.size(); ++i) {
    const CaseResult& result = session.results[i];
    row.passed += result.status == Status::kPassed;
    if (session.listed[i].kind != Kind::kValue || session.listed[i].ranks != 4) continue;
    ++row.value_cases;
    row.value_s += result.seconds;
  }
  return row;
}

struct Overhead {
  size_t cases = 0;
  double with_s = 0;  // the cases' medians, added up
  double without_s = 0;
  double low = 0;  // the ratio of the quickest and of the slowest pair of runs
  double high = 0;
  double Share() const { return with_s / without_s - 1; }
};

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// What announcing and watching every operation costs: the same value cases with the same inputs, in turn with it and
// without, so that what else the machine does meets both alike.
Overhead MeasureOverhead(const std::string& module, const std::filesystem::path& build, uint64_t seed, int runs) {
  SessionOptions options;
  options.module = module;
  options.programs = ProgramsOf(module, build);
  options.seed = seed;
  options.ranks = 4;
  options.skip = [](const ListedCase& listed) {
    return listed.kind == Kind::kValue ? "" : "only value cases are timed";
  };
  std::map<std::string, std::vector<double>> seconds[2];
  std::vector<double> ratios;
  for (int run = 0; run < runs; ++run) {
    double total[2] = {0, 0};
    for (const int turn : {run % 2, 1 - run % 2}) {
      options.observed = turn == 1;
      for (const CaseResult& result : shardlab::grade::RunGradeSession(options).results) {
        if (result.kind != Kind::kValue) continue;
        if (result.status != Status::kPassed) {
          throw shardlab::EnvironmentError(
              fmt::format("{} {} did not pass, so its time means nothing: {}", result.part, result.id, result.message));
        }
        seconds[turn][result.part + " " + result.id].push_back(result.seconds);
        total[turn] += result.seconds;
      }
    }
    ratios.push_back(total[1] / total[0]);
  }
  Overhead overhead;
  overhead.cases = seconds[0].size();
  for (const auto& [id, times] : seconds[0]) {
    overhead.without_s += Median(times);
    overhead.with_s += Median(seconds[1][id]);
  }
  overhead.low = *std::min_element(ratios.begin(), ratios.end()) - 1;
  overhead.high = *std::max_element(ratios.begin(), ratios.end()) - 1;
  return overhead;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"How fast the solutions are graded: cases a second, the time to the first case, and all of it"};
  std::string root = std::getenv("LAB_ROOT") ? std::getenv("LAB_ROOT") : ".";
  std::string build = std::getenv("LAB_BUILD") ? std::getenv("LAB_BUILD") : "build";
  std::string json_path;
  uint64_t seed = 1;
  int runs = 5;
  app.add_option("--root", root, "the project's folder");
  app.add_option("--build", build, "its build folder");
  app.add_option("--seed", seed, "what all inputs follow from");
  app.add_option("--runs", runs, "how often the cases are timed with announcements and without")
      ->check(CLI::Range(1, 99));
  app.add_option("--json", json_path, "write the figures to this file, too");
  CLI11_PARSE(app, argc, argv);
  try {
    std::vector<Row> rows;
    for (const auto& rubric : shardlab::LoadRubrics(root)) rows.push_back(Grade(rubric.id, build, seed));

    fmt::print("{:<18}{:>8}{:>9}{:>14}{:>22}{:>12}\n", "module", "cases", "passed", "first case s",
               "4-rank value cases/s", "all of it s");
    nlohmann::json figures = nlohmann::json::array();
    double total_s = 0;
    bool all_passed = true;
    for (const Row& row : rows) {
      const double rate = row.value_s > 0 ? static_cast<double>(row.value_cases) / row.value_s : 0;
      fmt::print("{:<18}{:>8}{:>9}{:>14.2f}{:>22.1f}{:>12.1f}\n", row.module, row.cases, row.passed, row.start_s, rate,
                 row.total_s);
      figures.push_back({{"module", row.module},
                         {"cases", row.cases},
                         {"passed", row.passed},
                         {"first_case_s", row.start_s},
                         {"value_cases_per_s", rate},
                         {"total_s", row.total_s}});
      total_s += row.total_s;
      all_passed = all_passed && row.passed == row.cases;
    }
    fmt::print("{:<18}{:>65.1f}\n", "together", total_s);

    const Overhead overhead = MeasureOverhead("communication", build, seed, runs);
    fmt::print("\n{} value cases of communication on 4 ranks, medians of {} runs in turn:\n", overhead.cases, runs);
    fmt::print("  every operation announced, matched and watched  {:.2f} s\n", overhead.with_s);
    fmt::print("  without                                         {:.2f} s\n", overhead.without_s);
    fmt::print("  explaining costs {:.0f} % (single runs: {:.0f} to {:.0f} %; the goal is at most 25 %)\n",
               100 * overhead.Share(), 100 * overhead.low, 100 * overhead.high);
    if (!json_path.empty()) {
      figures.push_back({{"module", "communication"},
                         {"overhead_cases", overhead.cases},
                         {"observed_s", overhead.with_s},
                         {"unobserved_s", overhead.without_s},
                         {"overhead", overhead.Share()}});
      std::FILE* file = std::fopen(json_path.c_str(), "w");
      const std::string text = figures.dump(2) + "\n";
      const bool written = file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size();
      if ((file != nullptr && std::fclose(file) != 0) || !written) {
        throw shardlab::EnvironmentError(fmt::format("{} cannot be written", json_path));
      }
    }
    return all_passed ? 0 : 1;
  } catch (const shardlab::UsageError& error) {
    fmt::print(stderr, "bench grading: {}\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench grading: {}\n", error.what());
    return 3;
  }
}
