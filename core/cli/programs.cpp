// lab train, schedule, data, test, docs: subcommands that are other programs.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <sstream>

#include <fmt/format.h>

#include "build.hpp"
#include "commands.hpp"
#include "graders.hpp"
#include "modules.hpp"
#include "run_program.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/launch/confine.hpp"
#include "shardlab/launch/process.hpp"

namespace shardlab::cli {

namespace {

/// Becomes the solutions' or the student's flavour of a program: the latter with --mine, and where there is no other.
/// `matters`: whether a student's file, of which the stub would run where it does not compile, is part of the program.
template <typename Matters>
[[noreturn]] void BecomeFlavour(const Context& context, const std::string& name, std::vector<std::string> arguments,
                                Matters matters) {
  const auto mine = std::find(arguments.begin(), arguments.end(), "--mine");
  bool exercises = !context.HasSolutions();
  if (mine != arguments.end()) {
    arguments.erase(mine);
    exercises = true;
  }
  const std::string program = name + (exercises ? "_exercises" : "_solutions");
  if (!UpToDate(context, {program})) Build(context, {program});
  for (const Rubric& rubric : exercises ? LoadRubrics(context.root) : std::vector<Rubric>()) {
    for (const CompileFailure& failure : ReadCompileFailures(context, rubric)) {
      if (!matters(rubric, failure.file)) continue;
      fmt::print(stderr, "lab: exercises/{}/{} does not compile, so its stub runs:\n{}\n", rubric.id, failure.file,
                 failure.error);
    }
  }
  BecomeProgram(context.InBuild("bin/" + program), arguments);
}

}  // namespace

int Train(const Context& context, const std::vector<std::string>& arguments) {
  BecomeFlavour(context, "train", arguments, [](const Rubric&, const std::string&) { return true; });
}

namespace {

// A program of what needs no LibTorch: of a student's files those count that are in it.
[[noreturn]] void BecomePlainFlavour(const Context& context, const std::string& name,
                                     const std::vector<std::string>& arguments) {
  BecomeFlavour(context, name, arguments, [&](const Rubric& rubric, const std::string& file) {
    const std::vector<std::string> files = PlainFiles(context, rubric.id);
    return std::find(files.begin(), files.end(), file) != files.end();
  });
}

}  // namespace

int DrawSchedule(const Context& context, const std::vector<std::string>& arguments) {
  BecomePlainFlavour(context, "schedule", arguments);
}

int ShowTiles(const Context& context, const std::vector<std::string>& arguments) {
  BecomePlainFlavour(context, "tiles", arguments);
}

int Data(const Context& context, const std::vector<std::string>& arguments) {
  Build(context, {"cifar_data"});
  BecomeProgram(context.InBuild("bin/cifar_data"), arguments);
}

int Test(const Context& context, const std::string& filter) {
  Build(context, {"all"});
  std::vector<std::string> command = {
      "ctest", "--test-dir", context.build, "--output-on-failure", "--no-tests=error", "--timeout", "900"};
  if (!filter.empty()) {
    command.emplace_back("-R");
    command.push_back(filter);
  }
  const CancelOnSignal cancel;
  RunOptions options;
  options.cancel = cancel.flag();
  const int status = RunProgram(command, options);
  if (status == 127) throw EnvironmentError("ctest was not found: install it (Debian: apt-get install cmake)");
  cancel.Check();
  return status == 0 ? kAllPassed : kNotPassed;
}

int TestMutants(const Context& context, const std::vector<std::string>& arguments) {
  if (!context.HasSolutions()) throw UsageError("there are no solutions in this tree, so there is nothing to mutate");
  Build(context, {"mutants"});
  BecomeProgram(context.InBuild("bin/mutants"), arguments);
}

int TestFuzz(const Context& context, const std::vector<std::string>& arguments) {
  if (!context.HasSolutions()) throw UsageError("there are no solutions in this tree, which the fuzzed programs use");
  Build(context, {"fuzz"});
  BecomeProgram(context.InBuild("bin/fuzz"), arguments);
}

int Docs(const Context& context) {
  Build(context, {"docs"});
  const std::string index = context.InBuild("docs/index.html");
  std::error_code error;
  if (!std::filesystem::exists(index, error)) {
    throw EnvironmentError(fmt::format("the documentation was built, but {} is not there", index));
  }
  fmt::print("{}\n", index);
  return kAllPassed;
}

int ConfineProgram(const std::vector<std::string>& arguments) {
  launch::Confinement confinement;
  std::vector<std::string> command;
  for (size_t i = 0; i < arguments.size() && command.empty(); ++i) {
    const std::string& argument = arguments[i];
    const auto is = [&](const std::string& option) { return argument.compare(0, option.size(), option) == 0; };
    auto* const folders = is("--reads=") ? &confinement.reads : is("--writes=") ? &confinement.writes : nullptr;
    if (folders != nullptr) {
      std::istringstream paths(argument.substr(argument.find('=') + 1));
      for (std::string path; std::getline(paths, path, ':');) folders->push_back(path);
    } else {
      command.assign(arguments.begin() + static_cast<std::ptrdiff_t>(i) + (argument == "--" ? 1 : 0), arguments.end());
    }
  }
  if (command.empty()) throw UsageError("confine: give --reads=FOLDERS --writes=FOLDERS -- COMMAND");
  const std::string program = launch::FindProgram(command[0]);
  const std::vector<std::string> named = launch::FilesNamedIn(command);
  confinement.reads.insert(confinement.reads.end(), named.begin(), named.end());
  launch::Confine(confinement);
  BecomeProgram(program.empty() ? command[0] : program, {command.begin() + 1, command.end()});
}

}  // namespace shardlab::cli
