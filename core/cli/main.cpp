// The program `lab`: reads the command line and calls the subcommand.
#include <cstdio>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "build.hpp"
#include "commands.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/base/suggest.hpp"

namespace {

using namespace shardlab;
using namespace shardlab::cli;

/// The long names of a subcommand's options.
std::vector<std::string> OptionNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

/// Words that nobody asked for: the first is named, with what there is and what is nearest.
void RefuseExtras(const CLI::App& app, const std::string& command) {
  const std::vector<std::string> extras = app.remaining();
  if (extras.empty()) return;
  const std::string word = extras[0].substr(0, extras[0].find('='));
  if (word.size() > 1 && word[0] == '-') {
    throw UsageError(UnknownName("option of lab " + command, word, OptionNames(app)));
  }
  throw UsageError(fmt::format("lab {}: '{}' is one word too many (lab {} --help)", command, word, command));
}

int Run(int count, char** arguments) {
  // For the build, and not for people: its arguments are a compiler's, in which "--" has to stay where it is.
  if (count > 1 && std::string(arguments[1]) == "confine") return ConfineProgram({arguments + 2, arguments + count});
  CLI::App app("shardlab: model parallelism, built piece by piece on LibTorch.", "lab");
  app.set_help_flag("-h,--help", "this text");
  app.footer(
      "Without a subcommand: the board, with every module and part, points, and what to do next.\n"
      "Exit status: 0 all that was asked for passed, 1 something did not, 2 wrong usage, 3 this machine cannot do it.");
  app.allow_extras();
  app.require_subcommand(0, 1);  // so that the `data` of `bench data` is not taken for a second command

  GradeOptions grade;
  CLI::App* grade_app = app.add_subcommand("grade", "grade your files, or the solutions");
  grade_app->allow_extras();
  grade_app->add_option("what", grade.what, "MODULE or MODULE.PART; nothing: all")->type_name("");
  grade_app->add_flag("--solutions", grade.solutions, "grade the reference solutions");
  grade_app->add_option("--seed", grade.seed, "draw all inputs from this seed (it is printed at the end)")
      ->type_name("N");
  grade_app->add_option("--ranks", grade.ranks, "only cases that run on N ranks")
      ->type_name("N")
      ->check(CLI::Range(1, 64));
  grade_app->add_option("--case", grade.case_name, "only this case of the part, explained at full length")
      ->type_name("NAME");
  grade_app->add_flag("--all", grade.all, "also grade parts before it that have not changed since they passed");
  grade_app->add_flag("--quick", grade.quick, "only the cases without tensors (schedules, balance), in a second");
  grade_app->add_flag("--sandbox", grade.sandbox, "keep the exercises from the network, files and other programs");
  grade_app->add_flag("--replay", grade.replay,
                      "run value and cost cases twice, the second time over messages that are counted");
  grade_app->add_option("--device", grade.device, "cpu or cuda")->type_name("NAME");
  grade_app->add_option("--json", grade.json, "write the score card as JSON")->type_name("FILE");
  grade_app->add_option("--junit", grade.junit, "write the score card as JUnit XML")->type_name("FILE");
  grade_app->add_option("--gradescope", grade.gradescope, "write Gradescope's results.json, again after every case")
      ->type_name("FILE");
  grade_app->add_option("--html", grade.html, "write a page for a browser: what went wrong, pictures, figures")
      ->type_name("DIR");
  grade_app
      ->add_option("--trace", grade.trace, "write what every rank did and when, one file per case for ui.perfetto.dev")
      ->type_name("DIR");

  std::string part;
  bool restart = false;
  CLI::App* hint_app = app.add_subcommand("hint", "the next hint for a part");
  hint_app->allow_extras();
  hint_app->add_option("part", part, "MODULE.PART; nothing: the part that is next")->type_name("");
  hint_app->add_flag("--restart", restart, "begin again with the first hint");

  std::string what;
  CLI::App* reset_app = app.add_subcommand("reset", "the stubs again; your files are kept aside");
  reset_app->allow_extras();
  reset_app->add_option("what", what, "MODULE or MODULE.PART")->type_name("")->required();
  CLI::App* diff_app = app.add_subcommand("diff", "your files against the stubs");
  diff_app->allow_extras();
  diff_app->add_option("what", what, "MODULE or MODULE.PART")->type_name("")->required();

  // What these are given goes to the programs that they start, --help too.
  const auto passing = [&](const char* name, const char* text) {
    CLI::App* passing_app = app.add_subcommand(name, text);
    passing_app->prefix_command();
    passing_app->set_help_flag();
    return passing_app;
  };
  CLI::App* train_app = passing("train", "train a model on a mesh of ranks (lab train --help)");
  CLI::App* schedule_app =
      passing("schedule", "generate, check, simulate and draw a pipeline schedule (lab schedule --help)");
  CLI::App* tiles_app = passing("tiles", "which pixels the tiles of an image need and send (lab tiles --help)");
  CLI::App* data_app = passing("data", "the data sets: what is there, download, verify (lab data --help)");
  CLI::App* bench_app = passing("bench", "measure and print tables (lab bench --help)");

  std::string filter;
  CLI::App* test_app = app.add_subcommand("test", "build everything and run the project's tests");
  test_app->allow_extras();
  test_app->add_option("filter", filter, "only tests whose name matches this regular expression")->type_name("");
  CLI::App* mutants_app = test_app->add_subcommand(
      "mutants", "test the graders with wrong and with other right solutions (lab test mutants --help)");
  mutants_app->prefix_command();
  mutants_app->set_help_flag();
  CLI::App* fuzz_app = test_app->add_subcommand(
      "fuzz", "give what reads files and messages inputs that are nearly right (lab test fuzz --help)");
  fuzz_app->prefix_command();
  fuzz_app->set_help_flag();
  CLI::App* docs_app = app.add_subcommand("docs", "build the documentation and say where it is");
  docs_app->allow_extras();
  CLI::App* help_app = app.add_subcommand("help", "this text");
  help_app->allow_extras();
  CLI::App* doctor_app = app.add_subcommand("doctor", "what this machine has and lacks");
  doctor_app->allow_extras();

  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) command->footer("");

