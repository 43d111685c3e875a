#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "shardlab/base/svg.hpp"
#include "shardlab/report/timeline.hpp"

namespace shardlab {

using grade::Status;

namespace {

//           left                                          right
//   +--------|---------------------------------------------|---+
//   |        (1) legend                                        |
//   | rank 0 |####--------|=====Send=====|-----------------| . |   (2) lanes: the ground is computing
//   |        |             \                                   |   (3) messages
//   | rank 1 |--------|==Recv=============|----            |   |
//   |        0      0.2 ms     ~ 9 ms later ~     9.4 ms       |   (4) time, with what was cut out
//   +----------------------------------------------------------+

constexpr double kWidth = 960, kLeft = 92, kRight = kWidth - 14, kTop = 34;
constexpr double kRankRow = 34, kBar = 20, kAxis = 30;
constexpr double kCut = 74;           // pixels that a stretch cut out takes
constexpr size_t kMaxArrows = 400;    // more hide what they point at
constexpr double kLetterWidth = 6.1;  // width of a letter in a bar

/// Time to pixels, with the long stretches in which nothing happens cut out.
class TimeAxis {
 public:
  explicit TimeAxis(std::vector<double> times) {
    std::sort(times.begin(), times.end());
    times.erase(std::unique(times.begin(), times.end()), times.end());
    if (times.empty()) times = {0};
    begin_ = times.front();
    end_ = std::max(times.back(), begin_ + 1);
    // The longest stretch is cut while it is more than a third of what is left: then it says nothing but its length.
    double left = end_ - begin_;
    std::vector<Cut> gaps;
    for (size_t i = 0; i + 1 < times.size(); ++i) gaps.push_back({times[i], times[i + 1]});
    std::sort(gaps.begin(), gaps.end(), [](const Cut& a, const Cut& b) { return a.length() > b.length(); });
    for (const Cut& gap : gaps) {
      if (cuts_.size() == kMaxCuts || gaps.size() < 4 || gap.length() <= left / 3) break;
      cuts_.push_back(gap);
      left -= gap.length();
    }
    // Room at the end, so that what never ended can be seen to go on.
    const double room = std::max(5.0, 0.06 * left);
    end_ += room;
    left += room;
    std::sort(cuts_.begin(), cuts_.end(), [](const Cut& a, const Cut& b) { return a.from < b.from; });
    scale_ = (kRight - kLeft - kCut * static_cast<double>(cuts_.size())) / left;
  }

  struct Cut {
    double from = 0, to = 0;
    double length() const { return to - from; }
  };

  double Pixel(double time) const {
    double x = kLeft, from = begin_;
    for (const Cut& cut : cuts_) {
      if (time <= cut.from) break;
      x += (cut.from - from) * scale_;
      if (time < cut.to) return x + kCut * (time - cut.from) / cut.length();
      x += kCut;
      from = cut.to;
    }
    return std::min(x + (time - from) * scale_, kRight);
  }

  const std::vector<Cut>& cuts() const { return cuts_; }
  double begin() const { return begin_; }
  double end() const { return end_; }
  double scale() const { return scale_; }

 private:
  static constexpr size_t kMaxCuts = 3;
  double begin_ = 0, end_ = 1, scale_ = 1;
  std::vector<Cut> cuts_;
};

std::string Duration(double us) {
  if (us < 1000) return fmt::format("{:.3g} µs", us);
  if (us < 1e6) return fmt::format("{:.3g} ms", us / 1e3);
  return fmt::format("{:.4g} s", us / 1e6);
}

/// A time on the axis, with as many decimals as tell it from its neighbours `step` away.
std::string TickText(double us, double step) {
  if (us == 0) return "0";
  const double unit = us < 1000 ? 1 : us < 1e6 ? 1e3 : 1e6;
  return fmt::format("{:.{}f} {}", us / unit, DecimalsFor(step / unit), unit == 1 ? "µs" : unit == 1e3 ? "ms" : "s");
}

const char* Colour(OpKind op) { return op == OpKind::kSend ? "tl-send" : op == OpKind::kRecv ? "tl-recv" : "tl-coll"; }

std::vector<double> Times(const Timeline& timeline) {
  std::vector<double> times;
  for (const TimelineSpan& span : timeline.spans) {
    times.push_back(span.posted_us);
    if (span.waits()) times.push_back(span.blocked_us);
    if (span.ended()) times.push_back(span.ended_us);
  }
  for (const TimelineMark& mark : timeline.marks) times.push_back(mark.time_us);
  for (const TimelineRank& rank : timeline.ranks) {
    if (rank.last_us >= 0) times.push_back(rank.last_us);
  }
  return times;
}

class Drawing {
 public:
  Drawing(const Timeline& timeline, const std::string& label)
      : timeline_(timeline), label_(label), axis_(Times(timeline)) {
    for (size_t r = 0; r < timeline.ranks.size(); ++r) {
      for (int thread = 0; thread < std::min(timeline.ranks[r].threads, kMaxThreads); ++thread) {
        const auto row = static_cast<double>(rows_.size());
        rows_[{static_cast<int>(r), thread}] = kTop + kRankRow * row;
      }
    }
    bottom_ = kTop + kRankRow * static_cast<double>(rows_.size());
  }

