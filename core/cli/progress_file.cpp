#include "progress_file.hpp"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "shardlab/base/errors.hpp"
#include "shardlab/report/files.hpp"

namespace shardlab::cli {
namespace {

std::string PathOf(const Context& context) { return context.InRoot(".lab/progress.json"); }

}  // namespace

ProgressMap LoadProgress(const Context& context) {
  ProgressMap progress;
  std::error_code error;
  if (!std::filesystem::exists(PathOf(context), error)) return progress;
  const std::string text = ReadFile(PathOf(context));
  try {
    const auto json = nlohmann::json::parse(text);
    for (const auto& [id, entry] : json.at("parts").items()) {
      PartProgress part;
      part.best = entry.at("best").get<double>();
      part.last = entry.at("last").get<double>();
      part.max = entry.at("max").get<double>();
      part.status = entry.at("status").get<std::string>();
      part.hints = entry.at("hints").get<int>();
      progress[id] = part;
    }
  } catch (const nlohmann::json::exception&) {
    throw UsageError(fmt::format(
        "{} cannot be understood: delete it, and `./lab grade` writes it again (only the best scores and the hints "
        "seen are lost)",
        PathOf(context)));
  }
  return progress;
}

void SaveProgress(const Context& context, const ProgressMap& progress) {
  nlohmann::ordered_json parts = nlohmann::ordered_json::object();
  for (const auto& [id, part] : progress) {
    parts[id] = {
        {"best", part.best}, {"last", part.last}, {"max", part.max}, {"status", part.status}, {"hints", part.hints}};
  }
  const nlohmann::ordered_json json = {{"schema", 1}, {"parts", parts}};
  WriteFileSafely(context.InState("progress.json"), json.dump(2) + "\n");
}

void Record(const ScoreCard& card, ProgressMap& progress) {
  for (const ModuleScore& module : card.modules) {
    std::vector<PartScore> parts = module.before;
    parts.insert(parts.end(), module.parts.begin(), module.parts.end());
    for (const PartScore& part : parts) {
      const bool waits = part.status == grade::Status::kSkipped;
      const bool whole = std::none_of(part.cases.begin(), part.cases.end(), [](const grade::CaseResult& result) {
        return result.status == grade::Status::kSkipped;
      });
      // Cases that need what is not written yet, or does not compile, are not run.
      const bool known = part.status == grade::Status::kDoesNotCompile ||
                         std::any_of(part.findings.begin(), part.findings.end(),
                                     [](const Finding& finding) { return !finding.written; });
      if (!known && (waits || !whole || part.cases.empty())) continue;
      PartProgress& entry = progress[part.id];
      entry.best = std::max(entry.best, part.score);
      entry.last = part.score;
      entry.max = part.max;
      entry.status = Name(part.status);
    }
  }
}

NextUp FindNext(const std::vector<Rubric>& rubrics, const ProgressMap& progress) {
  const auto passed = [&](const Rubric& rubric, const std::string& part) {
    const auto at = progress.find(rubric.FullId(part));
    return at != progress.end() && at->second.passed();
  };
  for (const bool bonus : {false, true}) {
    for (const Rubric& rubric : rubrics) {
      for (const Part& part : rubric.parts) {
        if (part.bonus != bonus || passed(rubric, part.id)) continue;
        const bool ready = std::all_of(part.after.begin(), part.after.end(),
                                       [&](const std::string& before) { return passed(rubric, before); });
        if (ready) return {&rubric, &part};
      }
    }
  }
  return {};
}

}  // namespace shardlab::cli