  const std::string help = app.help();  // later it would be that of the subcommand
  try {
    app.parse(count, arguments);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    throw UsageError(fmt::format("{} (lab --help says more)", error.what()));
  }
  if (app.get_subcommands().empty() && !app.remaining().empty()) {
    std::vector<std::string> commands;
    for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
      commands.push_back(command->get_name());
    }
    throw UsageError(UnknownName("command", app.remaining()[0], commands));
  }
  for (const CLI::App* command : app.get_subcommands()) {
    if (!command->get_prefix_command()) RefuseExtras(*command, command->get_name());
  }

  if (*help_app) {
    fmt::print("{}", help);
    return kAllPassed;
  }
  const Context context = MakeContext();
  if (*grade_app) return Grade(context, grade);
  if (*hint_app) return Hint(context, part, restart);
  if (*reset_app) return Reset(context, what);
  if (*diff_app) return Diff(context, what);
  if (*train_app) return Train(context, train_app->remaining());
  if (*schedule_app) return DrawSchedule(context, schedule_app->remaining());
  if (*tiles_app) return ShowTiles(context, tiles_app->remaining());
  if (*data_app) return Data(context, data_app->remaining());
  if (*bench_app) return Bench(context, bench_app->remaining());
  if (*mutants_app) return TestMutants(context, mutants_app->remaining());
  if (*fuzz_app) return TestFuzz(context, fuzz_app->remaining());
  if (*test_app) return Test(context, filter);
  if (*docs_app) return Docs(context);
  if (*doctor_app) return Doctor(context);
  return Board(context);
}

}  // namespace

int main(int count, char** arguments) {
  try {
    return Run(count, arguments);
  } catch (const UsageError& error) {
    fmt::print(stderr, "lab: {}\n", error.what());
    return kUsage;
  } catch (const BuildError& error) {
    fmt::print(stderr, "{}lab: {}; what the compiler said is above\n", error.said(), error.what());
    return kEnvironment;
  } catch (const EnvironmentError& error) {
    fmt::print(stderr, "lab: {}\n", error.what());
    return kEnvironment;
  } catch (const Interrupted& interrupted) {
    return 128 + interrupted.signal;
  } catch (const std::exception& error) {
    fmt::print(stderr, "lab: {}\n", Brief(error));
    return kEnvironment;
  }
}