  std::string Draw() {
    Legend();
    Axis();
    Lanes();
    for (const TimelineSpan& span : timeline_.spans) Span(span);
    if (timeline_.messages.size() <= kMaxArrows) {
      for (const TimelineMessage& message : timeline_.messages) Message(message);
    }
    for (const TimelineMark& mark : timeline_.marks) Mark(mark);
    Cuts();
    svg_.Append(words_);
    return svg_.Inline("timeline", kWidth, bottom_ + kAxis, Summary());
  }

 private:
  static constexpr int kMaxThreads = 4;  // a hostile rank may announce thousands

  /// What a screen reader says: the picture in a sentence, and each rank's end.
  std::string Summary() const {
    std::string text = fmt::format("{}: {} operations and {} messages in {}.", label_, timeline_.spans.size(),
                                   timeline_.messages.size(), Duration(axis_.end() - axis_.begin()));
    for (size_t r = 0; r < timeline_.ranks.size(); ++r) text += fmt::format(" Rank {} {}.", r, End(r));
    return text;
  }

  std::string End(size_t rank) const {
    const TimelineRank& end = timeline_.ranks[rank];
    if (end.returned) return "returned";
    for (auto span = timeline_.spans.rbegin(); span != timeline_.spans.rend(); ++span) {
      if (span->rank == static_cast<int>(rank) && span->waits() && !span->ended()) return "waits in " + span->what;
    }
    return end.status == Status::kPassed || end.status == Status::kSkipped ? "was ended" : Name(end.status);
  }

  void Legend() {
    double x = kLeft;
    const auto entry = [&](const char* classes, const char* text, double height) {
      svg_.Rect(classes, x, 12 - height / 2, 18, height);
      svg_.Text("tl-text", x + 23, 16, text);
      x += 23 + 6.6 * static_cast<double>(std::string(text).size()) + 18;
    };
    entry("tl-lane", "computes", 12);
    const auto any = [&](bool (*is)(const TimelineSpan&)) {
      return std::any_of(timeline_.spans.begin(), timeline_.spans.end(), is);
    };
    if (any([](const TimelineSpan& s) { return s.op == OpKind::kSend; })) entry("tl-send", "waits in a send", 12);
    if (any([](const TimelineSpan& s) { return s.op == OpKind::kRecv; })) entry("tl-recv", "waits in a receive", 12);
    if (any([](const TimelineSpan& s) { return IsCollective(s.op); })) entry("tl-coll", "waits in a collective", 12);
    if (any(Flies)) entry("tl-flight", "under way", 3);
    if (any(Stuck)) entry("tl-stuck", "fails or never ends", 12);
  }

  void Axis() {
    const double begin = axis_.begin();
    const double step = NiceStep(90 / axis_.scale());
    const auto tick = [&](double time) {
      const double x = axis_.Pixel(begin + time);
      svg_.Path("tl-grid", SvgPath("M", x, kTop - 4, "V", bottom_ + 3));
      svg_.Text("tl-text tl-quiet", x, bottom_ + 18, TickText(time, step), Anchor::kMiddle);
    };
    double from = begin;
    const auto ticks_until = [&](double to, double margin) {  // margin: room for the words at a cut
      for (double i = std::ceil((from - begin) / step); begin + i * step <= to; ++i) {
        const double x = axis_.Pixel(begin + i * step);
        if (x <= axis_.Pixel(to) - margin && (from == begin || x >= axis_.Pixel(from) + 60)) tick(i * step);
      }
    };
    for (const TimeAxis::Cut& cut : axis_.cuts()) {
      ticks_until(cut.from, 60);
      const double x = (axis_.Pixel(cut.from) + axis_.Pixel(cut.to)) / 2;
      svg_.Text("tl-text tl-quiet", x, bottom_ + 18, Duration(cut.length()) + " cut", Anchor::kMiddle);
      from = cut.to;
    }
    ticks_until(axis_.end(), 0);
  }

  void Lanes() {
    for (const auto& [key, y] : rows_) {
      const auto [rank, thread] = key;
      const TimelineRank& of = timeline_.ranks[static_cast<size_t>(rank)];
      svg_.Text(thread == 0 ? "tl-text tl-name" : "tl-text tl-quiet", kLeft - 10, y + kRankRow / 2 + 4.5,
                thread == 0 ? fmt::format("rank {}", rank) : fmt::format("helper {}", thread), Anchor::kEnd);
      const bool silent = of.first_us < 0;
      if (silent) words_.Text("tl-text tl-quiet", kLeft + 18, y + kRankRow / 2 + 4, "called nothing");
      const double from = silent ? kLeft : axis_.Pixel(of.first_us), to = silent ? kLeft : axis_.Pixel(of.last_us);
      if (thread == 0 && !silent) {
        svg_.Rect("tl-lane", from, y + (kRankRow - kBar) / 2, std::max(2.0, to - from), kBar);
      }
      const bool bad = of.status != Status::kPassed && of.status != Status::kSkipped && of.status != Status::kDeadlock;
      if (thread == 0 && !of.returned && bad) {
        svg_.Path("tl-bad", SvgPath("M", std::min(to + 2, kRight - 11), y + kRankRow / 2 - 5, "l10 10m0 -10l-10 10"),
                  fmt::format("rank {}: {}", rank, of.message));
      }
    }
  }

