#include "shardlab/report/score_card_text.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "words.hpp"

namespace shardlab {

using grade::CaseResult;
using grade::Status;

namespace {

class CardWriter {
 public:
  CardWriter(const Terminal& terminal, const CardTextOptions& options) : terminal_(terminal), options_(options) {}

  void Module(const ModuleScore& module) {
    const std::string points = PointsText(module.score, module.max, module.bonus, module.bonus_max);
    const size_t room = terminal_.width - std::min(terminal_.width, module.id.size() + points.size() + 4);
    const std::string title = Shorten(module.title, room, terminal_);
    const std::string left = fmt::format("{}  {}", Paint(module.id, Tone::kStrong, terminal_), title);
    Line(Spread(left, Paint(points, Tone::kStrong, terminal_)));
    Rule();
    Columns columns;
    for (const PartScore& part : module.parts) {
      columns.id = std::max(columns.id, ShortId(part).size());
      columns.points = std::max(columns.points, PartPoints(part).size());
    }
    for (const PartScore& part : module.parts) Part(part, columns);
    Line("");
  }

  void Totals(const ScoreCard& card) {
    Rule();
    const bool all = card.AllPassed();
    const std::string points = PointsText(card.Score(), card.Max(), card.Bonus(), card.BonusMax());
    const std::string left = Paint("Total  " + points, all ? Tone::kGood : Tone::kStrong, terminal_);
    const std::string right = fmt::format("{}, seed {}, {}", card.flavour, card.seed, PrettySeconds(card.seconds));
    Line(Spread(left, Paint(right, Tone::kQuiet, terminal_)));
    for (const std::string& line : Wrap(Next(card), terminal_.width)) Line(line);
  }

  std::string Text() const { return text_; }

 private:
  struct Columns {
    size_t id = 0;
    size_t points = 0;
  };

  static std::string ShortId(const PartScore& part) { return part.id.substr(part.id.find('.') + 1); }

  static std::string PartPoints(const PartScore& part) {
    return fmt::format("{} of {}", PrettyPoints(part.score), PrettyPoints(part.max));
  }

  void Line(const std::string& line) { text_ += line + "\n"; }

  void Rule() {
    std::string rule;
    for (size_t i = 0; i < terminal_.width; ++i) rule += terminal_.unicode ? "─" : "-";
    Line(Paint(rule, Tone::kQuiet, terminal_));
  }

  /// `left` at the left edge and `right` at the right one.
  std::string Spread(const std::string& left, const std::string& right) const {
    if (right.empty()) return left;
    const size_t used = DisplayWidth(left) + DisplayWidth(right);
    return left + std::string(used + 2 <= terminal_.width ? terminal_.width - used : 2, ' ') + right;
  }

  void Part(const PartScore& part, const Columns& columns) {
    const Tone tone = ToneOf(part.status);
    std::string status = Name(part.status);
    if (part.bonus) status = "bonus, " + status;
    const std::string left = fmt::format("{} {}  {}  ", Paint(Mark(part.status, terminal_), tone, terminal_),
                                         Paint(PadRight(ShortId(part), columns.id), Tone::kStrong, terminal_),
                                         PadRight(PartPoints(part), columns.points));
    const size_t used = DisplayWidth(left) + status.size() + 2;
    const std::string title = used < terminal_.width ? Shorten(part.title, terminal_.width - used, terminal_) : "";
    Line(Spread(left + title, Paint(status, tone, terminal_)));
    if (part.status != Status::kPassed) {
      Reason(part);
      for (const std::string& line : MissingPoints(part)) Indented(line, Tone::kAccent);
    }
    Costs(part);
  }

