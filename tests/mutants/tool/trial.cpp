#include "trial.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "graders.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/grade/session.hpp"
#include "shardlab/launch/process.hpp"
#include "shardlab/report/files.hpp"
#include "shardlab/report/score_card.hpp"

namespace shardlab::mutants {

using grade::CaseResult;
using grade::Status;

namespace {

namespace fs = std::filesystem;

constexpr size_t kMessageLimit = 4000;

double SecondsSince(int64_t begin_ns) { return static_cast<double>(launch::MonotonicNs() - begin_ns) / 1e9; }

/// What a trial's session is to do.
struct Asked {
  std::vector<std::string> parts;
  std::string folder;  ///< with shared objects that take the place of the build's own
  uint64_t seed = 0;
  std::string case_filter;
  bool quick = false;  ///< only the cases without LibTorch
  std::function<bool(const CaseResult&)> is_enough;
};

grade::SessionResult Grade(const cli::Context& context, const Rubric& rubric, const Asked& asked) {
  // A host finds the module's shared objects by its RUNPATH, which this variable comes before.
  static const std::string others = [] {
    const char* value = std::getenv("LD_LIBRARY_PATH");
    return value && *value ? std::string(":") + value : "";
  }();
  setenv("LD_LIBRARY_PATH", (asked.folder + others).c_str(), 1);
  std::atomic<bool> enough{false};
  grade::SessionOptions session;
  session.module = rubric.id;
  session.programs = cli::GradersOf(context, rubric.id, "solutions", asked.quick).programs;
  session.seed = asked.seed;
  for (const std::string& part : asked.parts) session.parts.push_back(rubric.FullId(part));
  session.case_filter = asked.case_filter;
  session.cancel = &enough;
  session.on_result = [&](const CaseResult& result) {
    if (asked.is_enough(result)) enough = true;
  };
  return grade::RunGradeSession(session);
}

/// The shared objects that a trial made take no room once it is over; its objects are kept for the next time.
void RemoveLibraries(const std::string& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".so") fs::remove(entry.path());
  }
}

/// The case that gives these parts their status and their reason; none where all passed.
const CaseResult* FirstToName(const ModuleScore& score, const std::vector<CaseResult>& results) {
  for (const PartScore& part : score.parts) {
    if (part.status == Status::kPassed) continue;
    for (const CaseResult& result : results) {
      if (result.part == part.id && result.status == part.status && result.message == part.reason) return &result;
    }
  }
  return nullptr;
}

void Quote(const CaseResult& result, Outcome* outcome) {
  outcome->status = result.status;
  outcome->case_id = result.id;
  outcome->message = result.message.substr(0, kMessageLimit);
}

bool SaysAll(const std::string& message, const std::vector<std::string>& phrases) {
  return std::all_of(phrases.begin(), phrases.end(),
                     [&](const std::string& phrase) { return message.find(phrase) != std::string::npos; });
}

/// Runs `trial`, and makes of whatever it throws an outcome that names the entry.
template <typename Trial>
Outcome Guarded(const std::string& where, const std::string& name, Trial trial) {
  Outcome outcome;
  try {
    trial(&outcome);
  } catch (const std::exception& error) {
    outcome.verdict = Verdict::kError;
    const std::string what = Brief(error);
    // Some errors name the very line, which says more than that of the entry.
    const std::string file = where.substr(0, where.find(':'));
    outcome.message = what.compare(0, file.size(), file) == 0 ? what : fmt::format("{}: '{}' {}", where, name, what);
  }
  return outcome;
}

}  // namespace

const char* Name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kKilled:
      return "killed";
    case Verdict::kWrongDiagnosis:
      return "wrong diagnosis";
    case Verdict::kSurvived:
      return "survived";
    case Verdict::kFullMarks:
      return "full marks";
    case Verdict::kBelow:
      return "below full marks";
    case Verdict::kError:
      break;
  }
  return "error";
}

void to_json(nlohmann::json& json, const Outcome& outcome) {
  json = {{"verdict", static_cast<int>(outcome.verdict)},
          {"status", static_cast<int>(outcome.status)},
          {"case", outcome.case_id},
          {"message", outcome.message},
          {"build_s", outcome.build_s},
          {"grade_s", outcome.grade_s}};
}

