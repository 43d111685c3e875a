// The page is html/page.mustache, its look html/page.css; here they are filled.
#include "shardlab/report/html.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "html_data.hpp"
#include "html_page.hpp"  // made by CMake
#include "shardlab/base/xml.hpp"
#include "shardlab/report/chart.hpp"
#include "shardlab/report/score_card_text.hpp"
#include "shardlab/report/terminal.hpp"
#include "words.hpp"

namespace shardlab {

using grade::CaseResult;
using grade::LearningCurve;
using grade::Status;

namespace {

constexpr size_t kTimelineBudget = size_t{3} << 20;  // bytes of all timelines together
constexpr size_t kMaxMessage = 20000;                // bytes of one case's explanation
constexpr size_t kMaxGist = 160;

Terminal Paper() {
  Terminal paper;
  paper.unicode = true;
  return paper;
}

const char* ToneClass(Status status) {
  switch (ToneOf(status)) {
    case Tone::kGood:
      return "good";
    case Tone::kBad:
      return "bad";
    case Tone::kWarning:
      return "warn";
    default:
      return "mute";
  }
}

std::string ShortId(const std::string& part) { return part.substr(part.find('.') + 1); }

/// A picture as an address, so that its own style sheet stays its own.
std::string DataAddress(const std::string& svg) {
  std::string address = "data:image/svg+xml,";
  for (const char letter : svg) {
    const auto byte = static_cast<unsigned char>(letter);
    const bool plain = byte > 0x20 && byte < 0x7f && std::string("\"#%<>&'\\^`{|}").find(letter) == std::string::npos;
    address += plain ? std::string(1, letter) : letter == ' ' ? "%20" : fmt::format("%{:02X}", byte);
  }
  return address;
}

/// "2.33 to 0.83 in 100 steps, within the tolerance of the reference": the picture in words.
std::string CurveWords(const LearningCurve& curve) {
  const std::string name = curve.name.empty() ? curve.id : fmt::format("{} ({})", curve.name, curve.id);
  if (curve.run.empty()) return name;
  size_t outside = 0, first = 0;
  for (size_t i = 0; i < std::min(curve.run.size(), curve.reference.size()); ++i) {
    const double tolerance = i < curve.tolerance.size() ? curve.tolerance[i] : 0;
    if (std::abs(curve.run[i] - curve.reference[i]) <= tolerance) continue;
    if (outside++ == 0) first = i + 1;
  }
  return fmt::format("Learning curve of {}: {} to {} in {}, {}.", name, PrettyNumber(curve.run.front()),
                     PrettyNumber(curve.run.back()), Plural(curve.run.size(), "step"),
                     outside == 0 ? "everywhere within the tolerance of one process"
                                  : fmt::format("outside the tolerance of one process in {}, first in step {}",
                                                Plural(outside, "step"), first));
}

/// Statuses that have something to explain of their own; the others say why nothing ran.
bool Explains(Status status) {
  return status == Status::kFailed || status == Status::kCrashed || status == Status::kDeadlock ||
         status == Status::kTimeout;
}

/// The explanation without what the page shows better: the tensor in rows of numbers, and the diagnosis.
std::string WithoutEvidence(const CaseResult& result) {
  if (!result.evidence.is_object()) return result.message;
  const auto tensor = result.evidence.find("tensor");
  const bool cells = tensor != result.evidence.end() && tensor->is_object() && tensor->contains("cells");
  const auto diagnosis = result.evidence.find("diagnosis");
  std::string kept;
  bool in_grid = false;
  for (size_t begin = 0; begin <= result.message.size();) {
    const size_t end = std::min(result.message.find('\n', begin), result.message.size());
    const std::string line = result.message.substr(begin, end - begin);
    begin = end + 1;
    const bool heading = line.rfind("  got (wrong ones", 0) == 0 || line == "  expected:";
    in_grid = cells && (heading || (in_grid && (line.rfind("    ", 0) == 0 || line.rfind("  [", 0) == 0)));
    const bool said = diagnosis != result.evidence.end() && diagnosis->is_string() &&
                      line == "  " + diagnosis->get_ref<const std::string&>();
    if (!in_grid && !said) kept += (kept.empty() ? "" : "\n") + line;
  }
  return kept;
}

class Page {
 public:
  explicit Page(const HtmlReport& report) : report_(report), card_(report.card) {}

