#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "draw_common.hpp"
#include "shardlab/pipeline/draw.hpp"

namespace shardlab {

namespace {

// A column of a rank's line.
struct Cell {
  std::string glyph;
  int background = -1;  // of the terminal's 256 colours; -1 for none
};

// Dark enough for white letters; a later visit of the rank is lighter.
int ColourOf(ActionKind kind, int visit) {
  const bool later = visit % 2 == 1;
  switch (kind) {
    case ActionKind::kForward:
      return later ? 68 : 25;
    case ActionKind::kBackward:
      return later ? 71 : 28;
    case ActionKind::kBackwardInput:
      return later ? 73 : 30;
    case ActionKind::kBackwardWeight:
      return later ? 137 : 94;
    case ActionKind::kRecompute:
      return later ? 139 : 96;
    default:
      return 240;
  }
}

class TextPicture {
 public:
  TextPicture(const Schedule& schedule, const Simulation& simulation, const TextDrawing& options)
      : schedule_(schedule), simulation_(simulation), options_(options) {
    for (const auto& spans : simulation.ranks) {
      for (const Span& span : spans) {
        if (span.end <= span.begin) continue;
        shortest_ = std::min(shortest_, span.end - span.begin);
        for (const size_t kind : {0, 1, 2}) {
          longest_label_[kind] = std::max(longest_label_[kind], Label(span.action, kind).size());
        }
      }
    }
  }

  std::string Draw() {
    const std::string last_name = fmt::format("rank {}", simulation_.ranks.size() - 1);
    margin_ = last_name.size() + 3;
    const size_t room = std::max<size_t>(options_.width, 40) - margin_;
    if (shortest_ == std::numeric_limits<double>::infinity()) return "nothing in this schedule takes time\n";
    ChooseScale(room);

    std::string text = Axis(room);
    for (size_t rank = 0; rank < simulation_.ranks.size(); ++rank) {
      text += fmt::format("{:<{}}", fmt::format("rank {}", rank), margin_) + Line(simulation_.ranks[rank], room) + "\n";
    }
    return text + Legend();
  }

 private:
  // Labels, from the longest to the shortest: with chunk, with kind, the micro-batch alone.
  std::string Label(const Action& action, size_t form) const {
    if (!IsCompute(action.kind)) return std::string(Name(action.kind));
    if (form == 0) return fmt::format("{}{}{}", action.chunk, Name(action.kind), action.microbatch);
    if (form == 1) return fmt::format("{}{}", Name(action.kind), action.microbatch);
    return std::to_string(action.microbatch);
  }

  // The longest form of label for which all of the schedule fits, with a column between actions or without; then bare
  // letters (in colour: last digits); and where even these do not fit, the middle is left out.
  void ChooseScale(size_t room) {
    const bool several_chunks = schedule_.layout.chunks_per_rank() > 1;
    const std::vector<size_t> forms = options_.colour  ? std::vector<size_t>{2}
                                      : several_chunks ? std::vector<size_t>{0, 1}
                                                       : std::vector<size_t>{1};
    const double actions = simulation_.makespan / shortest_;  // as if all were as short as the shortest
    for (const size_t form : forms) {
      for (const size_t separator : {1, 0}) {
        const double columns = static_cast<double>(longest_label_[form] + separator);
        if (actions * columns > static_cast<double>(room)) continue;
        form_ = form;
        per_time_ = columns / shortest_;
        return;
      }
    }
    dense_ = actions <= static_cast<double>(room);
    form_ = forms.back();
    per_time_ = (dense_ ? 1 : static_cast<double>(longest_label_[form_] + 1)) / shortest_;
  }

  size_t Column(double time) const { return static_cast<size_t>(std::llround(time * per_time_)); }
  size_t Columns() const { return Column(simulation_.makespan); }

  std::string Line(const std::vector<Span>& spans, size_t room) const {
    std::vector<Cell> cells(Columns(), Cell{options_.unicode ? "\u00b7" : ".", -1});
    for (const Span& span : spans) {
      const size_t begin = Column(span.begin);
      const size_t end = std::min(std::max(Column(span.end), begin), cells.size());
      if (end == begin) continue;
      const int background = ColourOf(span.action.kind, VisitOf(schedule_.layout, span.action.chunk));
      std::string label = Label(span.action, form_);
      if (dense_) {
        label = options_.colour ? std::to_string(span.action.microbatch % 10)
                                : std::string(Name(span.action.kind)).substr(0, 1);
      }
      if (IsCut(begin, end, cells.size(), room)) label.clear();
      // The last column separates, where there is room for one.
      const bool separated = end - begin > label.size();
      const size_t body = end - begin - (separated ? 1 : 0);
      for (size_t column = 0; column < end - begin; ++column) {
        Cell& cell = cells[begin + column];
        cell.background = column < body ? background : -1;
        const char filler = column >= body || options_.colour ? ' ' : '-';
        cell.glyph = std::string(1, column < std::min(label.size(), body) ? label[column] : filler);
      }
    }
    const std::vector<Cell> shown = LeaveOutMiddle(std::move(cells), room);
    std::string text;
    int current = -1;
    for (const Cell& cell : shown) {
      if (options_.colour && cell.background != current) {
        text += cell.background < 0 ? "\033[0m" : fmt::format("\033[38;5;231;48;5;{}m", cell.background);
        current = cell.background;
      }
      text += cell.glyph;
    }
    return text + (current >= 0 ? "\033[0m" : "");
  }