void from_json(const nlohmann::json& json, Outcome& outcome) {
  outcome.verdict = static_cast<Verdict>(json.at("verdict").get<int>());
  outcome.status = static_cast<Status>(json.at("status").get<int>());
  outcome.case_id = json.at("case").get<std::string>();
  outcome.message = json.at("message").get<std::string>();
  outcome.build_s = json.at("build_s").get<double>();
  outcome.grade_s = json.at("grade_s").get<double>();
}

Outcome Try(const cli::Context& context, const Workshop& workshop, const Mutant& mutant, const Rubric& rubric,
            uint64_t seed) {
  return Guarded(mutant.where, mutant.name, [&](Outcome* outcome) {
    const int64_t begin_ns = launch::MonotonicNs();
    const std::string name = mutant.part + "." + mutant.name;
    std::string source = mutant.source;
    if (!mutant.replace.empty()) {
      fs::create_directories(workshop.Folder(name));
      source = workshop.Folder(name) + "/" + mutant.file;
      const std::string text = Mutated(mutant, ReadFile(BaseOf(mutant, context.root)));
      std::error_code error;
      if (!fs::exists(source, error) || ReadFile(source) != text) WriteFileSafely(source, text);
    }
    const std::string folder = workshop.Build(name, {{mutant.file, source}});
    outcome->build_s = SecondsSince(begin_ns);

    const auto is_right = [&](const CaseResult& result) {
      return result.status == mutant.status && SaysAll(result.message, mutant.says);
    };
    const int64_t graded_ns = launch::MonotonicNs();
    Asked asked{{mutant.part}, folder, seed, mutant.case_filter, workshop.IsPlain(mutant.file), is_right};
    grade::SessionResult session;
    const auto found = [&] { return std::find_if(session.results.begin(), session.results.end(), is_right); };
    if (asked.quick) {
      try {
        session = Grade(context, rubric, asked);
      } catch (const UsageError&) {  // all of the part's cases, or those of the filter, have tensors
      }
      asked.quick = false;
    }
    if (found() == session.results.end()) session = Grade(context, rubric, asked);
    outcome->grade_s = SecondsSince(graded_ns);
    RemoveLibraries(folder);

    if (const auto right = found(); right != session.results.end()) {
      outcome->verdict = Verdict::kKilled;
      Quote(*right, outcome);
      return;
    }
    ScoreOptions scoring;
    scoring.parts = {mutant.part};
    const ModuleScore score = ScoreModule(rubric, session.listed, session.results, scoring);
    if (const CaseResult* first = FirstToName(score, session.results)) {
      outcome->verdict = Verdict::kWrongDiagnosis;
      Quote(*first, outcome);
    } else {
      outcome->verdict = Verdict::kSurvived;
      outcome->status = Status::kPassed;
      outcome->message = fmt::format("all {} cases passed", session.results.size());
    }
  });
}

Outcome Try(const cli::Context& context, const Workshop& workshop, const Variant& variant, const Rubric& rubric,
            uint64_t seed) {
  return Guarded(variant.where, variant.name, [&](Outcome* outcome) {
    const int64_t begin_ns = launch::MonotonicNs();
    const std::string folder = workshop.Build("variant." + variant.name, variant.files);
    outcome->build_s = SecondsSince(begin_ns);

    const int64_t graded_ns = launch::MonotonicNs();
    const auto fails = [](const CaseResult& result) { return result.status != Status::kPassed; };
    const grade::SessionResult session = Grade(context, rubric, {variant.parts, folder, seed, "", false, fails});
    outcome->grade_s = SecondsSince(graded_ns);
    RemoveLibraries(folder);

    // A case without a word of its own is one that was not run after the first that failed.
    const auto failed = std::find_if(session.results.begin(), session.results.end(), [&](const CaseResult& result) {
      return fails(result) && !(session.cancelled && result.status == Status::kSkipped);
    });
    if (failed == session.results.end() && !session.results.empty() && !session.cancelled) {
      outcome->verdict = Verdict::kFullMarks;
      outcome->status = Status::kPassed;
      outcome->message = fmt::format("all {} cases passed", session.results.size());
      return;
    }
    outcome->verdict = Verdict::kBelow;
    if (failed != session.results.end()) Quote(*failed, outcome);
  });
}

}  // namespace shardlab::mutants
