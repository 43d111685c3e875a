// The program behind `lab bench grading`: how fast the solutions of every module are graded on this machine.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
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
using shardlab::grade::Kind;
using shardlab::grade::PlannedCase;
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

Row Grade(const std::string& module, const std::filesystem::path& build, uint64_t seed) {
  Row row;
  row.module = module;
  SessionOptions options;
  options.module = module;
  options.host_program = build / "bin" / ("host_" + module + "_solutions");
  options.referee_program = build / "bin" / ("referee_" + module);
  options.seed = seed;
  const auto start = Clock::now();
  options.on_start = [&](const PlannedCase&) {
    if (row.start_s == 0) row.start_s = SecondsSince(start);
  };
  const auto session = shardlab::grade::RunGradeSession(options);
  row.total_s = SecondsSince(start);
  row.cases = session.planned.size();
  for (size_t i = 0; i < session.results.size(); ++i) {
    const CaseResult& result = session.results[i];
    row.passed += result.status == Status::kPassed;
    if (session.planned[i].kind != Kind::kValue || session.planned[i].ranks != 4) continue;
    ++row.value_cases;
    row.value_s += result.seconds;
  }
  return row;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"How fast the solutions are graded: cases a second, the time to the first case, and all of it"};
  std::string root = std::getenv("LAB_ROOT") ? std::getenv("LAB_ROOT") : ".";
  std::string build = std::getenv("LAB_BUILD") ? std::getenv("LAB_BUILD") : "build";
  std::string json_path;
  uint64_t seed = 1;
  app.add_option("--root", root, "the project's folder");
  app.add_option("--build", build, "its build folder");
  app.add_option("--seed", seed, "what all inputs follow from");
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
    if (!json_path.empty()) {
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
