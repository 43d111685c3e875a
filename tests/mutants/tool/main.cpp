// The program behind `lab test mutants`: is the grader itself right?
//
//   mutants   wrong solutions  -->  the grader must fail them, and say why
//   variants  right solutions  -->  the grader must give them full marks
//
// Each is compiled, linked with the build's other objects and graded by a real session; docs/mutants.md says how to
// write one.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <optional>
#include <random>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "build.hpp"
#include "context.hpp"
#include "crew.hpp"
#include "graders.hpp"
#include "report.hpp"
#include "sets.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/launch/process.hpp"
#include "shardlab/report/files.hpp"
#include "shardlab/report/progress.hpp"
#include "trial.hpp"
#include "workshop.hpp"

namespace {

using namespace shardlab;
using namespace shardlab::mutants;

constexpr size_t kMutantsAPart = 5;
constexpr size_t kVariantsAModule = 4;

struct Options {
  std::vector<std::string> filters;
  int jobs = 2;
  std::optional<uint64_t> seed;
  std::string json;
  std::string folder;
  bool no_build = false;
  bool check = false;
};

bool Fits(const std::string& id, const std::vector<std::string>& filters) {
  return filters.empty() || std::any_of(filters.begin(), filters.end(), [&](const std::string& filter) {
           return id.find(filter) != std::string::npos;
         });
}

Sets Filtered(const Sets& all, const std::vector<std::string>& filters) {
  Sets sets;
  for (const Mutant& mutant : all.mutants) {
    if (Fits(mutant.id(), filters)) sets.mutants.push_back(mutant);
  }
  for (const Variant& variant : all.variants) {
    if (Fits(variant.id(), filters)) sets.variants.push_back(variant);
  }
  if (sets.mutants.empty() && sets.variants.empty()) {
    throw UsageError(all.mutants.empty() && all.variants.empty()
                         ? "there are no mutants: they are in tests/mutants/<module>/<part>.toml"
                         : fmt::format("no mutant and no variant has '{}' in its name; one is {}",
                                       fmt::join(filters, "' or '"),
                                       all.mutants.empty() ? all.variants[0].id() : all.mutants[0].id()));
  }
  return sets;
}

/// The modules with these names.
std::vector<Rubric> Named(const std::vector<Rubric>& rubrics, const std::vector<std::string>& names) {
  std::vector<Rubric> named;
  for (const std::string& name : names) {
    const auto found =
        std::find_if(rubrics.begin(), rubrics.end(), [&](const Rubric& rubric) { return rubric.id == name; });
    if (found == rubrics.end()) throw UsageError(fmt::format("--check takes modules: there is no module '{}'", name));
    named.push_back(*found);
  }
  return named;
}

/// All entries read, every replacement made, nothing built: what is wrong or missing.
int Check(const cli::Context& context, const Sets& sets, const std::vector<Rubric>& rubrics) {
  std::vector<std::string> complaints;
  for (const Mutant& mutant : sets.mutants) {
    try {
      Mutated(mutant, ReadFile(BaseOf(mutant, context.root)));
    } catch (const UsageError& error) {
      complaints.emplace_back(error.what());
    }
  }
  const int status = complaints.empty() ? cli::kNotPassed : cli::kUsage;
  for (const std::string& line : Missing(sets, rubrics, kMutantsAPart, kVariantsAModule)) complaints.push_back(line);
  for (const std::string& line : complaints) fmt::print("{}\n", line);
  fmt::print("{} mutants and {} variants for {} modules\n", sets.mutants.size(), sets.variants.size(), rubrics.size());
  return complaints.empty() ? cli::kAllPassed : status;
}

/// Two runs in one build folder would write the same objects.
launch::Fd LockFolder(const cli::Context& context) {
  const std::string path = context.InBuild(".lab-mutants-lock");
  launch::Fd lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!lock) throw EnvironmentError(fmt::format("the build folder {} cannot be written", context.build));
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    throw EnvironmentError(
        fmt::format("another `lab test mutants` is at work in {}: let it end, or name another "
                    "build folder with LAB_BUILD",
                    context.build));
  }
  return lock;
}

uint64_t DrawSeed() {
  std::random_device device;
  return std::uniform_int_distribution<uint64_t>(0, 999999)(device);
}