  /// Why the part is not passed: an entry a broken function, then the cases that fail besides.
  void Reason(const PartScore& part) {
    size_t shown = 0;
    std::string not_written;
    for (const Finding& finding : part.findings) {
      const CaseResult& result = part.cases[finding.shown_by];
      if (!finding.written) {
        // Where the first one is, the stub says.
        not_written += not_written.empty() ? FirstStub(result.message, finding.function) : ", " + finding.function;
        continue;
      }
      const std::string function =
          finding.function.empty() ? "" : Paint(finding.function, Tone::kStrong, terminal_) + ": ";
      const std::string of_case = fmt::format("{} ({} case)", result.id, Name(result.kind));
      Indented(function + Paint(of_case, Tone::kQuiet, terminal_), Tone::kPlain);
      Shortened(result.message, shown++ == 0 ? options_.reason_lines : options_.further_reason_lines,
                fmt::format("./lab grade {} --case {}", part.id, result.id));
    }
    if (!not_written.empty()) Indented("not written yet: " + not_written, Tone::kPlain);
    if (part.findings.empty()) {
      Shortened(part.reason.empty() ? Name(part.status) : part.reason, options_.reason_lines, "--json FILE");
    }
    OtherFailures(part);
  }

  /// "RingAllGather (exercises/communication/ring_all_gather.cpp)", as the stub's message names it.
  static std::string FirstStub(const std::string& message, const std::string& function) {
    const size_t begin = message.find(function + " (");
    const size_t end = begin == std::string::npos ? begin : message.find(')', begin);
    return end == std::string::npos ? function : message.substr(begin, end + 1 - begin);
  }

  /// At most `most` lines; `whole` is what shows all of them.
  void Shortened(const std::string& text, size_t most, const std::string& whole) {
    std::vector<std::string> lines = Wrap(text, terminal_.width - kIndent);
    while (!lines.empty() && lines.back().find_first_not_of(' ') == std::string::npos) lines.pop_back();
    const size_t shown = lines.size() > most ? most - 1 : lines.size();
    for (size_t i = 0; i < shown; ++i) Indented(lines[i], Tone::kPlain);
    if (shown < lines.size()) {
      Indented(fmt::format("({} more lines: {})", lines.size() - shown, whole), Tone::kQuiet);
    }
  }

  /// One line that names what fails besides the cases above, the ranks of a case together.
  void OtherFailures(const PartScore& part) {
    std::vector<std::pair<std::string, std::string>> others;  // a case's name, and its ranks
    for (size_t i = 0; i < part.cases.size(); ++i) {
      const CaseResult& result = part.cases[i];
      const bool failed = result.status != Status::kPassed && result.status != Status::kSkipped &&
                          result.status != Status::kNotImplemented && result.status != Status::kDoesNotCompile;
      const bool shown = std::any_of(part.findings.begin(), part.findings.end(),
                                     [&](const Finding& finding) { return finding.shown_by == i; });
      if (!failed || shown) continue;
      const std::string name = BaseName(result.id), end = result.id.substr(name.size());
      const std::string ranks = "/ranks=";
      if (others.empty() || others.back().first != name) {
        others.emplace_back(name, end);
      } else if (end.compare(0, ranks.size(), ranks) == 0) {
        others.back().second += "," + end.substr(ranks.size());
      }
    }
    if (others.empty() || part.findings.empty()) return;
    std::string line;
    for (const auto& [name, ranks] : others) line += (line.empty() ? "" : ", ") + name + ranks;
    Indented(fmt::format("failing too: {} (./lab grade {} --case NAME shows one)", line, part.id), Tone::kQuiet);
  }

  /// A case's figure beside its target, of the same case on several numbers of ranks the last one; one that misses its
  /// target is shown rather than one that meets it, but for the cases whose own words stand above. A case that failed for
  /// another reason may have met its target.
  void Costs(const PartScore& part) {
    const auto missed = [](const CaseResult& result) { return result.status == Status::kFailed && !Met(result); };
    for (size_t i = 0; i < part.cases.size(); ++i) {
      const CaseResult& result = part.cases[i];
      const bool failed = missed(result);
      const bool judged = result.status == Status::kPassed || result.status == Status::kFailed;
      if (!result.has_figure || !judged) continue;
      const bool shown = std::any_of(part.findings.begin(), part.findings.end(),
                                     [&](const Finding& finding) { return finding.shown_by == i; });
      if (failed && shown) continue;
      const bool better = std::any_of(part.cases.begin(), part.cases.end(), [&](const CaseResult& other) {
        if (!other.has_figure || BaseName(other.id) != BaseName(result.id)) return false;
        const bool other_failed = missed(other);
        if (other_failed != failed) return other_failed;
        const bool other_judged = other.status == Status::kPassed || other.status == Status::kFailed;
        return other_judged && &other > &result;
      });
      if (better) continue;
      const bool exact = result.measured == result.target;
      Indented(fmt::format("{}{}: {}, target {}{}{}", failed ? "x " : "", result.id,
                           PrettyAmount(result.measured, result.unit), exact || failed ? "" : "at most ",
                           PrettyNumber(result.target), Formula(result)),
               failed ? Tone::kBad : Tone::kQuiet);
    }
  }