  static constexpr size_t kGap = 3;
  static size_t HeadOf(size_t room) { return (room - kGap) * 2 / 3; }
  static size_t TailOf(size_t room) { return room - kGap - HeadOf(room); }

  // Whether only part of what stands in these columns is shown.
  static bool IsCut(size_t begin, size_t end, size_t columns, size_t room) {
    if (columns <= room) return false;
    const size_t gap_begin = HeadOf(room);
    const size_t gap_end = columns - TailOf(room);
    return begin < gap_end && end > gap_begin;
  }

  // Of what does not fit the first two thirds and the last third, with a gap between.
  std::vector<Cell> LeaveOutMiddle(std::vector<Cell> cells, size_t room) const {
    if (cells.size() <= room) return cells;
    const std::string gap = options_.unicode ? " \u22ef " : " ~ ";
    std::vector<Cell> shown(cells.begin(), cells.begin() + static_cast<std::ptrdiff_t>(HeadOf(room)));
    shown.push_back({gap, -1});
    shown.insert(shown.end(), cells.end() - static_cast<std::ptrdiff_t>(TailOf(room)), cells.end());
    return shown;
  }

  // The time above the lines, written where it is.
  std::string Axis(size_t room) const {
    std::vector<Cell> cells(Columns(), Cell{" ", -1});
    double tick = shortest_;
    for (const double factor : {1., 2., 5., 10., 20., 50., 100., 200., 500., 1000., 1e4, 1e5, 1e6}) {
      tick = shortest_ * factor;
      if (tick * per_time_ >= 8) break;
    }
    for (double time = 0; time < simulation_.makespan; time += tick) {
      const std::string number = fmt::format("{:g}", time);
      const size_t at = Column(time);
      if (at + number.size() > cells.size() || IsCut(at, at + number.size(), cells.size(), room)) continue;
      for (size_t k = 0; k < number.size(); ++k) cells[at + k].glyph = std::string(1, number[k]);
    }
    std::string text = fmt::format("{:<{}}", "time", margin_);
    for (const Cell& cell : LeaveOutMiddle(std::move(cells), room)) text += cell.glyph;
    text.erase(text.find_last_not_of(' ') + 1);
    return text + "\n";
  }

  std::string Legend() const {
    std::vector<ActionKind> kinds;
    for (const auto& spans : simulation_.ranks) {
      for (const Span& span : spans) {
        if (span.end > span.begin && IsCompute(span.action.kind) &&
            std::find(kinds.begin(), kinds.end(), span.action.kind) == kinds.end()) {
          kinds.push_back(span.action.kind);
        }
      }
    }
    std::sort(kinds.begin(), kinds.end());
    const auto word = [](ActionKind kind) {
      switch (kind) {
        case ActionKind::kForward:
          return "forward";
        case ActionKind::kBackward:
          return "backward";
        case ActionKind::kBackwardInput:
          return "gradient of the input";
        case ActionKind::kBackwardWeight:
          return "gradient of the weights";
        default:
          return "recomputation";
      }
    };
    std::string text(margin_, ' ');
    size_t used = margin_;
    for (const ActionKind kind : kinds) {
      const std::string entry = options_.colour
                                    ? fmt::format("\033[38;5;231;48;5;{}m \033[0m {}   ", ColourOf(kind, 0), word(kind))
                                    : fmt::format("{} {}   ", Name(kind), word(kind));
      const size_t length = std::string(word(kind)).size() + 5;
      if (used + length > options_.width + 3) {
        text += "\n" + std::string(margin_, ' ');
        used = margin_;
      }
      used += length;
      text += entry;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    return text + "\n";
  }

  const Schedule& schedule_;
  const Simulation& simulation_;
  const TextDrawing options_;
  double shortest_ = std::numeric_limits<double>::infinity();
  size_t longest_label_[3] = {0, 0, 0};
  size_t margin_ = 0;
  size_t form_ = 0;
  bool dense_ = false;
  double per_time_ = 1;
};

}  // namespace

std::string DrawText(const Schedule& schedule, const Simulation& simulation, const TextDrawing& options) {
  return TextPicture(schedule, simulation, options).Draw();
}

}  // namespace shardlab
