#include "reports.hpp"

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/report/files.hpp"

namespace shardlab::cli {

using grade::CaseOutcome;
using grade::CaseResult;
using grade::ListedCase;
using grade::Status;

namespace {

/// Operations that a picture can show without becoming a grey surface.
constexpr size_t kShownOperations = 240;

std::string Key(const std::string& part, const std::string& id) { return part + "/" + id; }

std::string InFolder(const std::string& folder, const std::string& file) {
  return folder + (folder.back() == '/' ? "" : "/") + file;
}

/// How good a picture of a part's work a run is: many operations, as long as they can be told apart.
double Worth(const Timeline& timeline) {
  const auto operations = static_cast<double>(timeline.spans.size());
  return operations <= 120 ? operations : 120 / operations;
}

}  // namespace

void Reports::RequireWritable() const {
  if (!options_.json.empty()) shardlab::RequireWritable(options_.json, "--json");
  if (!options_.junit.empty()) shardlab::RequireWritable(options_.junit, "--junit");
  if (!options_.gradescope.empty()) shardlab::RequireWritable(options_.gradescope, "--gradescope");
  if (!options_.html.empty()) RequireWritableFolder(options_.html, "--html");
  if (!options_.trace.empty()) RequireWritableFolder(options_.trace, "--trace");
}

void Reports::Ran(const ListedCase& listed, const CaseOutcome& run) {
  const std::string key = Key(listed.part, listed.id);
  if (runs_of_ != key) runs_.clear();
  runs_of_ = key;
  running_ = listed;
  if (options_.trace.empty()) runs_.clear();  // the page shows the last run only
  runs_.push_back(MakeTimeline(run));
}

void Reports::Judged(const CaseResult& result) {
  if (runs_of_ == Key(result.part, result.id)) {
    if (!options_.trace.empty()) WriteTrace(result.part, result.id);
    if (!options_.html.empty()) KeepTimeline(result);
  }
  runs_.clear();
  runs_of_.clear();
}

void Reports::WriteTrace(const std::string& part, const std::string& id) {
  const bool empty = std::all_of(runs_.begin(), runs_.end(), [](const Timeline& run) { return run.end_us <= 0; });
  if (traces_failed_ || empty) return;
  std::string name = part + "." + id;
  std::replace_if(
      name.begin(), name.end(), [](char letter) { return letter == '/' || letter == ' ' || letter == '='; }, '-');
  const bool written = TryWrite(InFolder(options_.trace, name + ".json"), ToChromeTrace(runs_, part + " " + id), false);
  traces_failed_ = !written;
  traces_ += written ? 1 : 0;
}

void Reports::KeepTimeline(const CaseResult& result) {
  Timeline& run = runs_.back();
  const std::string key = Key(result.part, result.id);
  const bool no_picture = result.status == Status::kNotImplemented || result.status == Status::kSkipped;
  if (no_picture || run.spans.empty()) return;
  if (result.status == Status::kPassed) {
    const auto before = chosen_.find(result.part);
    if (before != chosen_.end()) {
      if (Worth(timelines_.at(before->second)) >= Worth(run)) return;
      timelines_.erase(before->second);
    }
    chosen_[result.part] = key;
  }
  KeepLast(run, kShownOperations);
  timelines_[key] = std::move(run);
}

void Reports::WritePartial(const ScoreCard& so_far) {
  gradescope_failed_ = !TryWrite(options_.gradescope, ToGradescope(so_far), false);
}

void Reports::Write(const ScoreCard& card, const std::vector<grade::LearningCurve>& curves, const std::string& next) {
  // A case that was ended with the run has no result, but what its ranks did until then says where it hung.
  if (!runs_.empty() && !options_.trace.empty()) WriteTrace(running_.part, running_.id);
  const auto write = [&](const std::string& path, const std::string& text) {
    if (TryWrite(path, text)) written_.push_back(path);
  };
  if (!options_.html.empty()) {
    HtmlReport report;
    report.card = card;
    report.curves = curves;
    report.timelines = std::move(timelines_);
    report.next = next;
    write(InFolder(options_.html, "index.html"), ToHtml(report));
  }
  if (traces_ > 0) {
    written_.push_back(fmt::format("{} ({} file{} for ui.perfetto.dev)", InFolder(options_.trace, ""), traces_,
                                   traces_ == 1 ? "" : "s"));
  }
  if (WantsPartial()) write(options_.gradescope, ToGradescope(card));
  if (!options_.json.empty()) write(options_.json, ToJson(card));
  if (!options_.junit.empty()) write(options_.junit, ToJUnit(card));
}

bool Reports::TryWrite(const std::string& path, const std::string& text, bool durable) {
  try {
    WriteFileSafely(path, text, durable);
    return true;
  } catch (const EnvironmentError& error) {
    fmt::print(stderr, "lab: {}\n", error.what());
    failed_ = true;
    return false;
  }
}

}  // namespace shardlab::cli
