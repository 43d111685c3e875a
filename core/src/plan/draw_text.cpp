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
      : schedule_(schedule),
        simulation_(simulation),
        options_(options),
        ranks_(std::min(simulation.ranks.size(), kMostRanks)) {
    ForEachPiece([&](const Piece& piece) {
      shortest_ = std::min(shortest_, piece.end - piece.begin);
      for (const size_t form : {kWithChunk, kWithKind, kBare}) {
        longest_label_[form] = std::max(longest_label_[form], Label(piece.action, form).size());
      }
      has_pairs_ |= piece.joined;
    });
  }

  std::string Draw() {
    const std::string last_name = fmt::format("rank {}", ranks_ - 1);
    margin_ = last_name.size() + 3;
    const size_t room = std::max<size_t>(options_.width, 40) - margin_;
    if (shortest_ == std::numeric_limits<double>::infinity()) return "nothing in this schedule takes time\n";
    ChooseScale(room);

    std::string text = Axis(room);
    for (size_t rank = 0; rank < ranks_; ++rank) {
      text += fmt::format("{:<{}}", fmt::format("rank {}", rank), margin_) + Line(simulation_.ranks[rank], room) + "\n";
    }
    if (ranks_ < simulation_.ranks.size())
      text += fmt::format("and {} more ranks\n", simulation_.ranks.size() - ranks_);
    return text + Legend(room);
  }

 private:
  static constexpr const char* kPlain = "\033[0m";
  static constexpr size_t kWithChunk = 0, kWithKind = 1, kBare = 2;  // forms of labels
  static constexpr size_t kMostRanks = 64;                           // more lines nobody reads
  static constexpr double kMostColumns = 1e9;

  // What is drawn as one: an action, or a half of a pair. A pair's forward has the first half of its time, and is joined
  // to the backward.
  struct Piece {
    const Action& action;
    double begin, end;
    bool joined;
  };
  template <typename Visit>
  static void ForEachPiece(const std::vector<Span>& spans, Visit visit) {
    for (size_t k = 0; k < spans.size(); ++k) {
      const Span& span = spans[k];
      if (span.end <= span.begin) continue;
      const double middle = (span.begin + span.end) / 2;
      if (ClosesPair(spans, k)) {
        visit(Piece{span.action, middle, span.end, false});
      } else if (k + 1 < spans.size() && ClosesPair(spans, k + 1)) {
        visit(Piece{span.action, span.begin, middle, true});
      } else {
        visit(Piece{span.action, span.begin, span.end, false});
      }
    }
  }
  template <typename Visit>
  void ForEachPiece(Visit visit) const {
    for (size_t rank = 0; rank < ranks_; ++rank) ForEachPiece(simulation_.ranks[rank], visit);
  }

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
    per_time_ = std::min(per_time_, kMostColumns / simulation_.makespan);
    ForEachPiece([&](const Piece& piece) {
      const size_t columns = Column(piece.end) - Column(piece.begin);
      longer_ones_fit_ &= columns <= 1 || Label(piece.action, kWithKind).size() <= columns;
    });
  }

  size_t Column(double time) const { return static_cast<size_t>(std::llround(time * per_time_)); }
  size_t Columns() const { return Column(simulation_.makespan); }

  std::string Line(const std::vector<Span>& spans, size_t room) const {
    const Window window(Columns(), room);
    std::vector<Cell> cells(window.Shown(), Cell{Idle(), {}});
    size_t free_from = 0;
    ForEachPiece(spans, [&](const Piece& piece) {
      size_t begin = Column(piece.begin);
      size_t end = std::max(Column(piece.end), begin);
      if (options_.whole > 0) {  // a column at least, beside the last one's
        begin = std::max(begin, free_from);
        end = std::max(end, begin + 1);
      }
      end = std::min(end, Columns());
      if (end <= begin) return;
      free_from = end;
      const Colour colour = ColourOf(piece.action.kind, IsSecond(piece.action));
      std::string label = dense_ ? ShortLabel(piece.action, end - begin) : Label(piece.action, form_);
      if (window.IsCut(begin, begin + label.size())) label.resize(dense_ ? 1 : 0);
      // The last column separates, where there is room for one. In colour labels do: a column without would look idle.
      const bool separated = !options_.colour && end - begin > label.size();
      const size_t body = end - begin - (separated ? 1 : 0);
      window.ForEach(begin, end, [&](size_t at, size_t place) {
        const size_t column = at - begin;
        Cell& cell = cells[place];
        cell.colour = column < body ? colour : Colour{};
        const char filler = column >= body ? (piece.joined ? '+' : ' ') : options_.colour ? ' ' : '-';
        cell.glyph = std::string(1, column < std::min(label.size(), body) ? label[column] : filler);
      });
    });
    const std::vector<Cell> shown = WithGap(std::move(cells), window);
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

  // Which columns are shown: all, or where there are too many the first two thirds and the last third of the room, with
  // a gap between.
  class Window {
   public:
    Window(size_t columns, size_t room) : columns_(columns), whole_(columns <= room) {
      constexpr size_t kGap = 3;
      head_ = whole_ ? columns : (room - kGap) * 2 / 3;
      tail_begin_ = whole_ ? columns : columns - (room - kGap - head_);
    }

    size_t Shown() const { return head_ + columns_ - tail_begin_; }
    size_t Head() const { return head_; }
    size_t TailBegin() const { return tail_begin_; }
    bool IsWhole() const { return whole_; }
    // Whether only part of what stands in these columns is shown.
    bool IsCut(size_t begin, size_t end) const { return !whole_ && begin < tail_begin_ && end > head_; }
    // Visits those of the columns that are shown, and where each is.
    template <typename Visit>
    void ForEach(size_t begin, size_t end, Visit visit) const {
      for (size_t column = begin; column < std::min(end, head_); ++column) visit(column, column);
      for (size_t column = std::max(begin, tail_begin_); column < end; ++column) {
        visit(column, column - tail_begin_ + head_);
      }
    }

   private:
    size_t columns_, head_, tail_begin_;
    bool whole_;
  };

  std::vector<Cell> WithGap(std::vector<Cell> cells, const Window& window) const {
    if (!window.IsWhole()) cells.insert(cells.begin() + static_cast<std::ptrdiff_t>(window.Head()), {Gap(), {}});
    return cells;
  }

  // The time above the lines, written where it is.
  std::string Axis(size_t room) const {
    const Window window(Columns(), room);
    std::vector<Cell> cells(window.Shown(), Cell{" ", {}});
    const double tick = NiceStep(8 / per_time_);
    for (double k = 0; k * tick < simulation_.makespan; ++k) {
      const std::string number = fmt::format("{:g}", k * tick);
      const size_t at = Column(k * tick);
      if (window.IsCut(at, at + number.size())) {
        const double last = static_cast<double>(window.TailBegin()) / per_time_ / tick;
        k = std::max(k, std::floor(last) - 1);  // on to the tail
        continue;
      }
      if (at + number.size() > Columns()) continue;
      window.ForEach(at, at + number.size(),
                     [&](size_t column, size_t place) { cells[place].glyph = std::string(1, number[column - at]); });
    }
    std::string text = fmt::format("{:<{}}", "time", margin_);
    for (const Cell& cell : WithGap(std::move(cells), window)) text += cell.glyph;
    TrimEnd(text);
    return text + "\n";
  }

  // What each kind that occurs looks like, idle time, a rank's second chunk, and what was left out.
  std::string Legend(size_t room) const {
    std::vector<ActionKind> kinds;
    ForEachPiece([&](const Piece& piece) {
      const ActionKind kind = piece.action.kind;
      if (IsCompute(kind) && std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) kinds.push_back(kind);
    });
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
    if (has_pairs_ && !options_.colour && !dense_) add("+", 1, "a pair, at once");
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
  const size_t ranks_;  // that are drawn
  bool has_pairs_ = false;
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
