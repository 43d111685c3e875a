#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "draw_common.hpp"
#include "shardlab/base/svg.hpp"
#include "shardlab/plan/draw.hpp"

namespace shardlab {

namespace {

//   +------------------------------------------------+
//   | title                                          |
//   | figures                              (1) legend|
//   | rank 0  [F0][F1]      [ B0 ]   <> (3)          |
//   |         __--==__  (2)                     live |
//   | rank 1     [F0][F1][ B0 ]                      |
//   |            __--==                              |
//   |         0     5     10    time                 |
//   +------------------------------------------------+
//
// (1) The kinds that occur. (2) Live micro-batches, all ranks on one scale. (3) An optimizer step.

constexpr double kLeft = 64;
constexpr double kRight = 56;
constexpr double kTop = 92;
constexpr double kBar = 26;
constexpr double kLive = 18;
constexpr double kRow = kBar + kLive + 12;
constexpr double kNarrowest = 900;
constexpr double kLetter = 6.6;  // width of one
constexpr double kWidest = 20000;
constexpr double kShortestAction = 22;  // wide enough for two digits

// The colours of the kinds differ in lightness too: they are told apart also by people who do not see red and green
// alike, and on paper without colour.
const char kStyle[] = R"(text{font-size:12px} .lane{fill:#eef1f4} .msg{stroke:#56616c;stroke-opacity:.7}
.live{fill:#aab4be} .step{fill:#1f2933} .X{fill:#6b7783}
.F{fill:#1f5fa8} .B{fill:#5fb383} .I{fill:#5cc0bd} .W{fill:#a65a14} .R{fill:#f2d24b}
.second.F{fill:#86b0e2} .second.B{fill:#b4dcc3} .second.I{fill:#b3e0de} .second.W{fill:#e6bf96} .second.R{fill:#f9eab0}
.F,.B,.I,.W,.R,.X{rx:2px} .l{fill:#0d1b2a;font-size:11px;text-anchor:middle} .version{font-size:8.5px}
.F+.l,.F+.l+.l,.W+.l,.W+.l+.l,.X+.l{fill:#fff} .second+.l,.second+.l+.l{fill:#0d1b2a})";
const char kDarkStyle[] =
    ".lane{fill:#262d35} .msg{stroke:#a3afbb} .live{fill:#55616d} .step{fill:#e6eaee} .F{fill:#2f74c0}";

std::string ClassOf(ActionKind kind) { return IsCompute(kind) ? std::string(Name(kind)) : "X"; }

class SvgPicture {
 public:
  SvgPicture(const Schedule& schedule, const Simulation& simulation)
      : schedule_(schedule), simulation_(simulation), makespan_(std::max(simulation.makespan, 1e-12)) {
    double shortest = makespan_;
    for (const auto& spans : simulation.ranks) {
      for (const Span& span : spans) {
        kinds_.insert(span.action.kind);
        if (span.end > span.begin) shortest = std::min(shortest, span.end - span.begin);
        several_versions_ |= IsCompute(span.action.kind) && span.action.version > 0;
        has_pairs_ |= span.action.opens_pair;
      }
    }
    const double wanted = kLeft + kRight + makespan_ / shortest * kShortestAction;
    width_ = std::clamp(std::ceil(wanted), kNarrowest, kWidest);
    scale_ = std::min((width_ - kLeft - kRight) / makespan_, 60 / shortest);
    full_labels_ = schedule.layout.chunks_per_rank() > 1 && shortest * scale_ > 34;
    height_ = kTop + kRow * static_cast<double>(simulation.ranks.size()) + 34;
  }

  std::string Draw() {
    Head();
    Grid();
    for (size_t rank = 0; rank < simulation_.ranks.size(); ++rank) Row(rank);
    Messages();
    return svg_.File(width_, height_, "The schedule " + schedule_.name, kStyle, kDarkStyle);
  }

 private:
  double X(double time) const { return kLeft + time * scale_; }
  static double Y(size_t rank) { return kTop + kRow * static_cast<double>(rank); }

  // The picture is at least as wide as this text.
  void MakeRoom(double x, const std::string& text) {
    width_ = std::max(width_, std::ceil(x + kLetter * static_cast<double>(text.size()) + 16));
  }

  void Head() {
    svg_.Text("sl-title", 16, 30, schedule_.name);
    const Footprint& keeps = simulation_.footprint;
    const auto largest = [](const std::vector<int>& list) {
      return list.empty() ? 0 : *std::max_element(list.begin(), list.end());
    };
    std::string figures =
        fmt::format("{} \u00b7 makespan {:g} \u00b7 bubble {:.1f} % \u00b7 at most {} live", DescribeSize(schedule_),
                    simulation_.makespan, 100 * simulation_.bubble, largest(keeps.live));
    if (largest(keeps.kept_inputs) > 0) figures += fmt::format(" and {} kept inputs", largest(keeps.kept_inputs));
    if (largest(keeps.versions) > 1)
      figures += fmt::format(" \u00b7 up to {} weight versions", largest(keeps.versions));
    if (!simulation_.messages.empty()) figures += fmt::format(" \u00b7 {} messages", simulation_.messages.size());
    svg_.Text("sl-quiet", 16, 50, figures);
    MakeRoom(16, figures);
    Legend();
  }

  void Legend() {
    double x = 16;
    for (const ActionKind kind : {ActionKind::kForward, ActionKind::kBackward, ActionKind::kBackwardInput,
                                  ActionKind::kBackwardWeight, ActionKind::kRecompute}) {
      if (kinds_.count(kind) == 0) continue;
      svg_.Rect(ClassOf(kind), x, 62, 14, 14);
      svg_.Text("sl-quiet", x + 20, 73, WordOf(kind));
      x += 32 + kLetter * static_cast<double>(std::string(WordOf(kind)).size());
    }
    if (kinds_.count(ActionKind::kStep) > 0) {
      Diamond(x + 6, 69);
      svg_.Text("sl-quiet", x + 18, 73, "step");
      x += 54;
    }
    if (has_pairs_) {
      svg_.Rect("F", x, 62, 14, 6);
      svg_.Rect("B", x, 69, 14, 7);
      svg_.Text("sl-quiet", x + 20, 73, "a pair, at once");
      x += 124;
    }
    svg_.Rect("live", x, 66, 14, 8);
    svg_.Text("sl-quiet", x + 20, 73, "live micro-batches");
    x += 146;
    if (std::any_of(simulation_.messages.begin(), simulation_.messages.end(), TakesTime)) {
      svg_.Path("msg", SvgPath("M", x, 62, "L", x + 8, 76));
      svg_.Text("sl-quiet", x + 14, 73, "message");
      x += 82;
    }
    std::string words = full_labels_ ? "0F1: chunk 0, micro-batch 1" : "number: micro-batch";
    if (several_versions_) words += " \u00b7 v: weight version";
    if (schedule_.layout.chunks_per_rank() > 1) {
      words += schedule_.layout.chunks_per_rank() == 2 ? " \u00b7 paler: a rank's second chunk"
                                                       : " \u00b7 paler: every second chunk of a rank";
    }
    svg_.Text("sl-quiet", x, 73, words);
    MakeRoom(x, words);
  }

  static bool TakesTime(const MessageSpan& message) { return message.end > message.begin; }

  void Diamond(double x, double y) { svg_.Path("step", SvgPath("M", x, y - 5, "l4 5l-4 5l-4 -5z")); }

  void Grid() {
    const double bottom = Y(simulation_.ranks.size());
    const double tick = NiceStep(80 / scale_);  // pixels
    for (int k = 0; static_cast<double>(k) * tick <= makespan_ * (1 + 1e-9); ++k) {
      const double x = X(k * tick);
      svg_.Path("sl-grid", SvgPath("M", x, kTop - 6, "V", bottom));
      svg_.Text("sl-quiet", x, bottom + 16, fmt::format("{:g}", k * tick), Anchor::kMiddle);
    }
    svg_.Text("sl-quiet", kLeft - 14, bottom + 16, "time", Anchor::kEnd);
  }

  void Row(size_t rank) {
    const double y = Y(rank);
    svg_.Text("", kLeft - 10, y + kBar * 0.68, fmt::format("rank {}", rank), Anchor::kEnd);
    svg_.Rect("lane", kLeft, y, makespan_ * scale_, kBar);
    const auto& spans = simulation_.ranks[rank];
    for (size_t k = 0; k < spans.size(); ++k) {
      if (spans[k].end <= spans[k].begin) continue;
      // Of a pair the forward is above and the backward below.
      const bool below = ClosesPair(spans, k);
      const bool above = k + 1 < spans.size() && ClosesPair(spans, k + 1);
      const double half = kBar / 2;
      Bar(spans[k], below ? y + half : y, above ? half - 1 : below ? half : kBar);
    }
    for (const Span& span : simulation_.ranks[rank]) {
      if (span.action.kind == ActionKind::kStep) Diamond(X(span.end), y + kBar + 1);
    }
    Live(rank, y + kBar + 4);
  }

  void Bar(const Span& span, double y, double high) {
    const Action& action = span.action;
    const double x = X(span.begin);
    const double wide = (span.end - span.begin) * scale_;
    const double gap = wide > 6 ? 1 : 0;
    const char* second = VisitOf(schedule_.layout, action.chunk) % 2 == 1 ? " second" : "";
    svg_.OpenGroup("", fmt::format("{}: {:g} to {:g}", ToString(action), span.begin, span.end));
    svg_.Rect(ClassOf(action.kind) + second, x, y, wide - gap, high);
    std::string label = IsCompute(action.kind) ? std::to_string(action.microbatch) : std::string(Name(action.kind));
    if (full_labels_ && IsCompute(action.kind)) label = ToString({action.kind, action.chunk, action.microbatch});
    const bool versions = several_versions_ && IsCompute(action.kind) && high == kBar;
    if (wide >= 6.4 * static_cast<double>(label.size()) + 3) {
      const double middle = x + (wide - gap) / 2;
      svg_.Text("l", middle, y + (versions ? kBar / 2 : high / 2 + 4), label);
      if (versions) svg_.Text("l version", middle, y + 23, fmt::format("v{}", action.version));
    }
    svg_.CloseGroup();
  }

  // A staircase, all ranks on the scale of the one that keeps most.
  void Live(size_t rank, double y) {
    const auto& live = simulation_.footprint.live;
    const int most = std::max(1, *std::max_element(live.begin(), live.end()));
    const double bottom = y + kLive;
    const auto height = [&](int count) { return bottom - (kLive - 2) * count / most; };
    std::string path = SvgPath("M", kLeft, bottom);
    int now = 0;
    for (const auto& [time, count] : LiveOverTime(schedule_, simulation_.ranks[rank])) {
      path += SvgPath("H", X(time), "V", height(count));
      now = count;
    }
    svg_.Path("live", path + SvgPath("H", now > 0 ? X(makespan_) : kLeft, "V", bottom, "Z"));
    svg_.Text("sl-quiet", kLeft + makespan_ * scale_ + 8, bottom, fmt::format("max {}", live[rank]));
  }

  void Messages() {
    for (const MessageSpan& message : simulation_.messages) {
      if (!TakesTime(message)) continue;
      const bool down = message.to > message.from;
      const double from = Y(static_cast<size_t>(message.from)) + (down ? kBar : 0);
      const double to = Y(static_cast<size_t>(message.to)) + (down ? 0 : kBar);
      svg_.Path("msg", SvgPath("M", X(message.begin), from, "L", X(message.end), to),
                fmt::format("{}: {:g} to {:g}", ToString(message.send), message.begin, message.end));
    }
  }

  const Schedule& schedule_;
  const Simulation& simulation_;
  const double makespan_;
  std::set<ActionKind> kinds_;
  double width_ = 0;
  double height_ = 0;
  double scale_ = 1;
  bool several_versions_ = false;
  bool has_pairs_ = false;
  bool full_labels_ = false;  // with chunk and kind, not the micro-batch alone
  Svg svg_;
};

}  // namespace

std::string DrawSvg(const Schedule& schedule, const Simulation& simulation) {
  return SvgPicture(schedule, simulation).Draw();
}

}  // namespace shardlab
