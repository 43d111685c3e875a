#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "draw_common.hpp"
#include "shardlab/base/xml.hpp"
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
const char kStyle[] = R"(<style>
  .page{fill:#fff} .lane{fill:#eef1f4} .t{fill:#1f2933} .q{fill:#56616c} .grid{stroke:#d9dee3} .msg{stroke:#56616c}
  .live{fill:#aab4be} .step{fill:#1f2933} .X{fill:#6b7783}
  .F{fill:#1f5fa8} .B{fill:#5fb383} .I{fill:#5cc0bd} .W{fill:#a65a14} .R{fill:#f2d24b}
  .second.F{fill:#86b0e2} .second.B{fill:#b4dcc3} .second.I{fill:#b3e0de} .second.W{fill:#e6bf96} .second.R{fill:#f9eab0}
  .l{fill:#0d1b2a} .F+.l,.F+.l+.l,.W+.l,.W+.l+.l,.X+.l{fill:#fff} .second+.l,.second+.l+.l{fill:#0d1b2a}
  @media (prefers-color-scheme:dark){
    .page{fill:#14181d} .lane{fill:#262d35} .t{fill:#e6eaee} .q{fill:#a3afbb} .grid{stroke:#353d46} .msg{stroke:#a3afbb}
    .live{fill:#55616d} .step{fill:#e6eaee} .F{fill:#2f74c0}
  }
  text{font:12px system-ui,"DejaVu Sans",sans-serif} .title{font-size:17px;font-weight:600}
  .l{font-size:11px;text-anchor:middle} .version{font-size:8.5px} .end{text-anchor:end} .mid{text-anchor:middle}
</style>
)";

const char* ClassOf(ActionKind kind) {
  switch (kind) {
    case ActionKind::kForward:
      return "F";
    case ActionKind::kBackward:
      return "B";
    case ActionKind::kBackwardInput:
      return "I";
    case ActionKind::kBackwardWeight:
      return "W";
    case ActionKind::kRecompute:
      return "R";
    default:
      return "X";
  }
}

class SvgPicture {
 public:
  SvgPicture(const Schedule& schedule, const Simulation& simulation)
      : schedule_(schedule), simulation_(simulation), makespan_(std::max(simulation.makespan, 1e-12)) {
    double shortest = makespan_;
    for (const auto& spans : simulation.ranks) {
      for (const Span& span : spans) {
        if (span.end > span.begin) shortest = std::min(shortest, span.end - span.begin);
        several_versions_ |= IsCompute(span.action.kind) && span.action.version > 0;
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
    return Open() + out_ + "</svg>\n";
  }

 private:
  double X(double time) const { return kLeft + time * scale_; }
  static double Y(size_t rank) { return kTop + kRow * static_cast<double>(rank); }

  template <typename... Values>
  void Add(const char* format, const Values&... values) {
    out_ += fmt::format(fmt::runtime(format), values...);
  }

  // Last, when everything is placed and the width is known.
  std::string Open() const {
    return fmt::format(
               R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0:g} {1:g}" width="{0:g}" height="{1:g}" role="img">)"
               "\n",
               width_, height_) +
           kStyle +
           R"(<rect class="page" width="100%" height="100%"/>)"
           "\n";
  }

  // The picture is at least as wide as this text.
  void MakeRoom(double x, const std::string& text) {
    width_ = std::max(width_, std::ceil(x + kLetter * static_cast<double>(text.size()) + 16));
  }

  void Head() {
    Add(R"(<text class="t title" x="{:g}" y="30">{}</text>)"
        "\n",
        16.0, EscapeXml(schedule_.name));
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
    Add(R"(<text class="q" x="16" y="50">{}</text>)"
        "\n",
        EscapeXml(figures));
    MakeRoom(16, figures);
    Legend();
  }

  void Legend() {
    struct Entry {
      ActionKind kind;
      const char* word;
    };
    double x = 16;
    for (const Entry& entry : {Entry{ActionKind::kForward, "forward"}, Entry{ActionKind::kBackward, "backward"},
                               Entry{ActionKind::kBackwardInput, "gradient of the input"},
                               Entry{ActionKind::kBackwardWeight, "gradient of the weights"},
                               Entry{ActionKind::kRecompute, "recomputation"}}) {
      if (!Occurs(entry.kind)) continue;
      Add(R"(<rect class="{}" x="{:g}" y="62" width="14" height="14" rx="2"/><text class="q" x="{:g}" y="73">{}</text>)"
          "\n",
          ClassOf(entry.kind), x, x + 20, entry.word);
      x += 32 + kLetter * static_cast<double>(std::string(entry.word).size());
    }
    if (Occurs(ActionKind::kStep)) {
      Diamond(x + 6, 69);
      Add(R"(<text class="q" x="{:g}" y="73">step</text>)"
          "\n",
          x + 18);
      x += 54;
    }
    Add(R"(<rect class="live" x="{:g}" y="66" width="14" height="8"/><text class="q" x="{:g}" y="73">live micro-batches</text>)"
        "\n",
        x, x + 20);
    x += 146;
    if (std::any_of(simulation_.messages.begin(), simulation_.messages.end(), TakesTime)) {
      Add(R"(<line class="msg" x1="{:g}" y1="62" x2="{:g}" y2="76"/><text class="q" x="{:g}" y="73">message</text>)"
          "\n",
          x, x + 8, x + 14);
      x += 82;
    }
    std::string words = full_labels_ ? "0F1: chunk 0, micro-batch 1" : "number: micro-batch";
    if (several_versions_) words += " \u00b7 v: weight version";
    if (schedule_.layout.chunks_per_rank() > 1) {
      words += schedule_.layout.chunks_per_rank() == 2 ? " \u00b7 paler: a rank's second chunk"
                                                       : " \u00b7 paler: every second chunk of a rank";
    }
    Add(R"(<text class="q" x="{:g}" y="73">{}</text>)"
        "\n",
        x, words);
    MakeRoom(x, words);
  }

  static bool TakesTime(const MessageSpan& message) { return message.end > message.begin; }

  bool Occurs(ActionKind kind) const {
    for (const auto& spans : simulation_.ranks) {
      for (const Span& span : spans) {
        if (span.action.kind == kind) return true;
      }
    }
    return false;
  }

  void Diamond(double x, double y) { Add(R"(<path class="step" d="M{:g} {:g}l4 5l-4 5l-4 -5z"/>)", x, y - 5); }

  void Grid() {
    const double bottom = Y(simulation_.ranks.size());
    const double tick = NiceTick(80 / scale_);  // pixels
    for (int k = 0; static_cast<double>(k) * tick <= makespan_ * (1 + 1e-9); ++k) {
      const double x = X(k * tick);
      Add(R"(<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1:g}" y2="{2:g}"/>)", x, kTop - 6, bottom);
      Add(R"(<text class="q mid" x="{:.1f}" y="{:g}">{:g}</text>)"
          "\n",
          x, bottom + 16, k * tick);
    }
    Add(R"(<text class="q end" x="{:g}" y="{:g}">time</text>)"
        "\n",
        kLeft - 14, bottom + 16);
  }

  void Row(size_t rank) {
    const double y = Y(rank);
    Add(R"(<text class="t end" x="{:g}" y="{:g}">rank {}</text>)"
        "\n",
        kLeft - 10, y + kBar * 0.68, rank);
    Add(R"(<rect class="lane" x="{:g}" y="{:g}" width="{:.1f}" height="{:g}"/>)"
        "\n",
        kLeft, y, makespan_ * scale_, kBar);
    for (const Span& span : simulation_.ranks[rank]) {
      if (span.end > span.begin) Bar(span, y);
    }
    for (const Span& span : simulation_.ranks[rank]) {
      if (span.action.kind == ActionKind::kStep) {
        Diamond(X(span.end), y + kBar + 1);
        out_ += "\n";
      }
    }
    Live(rank, y + kBar + 4);
  }

  void Bar(const Span& span, double y) {
    const Action& action = span.action;
    const double x = X(span.begin);
    const double wide = (span.end - span.begin) * scale_;
    const double gap = wide > 6 ? 1 : 0;
    const char* second = VisitOf(schedule_.layout, action.chunk) % 2 == 1 ? " second" : "";
    Add(R"(<g><title>{}: {:g} to {:g}</title><rect class="{}{}" x="{:.1f}" y="{:g}" width="{:.1f}" height="{:g}" rx="2"/>)",
        ToString(action), span.begin, span.end, ClassOf(action.kind), second, x, y, wide - gap, kBar);
    std::string label = IsCompute(action.kind) ? std::to_string(action.microbatch) : std::string(Name(action.kind));
    if (full_labels_ && IsCompute(action.kind)) label = ToString({action.kind, action.chunk, action.microbatch});
    const bool versions = several_versions_ && IsCompute(action.kind);
    if (wide >= 6.4 * static_cast<double>(label.size()) + 3) {
      Add(R"(<text class="l" x="{:.1f}" y="{:g}">{}</text>)", x + (wide - gap) / 2, y + (versions ? 13 : 17), label);
      if (versions) {
        Add(R"(<text class="l version" x="{:.1f}" y="{:g}">v{}</text>)", x + (wide - gap) / 2, y + 23, action.version);
      }
    }
    out_ += "</g>\n";
  }

  // A staircase, all ranks on the scale of the one that keeps most.
  void Live(size_t rank, double y) {
    const auto& live = simulation_.footprint.live;
    const int most = std::max(1, *std::max_element(live.begin(), live.end()));
    const double bottom = y + kLive;
    const auto height = [&](int count) { return bottom - (kLive - 2) * count / most; };
    std::string path = fmt::format("M{:g} {:g}", kLeft, bottom);
    int now = 0;
    for (const auto& [time, count] : LiveOverTime(schedule_, simulation_.ranks[rank])) {
      path += fmt::format("H{:.1f}V{:.1f}", X(time), height(count));
      now = count;
    }
    path += fmt::format("H{:.1f}V{:g}Z", now > 0 ? X(makespan_) : kLeft, bottom);
    Add(R"(<path class="live" d="{}"/><text class="q" x="{:g}" y="{:g}">max {}</text>)"
        "\n",
        path, kLeft + makespan_ * scale_ + 8, bottom, live[rank]);
  }

  void Messages() {
    for (const MessageSpan& message : simulation_.messages) {
      if (!TakesTime(message)) continue;
      const bool down = message.to > message.from;
      const double from = Y(static_cast<size_t>(message.from)) + (down ? kBar : 0);
      const double to = Y(static_cast<size_t>(message.to)) + (down ? 0 : kBar);
      Add(R"(<line class="msg" stroke-opacity=".55" x1="{:.1f}" y1="{:g}" x2="{:.1f}" y2="{:g}"><title>{}: {:g} to {:g}</title></line>)"
          "\n",
          X(message.begin), from, X(message.end), to, ToString(message.send), message.begin, message.end);
    }
  }

  const Schedule& schedule_;
  const Simulation& simulation_;
  const double makespan_;
  double width_ = 0;
  double height_ = 0;
  double scale_ = 1;
  bool several_versions_ = false;
  bool full_labels_ = false;  // with chunk and kind, not the micro-batch alone
  std::string out_;
};

}  // namespace

std::string DrawSvg(const Schedule& schedule, const Simulation& simulation) {
  return SvgPicture(schedule, simulation).Draw();
}

}  // namespace shardlab