Findings TryAll(const cli::Context& context, const Options& options, const Sets& sets,
                const std::vector<Rubric>& rubrics) {
  const auto start = std::chrono::steady_clock::now();
  const launch::Fd lock = LockFolder(context);
  std::map<std::string, const Rubric*> rubric_of;
  std::map<std::string, Workshop> workshops;
  for (const Rubric& rubric : rubrics) rubric_of[rubric.id] = &rubric;
  const auto prepare = [&](const std::string& module) {
    if (!workshops.count(module)) workshops.emplace(module, Workshop(context, module));
  };
  for (const Mutant& mutant : sets.mutants) prepare(mutant.module);
  for (const Variant& variant : sets.variants) prepare(variant.module);

  Findings findings;
  findings.sets = sets;
  findings.mutants.resize(sets.mutants.size());
  findings.variants.resize(sets.variants.size());
  findings.seed = options.seed ? *options.seed : DrawSeed();

  // The variants take longest, so they come first: at the end no process works alone.
  const size_t variants = sets.variants.size(), count = variants + sets.mutants.size();
  const auto name_of = [&](size_t i) { return i < variants ? sets.variants[i].id() : sets.mutants[i - variants].id(); };
  Progress progress("mutants", static_cast<int64_t>(count), stderr, context.err);
  int64_t done = 0;
  WorkThrough(
      count, options.jobs,
      [&](size_t i) -> nlohmann::json {
        if (i < variants) {
          const Variant& variant = sets.variants[i];
          return Try(context, workshops.at(variant.module), variant, *rubric_of.at(variant.module), findings.seed);
        }
        const Mutant& mutant = sets.mutants[i - variants];
        return Try(context, workshops.at(mutant.module), mutant, *rubric_of.at(mutant.module), findings.seed);
      },
      [&](size_t i, const nlohmann::json& answer) {
        Outcome outcome;
        if (answer.contains("died")) {
          outcome.message = fmt::format("{}: the process that tried it {}", name_of(i), std::string(answer["died"]));
        } else {
          outcome = answer.get<Outcome>();
        }
        (i < variants ? findings.variants[i] : findings.mutants[i - variants]) = outcome;
        progress.Update(++done, fmt::format("{}: {}", name_of(i), mutants::Name(outcome.verdict)));
      });
  findings.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  rusage used{};
  getrusage(RUSAGE_CHILDREN, &used);
  for (const timeval& time : {used.ru_utime, used.ru_stime}) {
    findings.core_seconds += static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  }
  return findings;
}

int Run(int count, char** arguments) {
  Options options;
  CLI::App app("The grader's own test: wrong solutions that it must fail and explain, right ones that it must pass.",
               "lab test mutants");
  app.set_help_flag("-h,--help", "this text");
  app.add_option("filter", options.filters, "only those with this in their name, such as communication.ring")
      ->type_name("");
  app.add_option("--jobs", options.jobs, "how many are tried at a time (2)")->type_name("N")->check(CLI::Range(1, 256));
  app.add_option("--seed", options.seed, "draw all inputs from this seed (it is printed at the end)")->type_name("N");
  app.add_option("--json", options.json, "write what was found as JSON")->type_name("FILE");
  app.add_flag("--check", options.check, "build nothing: are the entries (of these modules) right, and enough?");
  app.add_flag("--no-build", options.no_build, "take host and referee as they are in the build folder");
  app.add_option("--sets", options.folder, "a folder with mutants/ and variants/ (tests/)")->type_name("DIR");
  app.footer(
      "Exit status: 0 all are as they should be, 1 not so, 2 wrong usage or a broken entry, 3 this machine cannot.");
  try {
    app.parse(count, arguments);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    throw UsageError(fmt::format("{} (lab test mutants --help says more)", error.what()));
  }

  const cli::Context context = cli::MakeContext();
  if (!context.HasSolutions()) throw UsageError("there are no solutions in this tree, so there is nothing to mutate");
  if (!options.json.empty()) RequireWritable(options.json, "--json");
  std::vector<Rubric> rubrics = LoadRubrics(context.root);
  if (options.check && !options.filters.empty()) rubrics = Named(rubrics, options.filters);
  const Sets all = LoadSets(options.folder.empty() ? context.InRoot("tests") : options.folder, context.root, rubrics);
  if (options.check) return Check(context, all, rubrics);

  const Sets sets = Filtered(all, options.filters);
  if (!options.no_build) {
    std::vector<std::string> targets;
    for (const Rubric& rubric : rubrics) {
      const auto of_module = [&](const auto& entry) { return entry.module == rubric.id; };
      if (std::any_of(sets.mutants.begin(), sets.mutants.end(), of_module) ||
          std::any_of(sets.variants.begin(), sets.variants.end(), of_module)) {
        const std::vector<std::string> graders = cli::GradersOf(context, rubric.id, "solutions").targets;
        targets.insert(targets.end(), graders.begin(), graders.end());
      }
    }
    cli::Build(context, targets);
  }
  const Findings findings = TryAll(context, options, sets, rubrics);
  if (!options.json.empty()) WriteFileSafely(options.json, ToJson(findings));
  fmt::print("{}", Render(findings, context.out));
  return ExitStatus(findings);
}

}  // namespace

int main(int count, char** arguments) {
  try {
    return Run(count, arguments);
  } catch (const UsageError& error) {
    fmt::print(stderr, "lab: {}\n", error.what());
    return cli::kUsage;
  } catch (const cli::Interrupted& interrupted) {
    return 128 + interrupted.signal;
  } catch (const cli::BuildError& error) {
    fmt::print(stderr, "{}lab: {}; what the compiler said is above\n", error.said(), error.what());
    return cli::kEnvironment;
  } catch (const std::exception& error) {
    fmt::print(stderr, "lab: {}\n", Brief(error));
    return cli::kEnvironment;
  }
}