  std::string Render() {
    Data page, facts(Data::type::list), modules(Data::type::list);
    const std::string points = PointsText(card_.Score(), card_.Max(), card_.Bonus(), card_.BonusMax());
    page.set("page_points", points.empty() ? "nothing was graded" : points);
    page.set("css", kPageCss);
    page.set("seed", std::to_string(card_.seed));
    page.set("command", Command(""));
    facts << Data(card_.flavour == "solutions" ? "the reference solutions" : "your exercises")
          << Data(fmt::format("seed {}", card_.seed)) << Data(PrettySeconds(card_.seconds));
    if (!card_.libtorch.empty()) facts << Data("LibTorch " + card_.libtorch);
    if (!card_.revision.empty()) facts << Data("revision " + card_.revision.substr(0, 12));
    page.set("facts", facts);
    if (!report_.next.empty()) page.set("next", report_.next);
    for (const ModuleScore& module : card_.modules) modules << Module(module);
    page.set("modules", modules);

    kainjow::mustache::mustache skeleton(kPageTemplate);
    skeleton.set_custom_escape(EscapeXml);
    return skeleton.render(page);
  }

 private:
  std::string Command(const std::string& what) const {
    std::string command = "./lab grade";
    if (!what.empty()) command += " " + what;
    if (what.empty() && card_.modules.size() == 1) {
      const ModuleScore& module = card_.modules[0];
      command += " " + (module.parts.size() == 1 ? module.parts[0].id : module.id);
    }
    if (card_.flavour == "solutions") command += " --solutions";
    return fmt::format("{} --seed {}", command, card_.seed);
  }

  Data Module(const ModuleScore& module) {
    Data data, parts(Data::type::list);
    data.set("module_id", module.id);
    data.set("module_title", module.title);
    data.set("module_points", PointsText(module.score, module.max, module.bonus, module.bonus_max));
    for (const PartScore& part : module.parts) parts << Part(part);
    data.set("parts", parts);
    return data;
  }

  Data Part(const PartScore& part) {
    Data data, failed(Data::type::list), costs(Data::type::list), lists(Data::type::list);
    data.set("part_id", part.id);
    data.set("part_name", ShortId(part.id));
    data.set("part_title", part.title);
    data.set("part_points",
             fmt::format("{} of {}{}", PrettyPoints(part.score), PrettyPoints(part.max), part.bonus ? " bonus" : ""));
    data.set("part_percent", fmt::format("{:.0f}", part.max > 0 ? 100 * part.score / part.max : 0));
    data.set("part_status", Name(part.status));
    data.set("part_tone", ToneClass(part.status));
    data.set("part_mark", Mark(part.status, Paper()));

    std::vector<const CaseResult*> passed, not_run, explained;
    for (const CaseResult* result : BrokenFirst(part)) {
      (result->status == Status::kPassed ? passed : Explains(result->status) ? explained : not_run).push_back(result);
    }
    // What each broken function is shown by is open, and the first in any case.
    const auto shows = [&](const CaseResult* result) {
      return std::any_of(part.findings.begin(), part.findings.end(),
                         [&](const Finding& finding) { return &part.cases[finding.shown_by] == result; });
    };
    for (const CaseResult* result : explained) {
      failed << Case(part, *result, result == explained.front() || shows(result));
    }
    // Of the same case on several numbers of ranks, the last one's figures.
    for (size_t i = 0; i < passed.size(); ++i) {
      if (i + 1 < passed.size() && BaseName(passed[i]->id) == BaseName(passed[i + 1]->id)) continue;
      const Data rows = FigureRows(*passed[i]);
      bool first = true;
      for (Data row : rows.list_value()) {
        if (first) row.set("figure_case", passed[i]->id);
        first = false;
        costs << row;
      }
    }
    data.set("part_counts", part.cases.empty()
                                ? "no case ran"
                                : fmt::format("{} of {} passed", passed.size(), Plural(part.cases.size(), "case")));
    if (!Explains(part.status) && part.status != Status::kPassed && !part.reason.empty()) {
      data.set("part_reason", part.reason);
    }
    Data missing(Data::type::list);
    for (const std::string& line : MissingPoints(part)) missing << Data(line);
    if (!missing.is_empty_list()) {
      Data list;
      list.set("missing_lines", missing);
      data.set("part_missing", list);
    }
    data.set("failed", failed);
    Curves(data, part);
    if (!costs.is_empty_list()) {
      Data table;
      table.set("costs", costs);
      data.set("part_costs", table);
    }
    if (part.status == Status::kPassed) PassedTimeline(data, part);
    if (!passed.empty()) lists << List(Plural(passed.size(), "case") + " passed", "time", passed);
    if (!not_run.empty()) lists << List(Plural(not_run.size(), "case") + " gave no result", "why", not_run);
    data.set("lists", lists);
    return data;
  }

