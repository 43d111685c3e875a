#include "shardlab/plan/text.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace shardlab {

namespace {

constexpr size_t kLineWidth = 110;
constexpr std::string_view kSpace = " \t\r\n";

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

// The text up to `separator`, which is taken off its front together with it.
std::string_view TakeUpTo(std::string_view& text, char separator) {
  const size_t end = std::min(text.find(separator), text.size());
  const std::string_view taken = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return taken;
}

bool StartsWith(std::string_view text, std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; }

int ParseNumber(std::string_view text, std::string_view what) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw ScheduleError(fmt::format("'{}' is not a number of {}", text, what));
  }
  return number;
}

// What a file in the own form has said so far.
struct Reader {
  std::optional<std::string> name;
  std::optional<Layout> layout;
  std::optional<int> microbatches;
  std::map<int, std::vector<Action>> lists;
  std::vector<Action>* open = nullptr;  // the list that an indented line continues

  void Actions(std::string_view words) {
    while (!(words = Trim(words)).empty()) {
      const size_t end = std::min(words.find_first_of(kSpace), words.size());
      open->push_back(ParseAction(words.substr(0, end)));
      words.remove_prefix(end);
    }
  }

  template <typename T, typename Value>
  static void Once(std::optional<T>& place, Value&& value, std::string_view what) {
    if (place) throw ScheduleError(fmt::format("a second '{}'", what));
    place.emplace(std::forward<Value>(value));
  }

  void Line(std::string_view line) {
    line = line.substr(0, line.find('#'));
    const bool continues = !line.empty() && kSpace.find(line.front()) != std::string_view::npos;
    line = Trim(line);
    if (line.empty()) return;
    if (continues) {
      if (open == nullptr) throw ScheduleError("an indented line continues a 'rank' line, and there is none before it");
      return Actions(line);
    }
    open = nullptr;
    std::string_view rest = line;
    const std::string_view word = TakeUpTo(rest, ' ');
    rest = Trim(rest);
    if (word == "schedule") {
      Once(name, std::string(rest), word);
    } else if (word == "layout") {
      Once(layout, ParseLayout(rest), word);
    } else if (word == "micro-batches") {
      Once(microbatches, ParseNumber(rest, "micro-batches"), word);
    } else if (word == "rank") {
      if (rest.find(':') == std::string_view::npos) throw ScheduleError("a rank's list begins like 'rank 0:'");
      const int rank = ParseNumber(Trim(TakeUpTo(rest, ':')), "a rank");
      if (lists.count(rank) > 0) throw ScheduleError(fmt::format("a second list of rank {}", rank));
      open = &lists[rank];
      Actions(rest);
    } else {
      throw ScheduleError(
          fmt::format("'{}' begins no line: lines begin with schedule, layout, micro-batches or rank", word));
    }
  }
};

// PyTorch's stages are our chunks; which layout puts them where the file has them?
Layout FindLayout(const std::map<int, int>& rank_of_stage, int ranks) {
  const int stages = rank_of_stage.rbegin()->first + 1;
  const auto fits = [&](const Layout& layout) {
    return std::all_of(rank_of_stage.begin(), rank_of_stage.end(),
                       [&](const auto& entry) { return layout.chunk(entry.first).rank == entry.second; });
  };
  if (stages % ranks == 0) {
    if (stages == ranks && fits(Layout::Linear(ranks))) return Layout::Linear(ranks);
    const Layout looped = Layout::Looped(ranks, stages / ranks);
    if (fits(looped)) return looped;
    const Layout vee = Layout::Vee(ranks, stages / ranks);
    if (fits(vee)) return vee;
  }
  std::string where;
  for (const auto& [stage, rank] : rank_of_stage) where += fmt::format(" {}:{}", stage, rank);
  throw ScheduleError(fmt::format(
      "{} stages on {} lines are neither linear, looped nor a vee (stage:line, both from 0:{})", stages, ranks, where));
}

}  // namespace

std::string FormatSchedule(const Schedule& schedule) {
  std::string text = fmt::format("schedule {}\nlayout {}\nmicro-batches {}\n", schedule.name, ToString(schedule.layout),
                                 schedule.microbatches);
  for (size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    std::string line = fmt::format("rank {}:", rank);
    for (const Action& action : schedule.ranks[rank]) {
      const std::string word = ToString(action);
      if (line.size() + 1 + word.size() > kLineWidth) {
        text += line + "\n";
        line = "   ";
      }
      line += " " + word;
    }
    text += line + "\n";
  }
  return text;
}

Schedule ParseSchedule(std::string_view text) {
  Reader reader;
  for (int number = 1; !text.empty(); ++number) {
    try {
      reader.Line(TakeUpTo(text, '\n'));
    } catch (const ScheduleError& error) {
      throw ScheduleError(fmt::format("line {}: {}", number, error.what()));
    }
  }
  if (!reader.layout) throw ScheduleError("there is no line 'layout', such as 'layout linear 4'");
  if (!reader.microbatches) throw ScheduleError("there is no line 'micro-batches', such as 'micro-batches 8'");
  Schedule schedule(reader.name.value_or("unnamed"), *reader.layout, *reader.microbatches);
  for (auto& [rank, list] : reader.lists) {
    if (rank < 0 || rank >= schedule.layout.ranks()) {
      throw ScheduleError(fmt::format("there is a list for rank {}, but the layout '{}' has the ranks 0 to {}", rank,
                                      ToString(schedule.layout), schedule.layout.ranks() - 1));
    }
    schedule.ranks[static_cast<size_t>(rank)] = std::move(list);
  }
  return schedule;
}

