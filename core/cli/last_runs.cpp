#include "last_runs.hpp"

#include <algorithm>
#include <filesystem>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "graders.hpp"
#include "modules.hpp"
#include "shardlab/base/counter_random.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/report/files.hpp"

namespace shardlab::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLastRunsFile = "last_runs.json";

/// A file's size and time, "" if it is not there.
std::string StampOf(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error) return "";
  const auto time = fs::last_write_time(path, error);
  return error ? "" : fmt::format("{} {} {}\n", path.filename().string(), size, time.time_since_epoch().count());
}

std::string TextOf(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) ? ReadFile(path.string()) : "";
}

/// The files in a module's folder of exercises that belong to no part: a student's own headers.
std::vector<std::string> OtherFiles(const fs::path& folder, const Rubric& rubric) {
  std::set<std::string> of_parts;
  for (const Part& part : rubric.parts) of_parts.insert(part.files.begin(), part.files.end());
  std::vector<std::string> others;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    const bool is_text = entry.path().extension() == ".md";
    if (entry.is_regular_file(error) && !is_text && of_parts.count(name) == 0) others.push_back(name);
  }
  std::sort(others.begin(), others.end());
  return others;
}

}  // namespace

LastRuns::LastRuns(const SourceTree& tree, const std::vector<Rubric>& rubrics) : tree_(tree), rubrics_(rubrics) {
  for (const Rubric& rubric : rubrics) {
    for (const Part& part : rubric.parts) at_start_[rubric.FullId(part.id)] = SourcesOf(rubric, part);
  }
  try {
    const auto json = nlohmann::json::parse(TextOf(tree.InRoot(std::string(".lab/") + kLastRunsFile)));
    if (json.at("schema") != 1) return;
    for (const auto& [id, entry] : json.at("parts").items()) {
      parts_[id] = {entry.at("passed").get<std::string>(), entry.at("failed").get<std::vector<std::string>>()};
    }
  } catch (const nlohmann::json::exception&) {
    parts_.clear();
  }
}

std::string LastRuns::SourcesOf(const Rubric& rubric, const Part& part) const {
  const fs::path folder = tree_.InRoot("exercises/" + rubric.id);
  std::set<std::string> parts;
  for (const std::string& id : WithPrerequisites(rubric, {part.id})) parts.insert(id);
  const std::vector<std::string> others = OtherFiles(folder, rubric);
  std::string texts;
  for (size_t known = 0; known != parts.size();) {
    known = parts.size();
    texts.clear();
    std::vector<std::string> files = FilesOf(rubric, {parts.begin(), parts.end()});
    files.insert(files.end(), others.begin(), others.end());
    for (const std::string& file : files) texts += file + "\n" + TextOf(folder / file) + "\n";
    for (const Part& candidate : rubric.parts) {
      for (const std::string& file : candidate.files) {
        const std::string contract = fmt::format("{}/{}.hpp", rubric.id, fs::path(file).stem().string());
        if (texts.find(contract) == std::string::npos) continue;
        for (const std::string& id : WithPrerequisites(rubric, {candidate.id})) parts.insert(id);
      }
    }
  }
  return fmt::format("{:016x}", HashName(texts));
}

std::string LastRuns::FingerprintOf(const Rubric& rubric, const Part& part) const {
  std::string programs;
  for (const grade::GraderPrograms& pair : GradersOf(tree_, rubric.id, "exercises").programs) {
    programs += StampOf(pair.host) + StampOf(pair.referee);
  }
  for (const char* library : {"libshardlab_base.so", "libshardlab_core.so"}) {
    programs += StampOf(tree_.InBuild(std::string("lib/") + library));
  }
  return fmt::format("{}{:016x}", SourcesOf(rubric, part), HashName(programs));
}

bool LastRuns::HasPassed(const Rubric& rubric, const Part& part) const {
  const auto at = parts_.find(rubric.FullId(part.id));
  return at != parts_.end() && !at->second.passed.empty() && at->second.passed == FingerprintOf(rubric, part);
}

std::vector<std::string> LastRuns::Failed() const {
  std::vector<std::string> failed;
  for (const auto& [id, entry] : parts_) {
    for (const std::string& one : entry.failed) failed.push_back(id + "/" + one);
  }
  return failed;
}

void LastRuns::Learn(const ScoreCard& card) {
  for (const ModuleScore& module : card.modules) {
    const auto rubric = std::find_if(rubrics_.begin(), rubrics_.end(),
                                     [&](const Rubric& candidate) { return candidate.id == module.id; });
    if (rubric == rubrics_.end()) continue;
    for (const auto* scores : {&module.before, &module.parts}) {
      for (const PartScore& score : *scores) {
        const Part* part = rubric->Find(ShortId(score.id));
        if (!part || score.cases.empty()) continue;
        Entry& entry = parts_[score.id];
        std::vector<std::string> failed;
        for (const grade::CaseResult& result : score.cases) {
          const bool before = std::find(entry.failed.begin(), entry.failed.end(), result.id) != entry.failed.end();
          const bool not_run =
              result.status == grade::Status::kSkipped || result.status == grade::Status::kDoesNotCompile;
          const bool fails = result.status != grade::Status::kPassed && result.status != grade::Status::kNotImplemented;
          if (not_run ? before : fails) failed.push_back(result.id);
        }
        entry.failed = std::move(failed);
        // What was saved while it was built or graded is not what passed.
        const bool passed =
            score.status == grade::Status::kPassed && SourcesOf(*rubric, *part) == at_start_.at(score.id);
        entry.passed = passed ? FingerprintOf(*rubric, *part) : "";
      }
    }
  }
}

void LastRuns::Save() const {
  nlohmann::ordered_json parts = nlohmann::ordered_json::object();
  for (const auto& [id, entry] : parts_) parts[id] = {{"passed", entry.passed}, {"failed", entry.failed}};
  const nlohmann::ordered_json json = {{"schema", 1}, {"parts", parts}};
  WriteFileSafely(tree_.InState(kLastRunsFile), json.dump(2) + "\n");
}

}  // namespace shardlab::cli