  Data Case(const PartScore& part, const CaseResult& result, bool open) {
    Data data;
    data.set("case_open", open);
    data.set("case_id", result.id);
    data.set("case_kind", Name(result.kind));
    data.set("case_status", Name(result.status));
    data.set("case_tone", ToneClass(result.status));
    data.set("case_mark", Mark(result.status, Paper()));
    data.set("case_command", Command(part.id));
    const std::string whole = WithoutEvidence(result);
    std::string message = whole.substr(0, kMaxMessage);
    if (message.size() < whole.size()) message += "\n... (--json has the whole)";
    data.set("case_message", MessageParts(message));
    std::string gist = message.substr(0, message.find('\n'));
    if (gist.size() > kMaxGist) gist = Shorten(gist, kMaxGist, Paper());
    data.set("case_gist", gist);
    SetEvidence(data, result);
    const auto timeline = report_.timelines.find(part.id + "/" + result.id);
    if (timeline != report_.timelines.end()) {
      Data picture;
      if (Draw(picture, timeline->second, result.id)) data.set("case_timeline", picture);
    }
    return data;
  }

  /// False if there is nothing to draw.
  bool Draw(Data& picture, const Timeline& timeline, const std::string& id) {
    if (timeline.spans.empty() && timeline.marks.empty()) return false;
    picture.set("timeline_svg", "");
    const std::string svg = TimelineSvg(timeline, "Timeline of " + id);
    timeline_bytes_ += svg.size();
    if (timeline_bytes_ > kTimelineBudget) {
      picture.set("timeline_note",
                  "Left out, to keep this page small: lab grade --trace DIR writes the timelines of all cases.");
      return true;
    }
    if (timeline.left_out > 0) {
      picture.set("timeline_note", fmt::format("The last {}; --trace DIR writes the {} before them too.",
                                               Plural(timeline.spans.size(), "operation"), timeline.left_out));
    }
    picture.set("timeline_svg", svg);
    return true;
  }

  void PassedTimeline(Data& data, const PartScore& part) {
    for (const CaseResult& result : part.cases) {
      const auto timeline = report_.timelines.find(part.id + "/" + result.id);
      if (timeline == report_.timelines.end()) continue;
      Data picture;
      picture.set("timeline_case", result.id);
      if (Draw(picture, timeline->second, result.id)) data.set("part_timeline", picture);
      return;
    }
  }

  void Curves(Data& data, const PartScore& part) const {
    Data curves(Data::type::list);
    for (const LearningCurve& curve : report_.curves) {
      if (curve.part != part.id) continue;
      Data picture;
      const std::string title = fmt::format("{}: {}", curve.part, curve.name.empty() ? curve.id : curve.name);
      picture.set("curve_source", DataAddress(LearningCurveSvg(title, curve.run, curve.reference, curve.tolerance)));
      picture.set("curve_words", CurveWords(curve));
      curves << picture;
    }
    data.set("part_curves", curves);
  }

  static Data List(const std::string& title, const std::string& column, const std::vector<const CaseResult*>& cases) {
    Data list, rows(Data::type::list);
    for (const CaseResult* result : cases) {
      Data row;
      row.set("list_case", result->id);
      row.set("list_kind", Name(result->kind));
      row.set("list_word", result->status == Status::kPassed ? PrettySeconds(result->seconds)
                                                             : result->message.substr(0, result->message.find('\n')));
      rows << row;
    }
    list.set("list_title", title);
    list.set("list_column", column);
    list.set("list_rows", rows);
    return list;
  }

  const HtmlReport& report_;
  const ScoreCard& card_;
  size_t timeline_bytes_ = 0;
};

}  // namespace

std::string ToHtml(const HtmlReport& report) { return Page(report).Render(); }

}  // namespace shardlab
