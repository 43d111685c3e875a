#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "draw_common.hpp"
#include "shardlab/base/svg.hpp"
#include "shardlab/plan/draw.hpp"

namespace shardlab {

namespace {

constexpr int kWhite = 231, kBlack = 16;

// Of the terminal's 256 colours; no background: -1.
struct Colour {
  int background = -1;
  int letters = kWhite;
};

// A column of a rank's line.
struct Cell {
  std::string glyph;
  Colour colour;
};

// Those of the SVG: told apart also by people who do not see red and green alike, because they differ in lightness too.
Colour ColourOf(ActionKind kind, bool second) {
  switch (kind) {
    case ActionKind::kForward:
      return second ? Colour{110, kBlack} : Colour{25, kWhite};
    case ActionKind::kBackward:
      return second ? Colour{151, kBlack} : Colour{71, kBlack};
    case ActionKind::kBackwardInput:
      return second ? Colour{152, kBlack} : Colour{73, kBlack};
    case ActionKind::kBackwardWeight:
      return second ? Colour{180, kBlack} : Colour{130, kWhite};
    case ActionKind::kRecompute:
      return second ? Colour{229, kBlack} : Colour{221, kBlack};
    default:
      return {240, kWhite};
  }
}

std::string Lower(std::string text) {
  for (char& letter : text) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return text;
}

void TrimEnd(std::string& text) { text.erase(text.find_last_not_of(' ') + 1); }

class TextPicture {
 public:
  TextPicture(const Schedule& schedule, const Simulation& simulation, const TextDrawing& options)
      : schedule_(schedule), simulation_(simulation), options_(options) {
    for (const auto& spans : simulation.ranks) {
      for (const Span& span : spans) {
        if (span.end <= span.begin) continue;
        shortest_ = std::min(shortest_, span.end - span.begin);
        for (const size_t form : {kWithChunk, kWithKind, kBare}) {
          longest_label_[form] = std::max(longest_label_[form], Label(span.action, form).size());
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
    return text + Legend(room);
  }

 private:
  static constexpr const char* kPlain = "\033[0m";
  static constexpr size_t kWithChunk = 0, kWithKind = 1, kBare = 2;  // forms of labels

  // Every second chunk of a rank looks otherwise.
  bool IsSecond(const Action& action) const { return VisitOf(schedule_.layout, action.chunk) % 2 == 1; }

  // Capital letters for a rank's first chunk, small ones for its second.
  std::string Letter(const Action& action) const {
    const std::string name(Name(action.kind));
    return IsSecond(action) ? Lower(name) : name;
  }

  // Labels, from the longest to the shortest: with chunk, with kind, the micro-batch alone.
  std::string Label(const Action& action, size_t form) const {
    if (!IsCompute(action.kind)) return std::string(Name(action.kind));
    if (form == kWithChunk) return fmt::format("{}{}{}", action.chunk, Name(action.kind), action.microbatch);
    if (form == kWithKind) return fmt::format("{}{}", Letter(action), action.microbatch);
    return std::to_string(action.microbatch);
  }

  // Of an action in so many columns, when all together have too few: in colour the last digit of its micro-batch; else
  // the letter, with the micro-batch where all that are longer than a column have room for it.
  std::string ShortLabel(const Action& action, size_t columns) const {
    const std::string label = Label(action, options_.colour ? kBare : kWithKind);
    if (options_.whole > 0 && label.size() <= columns) return label;
    if (options_.colour) return std::to_string(action.microbatch % 10);
    return options_.whole <= 0 && columns > 1 && longer_ones_fit_ ? label : Letter(action).substr(0, 1);
  }

  // The longest form of label for which all of the schedule fits, with a column between actions or without; then what
  // ShortLabel() says. Where even this does not fit, the middle is left out, of short labels unless most would go.
  void ChooseScale(size_t room) {
    const bool several_chunks = schedule_.layout.chunks_per_rank() > 1;
    const std::vector<size_t> forms = options_.colour  ? std::vector<size_t>{kBare}
                                      : several_chunks ? std::vector<size_t>{kWithChunk, kWithKind}
                                                       : std::vector<size_t>{kWithKind};
    if (options_.whole > 0) {
      dense_ = true;
      form_ = forms.back();
      per_time_ = static_cast<double>(room) / std::max(options_.whole, simulation_.makespan);
      return;
    }
    const double actions = simulation_.makespan / shortest_;  // as if all were as short as the shortest
    for (const size_t form : forms) {
      for (const size_t separator : options_.colour ? std::vector<size_t>{2, 1, 0} : std::vector<size_t>{1, 0}) {
        if (form == kWithChunk && separator == 0) continue;  // 0F00F12F0 cannot be read
        const double columns = static_cast<double>(longest_label_[form] + separator);
        if (actions * columns > static_cast<double>(room)) continue;
        form_ = form;
        per_time_ = columns / shortest_;
        return;
      }
    }
    constexpr double kMostCut = 3;  // times what is shown
    dense_ = actions <= static_cast<double>(room) * kMostCut;
    form_ = forms.back();
    per_time_ = (dense_ ? 1 : static_cast<double>(longest_label_[form_] + 1)) / shortest_;
    for (const auto& spans : simulation_.ranks) {
      for (const Span& span : spans) {
        const size_t columns = Column(span.end) - Column(span.begin);
        longer_ones_fit_ &= columns <= 1 || Label(span.action, kWithKind).size() <= columns;
      }
    }
  }

  size_t Column(double time) const { return static_cast<size_t>(std::llround(time * per_time_)); }
  size_t Columns() const { return Column(simulation_.makespan); }

  std::string Line(const std::vector<Span>& spans, size_t room) const {
    std::vector<Cell> cells(Columns(), Cell{Idle(), {}});
    size_t free_from = 0;
    for (const Span& span : spans) {
      size_t begin = Column(span.begin);
      size_t end = std::max(Column(span.end), begin);
      if (options_.whole > 0 && span.end > span.begin) {  // a column at least, beside the last one's
        begin = std::max(begin, free_from);
        end = std::max(end, begin + 1);
      }
      end = std::min(end, cells.size());
      if (end <= begin) continue;
      free_from = end;
      const Colour colour = ColourOf(span.action.kind, IsSecond(span.action));
      std::string label = dense_ ? ShortLabel(span.action, end - begin) : Label(span.action, form_);
      if (IsCut(begin, begin + label.size(), cells.size(), room)) label.resize(dense_ ? 1 : 0);
      // The last column separates, where there is room for one. In colour labels do: a column without would look idle.
      const bool separated = !options_.colour && end - begin > label.size();
      const size_t body = end - begin - (separated ? 1 : 0);
      for (size_t column = 0; column < end - begin; ++column) {
        Cell& cell = cells[begin + column];
        cell.colour = column < body ? colour : Colour{};
        const char filler = column >= body || options_.colour ? ' ' : '-';
        cell.glyph = std::string(1, column < std::min(label.size(), body) ? label[column] : filler);
      }
    }
    const std::vector<Cell> shown = LeaveOutMiddle(std::move(cells), room);
    std::string text;
    int current = -1;
    for (const Cell& cell : shown) {
      if (options_.colour && cell.colour.background != current) {
        text += cell.colour.background < 0 ? kPlain : Paint(cell.colour);
        current = cell.colour.background;
      }
      text += cell.glyph;
    }
    if (current >= 0) text += kPlain;
    TrimEnd(text);
    return text;
  }

  std::string Idle() const { return options_.unicode ? "\u00b7" : "."; }
  std::string Gap() const { return options_.unicode ? " \u22ef " : " ~ "; }

  static std::string Paint(Colour colour) {
    return fmt::format("\033[38;5;{};48;5;{}m", colour.letters, colour.background);
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
    std::vector<Cell> shown(cells.begin(), cells.begin() + static_cast<std::ptrdiff_t>(HeadOf(room)));
    shown.push_back({Gap(), {}});
    shown.insert(shown.end(), cells.end() - static_cast<std::ptrdiff_t>(TailOf(room)), cells.end());
    return shown;
  }

  // The time above the lines, written where it is.
  std::string Axis(size_t room) const {
    std::vector<Cell> cells(Columns(), Cell{" ", {}});
    const double tick = NiceStep(8 / per_time_);
    for (int k = 0; k * tick < simulation_.makespan; ++k) {
      const std::string number = fmt::format("{:g}", k * tick);
      const size_t at = Column(k * tick);
      if (at + number.size() > cells.size() || IsCut(at, at + number.size(), cells.size(), room)) continue;
      for (size_t k = 0; k < number.size(); ++k) cells[at + k].glyph = std::string(1, number[k]);
    }
    std::string text = fmt::format("{:<{}}", "time", margin_);
    for (const Cell& cell : LeaveOutMiddle(std::move(cells), room)) text += cell.glyph;
    TrimEnd(text);
    return text + "\n";
  }

  // What each kind that occurs looks like, idle time, a rank's second chunk, and what was left out.
  std::string Legend(size_t room) const {
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
    const bool several_chunks = schedule_.layout.chunks_per_rank() > 1;
    std::string text, line(margin_, ' ');
    size_t used = margin_;
    const auto add = [&](const std::string& sign, size_t sign_width, const std::string& words) {
      const size_t length = sign_width + 1 + words.size();
      if (used > margin_ && used + length > margin_ + room) {
        TrimEnd(line);
        text += line + "\n";
        line.assign(margin_, ' ');
        used = margin_;
      }
      line += sign + (sign.empty() ? "" : " ") + words + "   ";
      used += length + 3;
    };
    const auto swatch = [&](ActionKind kind, bool second) {
      const Colour colour = ColourOf(kind, second);
      return Paint(colour) + " " + kPlain;
    };
    std::string small;
    for (const ActionKind kind : kinds) {
      add(options_.colour ? swatch(kind, false) : std::string(Name(kind)), 1, WordOf(kind));
      small += (small.empty() ? "" : " ") + (options_.colour ? swatch(kind, true) : Lower(std::string(Name(kind))));
    }
    const bool chunks_seen = options_.colour || form_ != kWithChunk;
    if (several_chunks && chunks_seen) {
      add(small, 2 * kinds.size() - 1,
          schedule_.layout.chunks_per_rank() == 2 ? "of its second chunk" : "of every second chunk");
    } else if (several_chunks) {
      add("0F1", 3, "chunk 0, micro-batch 1");
    }
    add(Idle(), 1, "idle");
    if (options_.colour)
      add("", 0, dense_ && options_.whole <= 0 ? "last digits of micro-batches" : "numbers are micro-batches");
    if (Columns() > room) {
      add(Gap().substr(1, Gap().size() - 2), 1, fmt::format("cut: needs {} columns", Columns() + margin_));
    }
    TrimEnd(line);
    return text + line + "\n";
  }

  const Schedule& schedule_;
  const Simulation& simulation_;
  const TextDrawing options_;
  double shortest_ = std::numeric_limits<double>::infinity();
  size_t longest_label_[3] = {0, 0, 0};
  size_t margin_ = 0;
  size_t form_ = 0;
  bool dense_ = false;
  bool longer_ones_fit_ = true;
  double per_time_ = 1;
};

}  // namespace

std::string DrawText(const Schedule& schedule, const Simulation& simulation, const TextDrawing& options) {
  return TextPicture(schedule, simulation, options).Draw();
}

}  // namespace shardlab