  /// What the evidence says of the figure that the result has; null if nothing.
  static const nlohmann::json* FigureOf(const CaseResult& result) {
    const auto figures = result.evidence.find("figures");
    if (figures == result.evidence.end() || !figures->is_array()) return nullptr;
    for (const auto& figure : *figures) {
      if (figure.value("measured", 0.0) == result.measured && figure.value("target", 0.0) == result.target &&
          figure.value("unit", "") == result.unit) {
        return &figure;
      }
    }
    return nullptr;
  }

  static bool Met(const CaseResult& result) {
    const nlohmann::json* figure = FigureOf(result);
    return figure ? figure->value("met", false) : result.measured == result.target;
  }

  /// " = 2(T - 1) * S", where the figure's name has one: "bytes in all: 2(T - 1) * S".
  static std::string Formula(const CaseResult& result) {
    const nlohmann::json* figure = FigureOf(result);
    const std::string what = figure ? figure->value("what", "") : "";
    const size_t colon = what.find(": ");
    return colon == std::string::npos ? "" : " = " + what.substr(colon + 2);
  }

  std::string Next(const ScoreCard& card) const {
    if (!options_.next.empty()) return options_.next;
    const PartScore* next = NextPart(card);
    if (!next) return card.AllPassed() ? "Everything that was asked for has passed." : "";
    return fmt::format("Next: {}\n      {}", Paint(next->id, Tone::kStrong, terminal_),
                       Paint("./lab hint " + next->id, Tone::kAccent, terminal_));
  }

  void Indented(const std::string& text, Tone tone) {
    for (const std::string& line : Wrap(text, terminal_.width - kIndent)) {
      Line(std::string(kIndent, ' ') + Paint(line, tone, terminal_));
    }
  }

  static constexpr size_t kIndent = 4;

  const Terminal& terminal_;
  const CardTextOptions& options_;
  std::string text_;
};

}  // namespace

std::string Mark(Status status, const Terminal& terminal) {
  switch (status) {
    case Status::kPassed:
      return terminal.unicode ? "✔" : "+";
    case Status::kNotImplemented:
      return terminal.unicode ? "○" : "o";
    case Status::kSkipped:
      return terminal.unicode ? "·" : "-";
    default:
      return terminal.unicode ? "✘" : "x";
  }
}

Tone ToneOf(Status status) {
  switch (status) {
    case Status::kPassed:
      return Tone::kGood;
    case Status::kNotImplemented:
      return Tone::kWarning;
    case Status::kSkipped:
      return Tone::kQuiet;
    default:
      return Tone::kBad;
  }
}

std::string PointsText(double score, double max, double bonus, double bonus_max) {
  std::string text = max > 0 ? fmt::format("{} of {}", PrettyPoints(score), PrettyPoints(max)) : "";
  if (bonus_max > 0) {
    text += fmt::format("{}bonus {} of {}", text.empty() ? "" : ", ", PrettyPoints(bonus), PrettyPoints(bonus_max));
  }
  return text;
}

const PartScore* NextPart(const ScoreCard& card) {
  for (const bool bonus : {false, true}) {
    for (const bool waiting : {false, true}) {  // a skipped part waits for another, unless nothing else is left
      for (const ModuleScore& module : card.modules) {
        for (const PartScore& part : module.parts) {
          if (part.bonus != bonus || part.status == Status::kPassed) continue;
          if ((part.status == Status::kSkipped) == waiting) return &part;
        }
      }
    }
  }
  return nullptr;
}

std::string RenderScoreCard(const ScoreCard& card, const Terminal& terminal, const CardTextOptions& options) {
  CardWriter writer(terminal, options);
  for (const ModuleScore& module : card.modules) writer.Module(module);
  writer.Totals(card);
  return writer.Text();
}

}  // namespace shardlab
