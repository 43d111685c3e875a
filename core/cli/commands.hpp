#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "context.hpp"
#include "grade_once.hpp"

/// \file
/// The subcommands of `lab`. Each returns the exit status and throws UsageError, EnvironmentError or Interrupted.

namespace shardlab::cli {

/// `lab`: every module and part, points so far, what to do next.
int Board(const Context& context);

/// What `lab grade` was asked for.
struct GradeOptions {
  std::vector<std::string> what;  ///< MODULE or MODULE.PART
  bool solutions = false;
  std::optional<uint64_t> seed;
  int ranks = 0;          ///< 0: any
  std::string case_name;  ///< of the one part in `what`: only this case; empty: all
  bool quick = false;     ///< only the cases that do without LibTorch
  bool all = false;       ///< also parts that come before `what` and have not changed since they passed
  bool sandbox = false;   ///< keep the exercises apart: see shardlab/launch/sandbox.hpp
  bool replay = false;    ///< value and cost cases twice; with the sandbox a sample of them is
  std::string device = "cpu";
  std::string json;  ///< a file for each of these; empty: none
  std::string junit;
  std::string gradescope;
  std::string html;  ///< a folder for each of these; empty: none
  std::string trace;
};

/// `lab grade`: GradeOnce with progress bars, a score card, reports and the student's progress.
int Grade(const Context& context, const GradeOptions& options,
          const SessionRunner& run_session = grade::RunGradeSession);

/// `lab hint [PART]`: the next hint, one at a time; without PART of the part that is next.
int Hint(const Context& context, const std::string& part, bool restart);
/// `lab reset MODULE[.PART]`: the stubs again; what was there goes to .lab/backup/<time>/<module>/.
int Reset(const Context& context, const std::string& what);
/// `lab diff MODULE[.PART]`: from the stubs to the student's files.
int Diff(const Context& context, const std::string& what);

/// `lab train ...`: becomes train_solutions, or train_exercises with --mine and in a tree without solutions.
int Train(const Context& context, const std::vector<std::string>& arguments);
/// `lab schedule ...`: becomes schedule_solutions, or schedule_exercises likewise.
int DrawSchedule(const Context& context, const std::vector<std::string>& arguments);
/// `lab tiles ...`: becomes tiles_solutions, or tiles_exercises likewise.
int ShowTiles(const Context& context, const std::vector<std::string>& arguments);
/// `lab data ...`: becomes cifar_data.
int Data(const Context& context, const std::vector<std::string>& arguments);
/// `lab bench [NAME...] [--json F]`.
int Bench(const Context& context, std::vector<std::string> arguments);
/// `lab test [FILTER]`: builds everything and runs ctest.
int Test(const Context& context, const std::string& filter);
/// `lab test mutants ...`: becomes the program `mutants`, which tests the graders with wrong and with right solutions.
int TestMutants(const Context& context, const std::vector<std::string>& arguments);
/// `lab test fuzz ...`: becomes the program `fuzz`, which is compiled with sanitizers, and only when it is asked for.
int TestFuzz(const Context& context, const std::vector<std::string>& arguments);
/// `lab docs`: the Doxygen site.
int Docs(const Context& context);
/// `lab confine --reads=A:B --writes=C -- COMMAND...`: becomes a compiler or linker that can open no other files; for
/// cmake/limited, in a sandboxed run. Where the kernel cannot do it, all files that the caller can open stay open.
int ConfineProgram(const std::vector<std::string>& arguments);
/// `lab doctor`: what this machine has and lacks.
int Doctor(const Context& context);

}  // namespace shardlab::cli