  void Cuts() {
    for (const TimeAxis::Cut& cut : axis_.cuts()) {
      const double x = (axis_.Pixel(cut.from) + axis_.Pixel(cut.to)) / 2;
      svg_.Path("tl-cut", SvgPath("M", x - 3, kTop - 4, "V", bottom_ + 3, "M", x + 3, kTop - 4, "V", bottom_ + 3));
    }
  }

  static bool Flies(const TimelineSpan& span) { return span.asynchronous || !span.waits(); }
  static bool Stuck(const TimelineSpan& span) { return span.failed || (span.waits() && !span.ended()); }

  void Span(const TimelineSpan& span) {
    const double end = span.ended() ? axis_.Pixel(span.ended_us) : kRight;
    const std::string colour = Colour(span.op);
    const auto posted_row = rows_.find({span.rank, span.thread});
    if (posted_row != rows_.end() && Flies(span)) {
      const double posted = axis_.Pixel(span.posted_us);
      svg_.Rect("tl-flight " + colour, posted, posted_row->second + 2.5, std::max(1.5, end - posted), 3, Title(span));
    }
    const auto row = rows_.find({span.rank, span.waiting_thread});
    if (!span.waits() || row == rows_.end()) return;
    const double from = axis_.Pixel(span.blocked_us), width = std::max(1.5, end - from);
    svg_.Rect(colour + (Stuck(span) ? " tl-stuck" : ""), from, row->second + (kRankRow - kBar) / 2, width, kBar,
              Title(span));
    const std::string text = Short(span);
    if (kLetterWidth * static_cast<double>(text.size()) + 8 > width) return;
    words_.OpenGroup("class=\"" + colour + "\"");  // what the letters must stand out against
    words_.Text("tl-in", from + width / 2, row->second + kRankRow / 2 + 4, text, Anchor::kMiddle);
    words_.CloseGroup();
  }

  static std::string Short(const TimelineSpan& span) {
    if (!IsCollective(span.op)) {
      return fmt::format("{} {} {}", Name(span.op), span.op == OpKind::kSend ? "to" : "from", span.peer);
    }
    return span.op == OpKind::kFormGroup ? "group" : Name(span.op);
  }

  /// What is shown when one points at it.
  std::string Title(const TimelineSpan& span) const {
    const double from = span.waits() ? span.blocked_us : span.posted_us;
    const std::string length =
        !span.ended() ? (span.waits() ? "it never ended" : "nobody waited for it") : Duration(span.ended_us - from);
    return fmt::format("rank {}: {}, from {}, {}{}", span.rank, span.what, Duration(from - axis_.begin()), length,
                       span.failed ? ", and ended with an error" : "");
  }

  void Message(const TimelineMessage& message) {
    const TimelineSpan& send = timeline_.spans[message.send];
    const TimelineSpan& receive = timeline_.spans[message.receive];
    const auto from_row = rows_.find({send.rank, send.thread});
    const auto to_row = rows_.find({receive.rank, receive.waiting_thread});
    if (from_row == rows_.end() || to_row == rows_.end() || !receive.ended() || send.rank == receive.rank) return;
    const bool down = from_row->second < to_row->second;
    const double x1 = axis_.Pixel(send.posted_us), x2 = axis_.Pixel(receive.ended_us);
    const double y1 = from_row->second + kRankRow / 2 + (down ? kBar / 2 : -kBar / 2);
    const double y2 = to_row->second + kRankRow / 2 + (down ? -kBar / 2 : kBar / 2);
    svg_.Path("tl-arrow", SvgPath("M", x1, y1, "L", x2, y2));
    svg_.Circle("tl-dot", x2, y2, 2);
  }

  void Mark(const TimelineMark& mark) {
    const auto row = rows_.find({mark.rank, mark.thread});
    if (row == rows_.end()) return;
    svg_.Path("tl-mark", SvgPath("M", axis_.Pixel(mark.time_us), row->second + (kRankRow - kBar) / 2 + 2, "l4 -7h-8z"),
              fmt::format("rank {}: {}", mark.rank, mark.name));
  }

  const Timeline& timeline_;
  std::string label_;
  TimeAxis axis_;
  std::map<std::pair<int, int>, double> rows_;  // (rank, thread) -> the row's top
  double bottom_ = kTop;
  Svg svg_;
  Svg words_;  // in the bars and beside them, above the cuts
};

}  // namespace

std::string TimelineSvg(const Timeline& timeline, const std::string& label) { return Drawing(timeline, label).Draw(); }

}  // namespace shardlab