std::string ToPyTorchCsv(const Schedule& schedule) {
  const auto refuse = [&](const Action& action, const char* why) {
    throw ScheduleError(fmt::format("{}: PyTorch's CSV cannot say {}: {}", schedule.name, ToString(action), why));
  };
  std::string text;
  for (const auto& list : schedule.ranks) {
    std::string line;
    for (const Action& action : list) {
      if (action.kind == ActionKind::kStep) {
        if (action.version > 1) refuse(action, "there the optimizer steps once, after the schedule");
        continue;
      }
      if (IsCompute(action.kind) && action.version > 0) refuse(action, "it knows one weight version");
      if (action.kind == ActionKind::kRecompute) refuse(action, "it knows no recomputation");
      if (schedule.layout.replicas() > 1) refuse(action, "it knows one replica");
      if (!line.empty()) line += ",";
      line += ToString({action.kind, action.chunk, action.microbatch, 0});
    }
    text += line + "\n";
  }
  return text;
}

Schedule FromPyTorchCsv(std::string_view text, const std::string& name) {
  std::vector<std::vector<Action>> lists;
  std::map<int, int> rank_of_stage;
  std::set<std::pair<int, int>> split;  // (stage, micro-batch) whose weight half is on its own
  int microbatches = 0;

  const auto add = [&](std::string_view word) {
    for (const std::string_view skipped : {"UNSHARD", "RESHARD"}) {
      if (word.find(skipped) != std::string_view::npos) return;
    }
    if (word.find_first_of(" \t;") != std::string_view::npos) {
      throw ScheduleError(
          "there is a space or a semicolon between actions: separate them by commas, or begin the file with the lines "
          "'layout linear 2' and 'micro-batches 8'");
    }
    Action action = ParseAction(word);
    if (action.kind == ActionKind::kReduceGradients) action.version = 1;
    const int line = static_cast<int>(lists.size()) - 1;
    const auto [place, is_new] = rank_of_stage.emplace(action.chunk, line);
    if (!is_new && place->second != line) {
      throw ScheduleError(fmt::format("stage {} runs here and on line {}", action.chunk, place->second + 1));
    }
    microbatches = std::max(microbatches, action.microbatch + 1);
    if (action.kind == ActionKind::kBackwardWeight) split.emplace(action.chunk, action.microbatch);
    lists.back().push_back(action);
  };
  const auto add_cell = [&](std::string_view cell) {
    constexpr std::string_view kPair = ")OVERLAP_F_B";
    if (!StartsWith(cell, "(")) return add(cell);
    if (cell.size() <= kPair.size() || cell.substr(cell.size() - kPair.size()) != kPair) {
      throw ScheduleError(fmt::format("'{}' is no pair such as (0F7;7B3)OVERLAP_F_B", cell));
    }
    cell = cell.substr(1, cell.size() - kPair.size() - 1);
    while (!cell.empty()) add(Trim(TakeUpTo(cell, ';')));
  };

  while (!text.empty()) {
    std::string_view line = TakeUpTo(text, '\n');
    if (Trim(line).empty() && Trim(text).empty()) break;  // the end of the file, not a rank
    lists.emplace_back();
    for (int cell = 1; !line.empty(); ++cell) {
      std::string_view word = Trim(TakeUpTo(line, ','));
      if (word.size() >= 2 && word.front() == '"' && word.back() == '"') word = Trim(word.substr(1, word.size() - 2));
      if (word.empty()) continue;
      try {
        add_cell(word);
      } catch (const ScheduleError& error) {
        throw ScheduleError(fmt::format("line {}, cell {}: {}", lists.size(), cell, error.what()));
      }
    }
  }
  if (rank_of_stage.empty()) {
    throw ScheduleError("there is no action in this file: write a line for each rank, such as 0F0,0F1,0B0,0B1");
  }

  Schedule schedule(name, FindLayout(rank_of_stage, static_cast<int>(lists.size())), microbatches);
  // Old files write B for the input half of a split backward.
  for (auto& list : lists) {
    for (Action& action : list) {
      if (action.kind == ActionKind::kBackward && split.count({action.chunk, action.microbatch}) > 0) {
        action.kind = ActionKind::kBackwardInput;
      }
    }
  }
  schedule.ranks = std::move(lists);
  return schedule;
}

Schedule ReadSchedule(std::string_view text, const std::string& name) {
  if (text.find('\0') != std::string_view::npos) {
    throw ScheduleError(
        "this is no text: a schedule is in the own text form (lab schedule gpipe ... --text FILE shows it) or in the "
        "CSV "
        "of PyTorch's pipelining");
  }
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";  // some editors begin a file with it
  if (StartsWith(text, kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view line = Trim(TakeUpTo(rest, '\n'));
    if (line.empty() || line.front() == '#') continue;
    for (const std::string_view word : {"schedule", "layout", "micro-batches", "rank"}) {
      if (StartsWith(line, word)) return ParseSchedule(text);
    }
    return FromPyTorchCsv(text, name);
  }
  return FromPyTorchCsv({}, name);
}

}  // namespace shardlab
