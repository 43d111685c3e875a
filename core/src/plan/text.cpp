#include "shardlab/plan/text.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "index.hpp"

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

// Both halves of a pair, or what else the word says.
void ReadWord(std::string_view word, std::vector<Action>& list) {
  constexpr std::string_view kPair = ")OVERLAP_F_B";
  if (word.empty() || word.front() != '(') {
    list.push_back(ParseAction(word));
    return;
  }
  const size_t middle = word.find(';');
  if (word.size() < kPair.size() || word.substr(word.size() - kPair.size()) != kPair ||
      middle == std::string_view::npos) {
    throw ScheduleError(fmt::format("{} is no pair such as (0F7;7B3)OVERLAP_F_B", Quoted(word)));
  }
  const std::string_view second = word.substr(middle + 1, word.size() - kPair.size() - middle - 1);
  Action forward = ParseAction(Trim(word.substr(1, middle - 1)));
  const Action backward = ParseAction(Trim(second));
  if (forward.kind != ActionKind::kForward || !GivesInputGradient(backward.kind)) {
    throw ScheduleError(
        fmt::format("{}: a pair is a forward and a backward, such as (0F7;7B3)OVERLAP_F_B", Quoted(word)));
  }
  forward.opens_pair = true;
  list.push_back(forward);
  list.push_back(backward);
}

// What a list's entry at `step` and, of a pair, the next one are called; `step` moves on to the last of them.
std::string WriteWord(const std::vector<Action>& list, size_t& step) {
  if (!list[step].opens_pair || step + 1 == list.size()) return ToString(list[step]);
  ++step;
  return fmt::format("({};{})OVERLAP_F_B", ToString(list[step - 1]), ToString(list[step]));
}

bool StartsWith(std::string_view text, std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; }

int ParseNumber(std::string_view text, std::string_view what) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw ScheduleError(fmt::format("{} is not a number of {}", Quoted(text), what));
  }
  return number;
}

// What the lines read yet have said.
struct Reader {
  std::optional<std::string> name;
  std::optional<Layout> layout;
  std::optional<int> microbatches;
  std::map<int, std::vector<Action>> lists;
  std::vector<Action>* open = nullptr;  // the list that an indented line continues

  void Actions(std::string_view words) {
    while (!(words = Trim(words)).empty()) {
      const size_t end = std::min(words.find_first_of(kSpace), words.size());
      ReadWord(words.substr(0, end), *open);
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
      constexpr size_t kLongestName = 64;
      const bool is_text = std::all_of(rest.begin(), rest.end(),
                                       [](char c) { return static_cast<unsigned char>(c) >= ' ' && c != 127; });
      if (rest.size() > kLongestName || !is_text) {
        throw ScheduleError(fmt::format("the name {} has more than {} letters, or some that cannot be printed",
                                        Quoted(rest), kLongestName));
      }
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
          fmt::format("{} begins no line: lines begin with schedule, layout, micro-batches or rank", Quoted(word)));
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
  constexpr size_t kMostTold = 100;  // letters
  for (const auto& [stage, rank] : rank_of_stage) {
    where += where.size() < kMostTold ? fmt::format(" {}:{}", stage, rank) : " ...";
    if (where.size() > kMostTold) break;
  }
  throw ScheduleError(fmt::format(
      "{} stages on {} lines are neither linear, looped nor a vee (stage:line, both from 0:{})", stages, ranks, where));
}

}  // namespace

std::string FormatSchedule(const Schedule& schedule) {
  std::string text = fmt::format("schedule {}\nlayout {}\nmicro-batches {}\n", schedule.name, ToString(schedule.layout),
                                 schedule.microbatches);
  for (size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    std::string line = fmt::format("rank {}:", rank);
    for (size_t step = 0; step < schedule.ranks[rank].size(); ++step) {
      const std::string word = WriteWord(schedule.ranks[rank], step);
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
    for (size_t step = 0; step < list.size(); ++step) {
      const Action& action = list[step];
      if (action.kind == ActionKind::kStep) {
        if (action.version > 1) refuse(action, "there the optimizer steps once, after the schedule");
        continue;
      }
      if (IsCompute(action.kind) && action.version > 0) refuse(action, "it knows one weight version");
      if (action.kind == ActionKind::kRecompute) refuse(action, "it knows no recomputation");
      if (schedule.layout.replicas() > 1) refuse(action, "it knows one replica");
      if (!line.empty()) line += ",";
      const bool reduces = action.kind == ActionKind::kReduceGradients;
      line += reduces ? ToString({action.kind, action.chunk}) : WriteWord(list, step);
    }
    text += line + "\n";
  }
  return text;
}

namespace {

// What is read from a CSV, before it is known where the stages are.
struct Csv {
  std::vector<std::vector<Action>> lists;  // by line
  std::vector<std::vector<int>> cells;     // that each action came from, counted from 1
  std::map<std::string_view, int> skipped{{"UNSHARD", 0}, {"RESHARD", 0}};

  void Read(std::string_view word, int cell) {
    for (auto& [name, count] : skipped) {
      if (word.size() > name.size() && word.substr(word.size() - name.size()) == name &&
          word.find_first_not_of("0123456789") == word.size() - name.size()) {
        ++count;
        return;
      }
    }
    if (word.front() != '(' && word.find_first_of(" \t;") != std::string_view::npos) {
      throw ScheduleError(
          "there is a space or a semicolon between actions: separate them by commas, or begin the file with the lines "
          "'layout linear 2' and 'micro-batches 8'");
    }
    std::vector<Action>& list = lists.back();
    ReadWord(word, list);
    cells.back().resize(list.size(), cell);
  }

  // Which line each stage is on: the one with most of its actions.
  std::map<int, int> RankOfStage() const {
    struct OnLine {
      int count = 0;
      size_t first = 0;  // of its actions there
    };
    std::map<int, std::map<size_t, OnLine>> stages;
    for (size_t line = 0; line < lists.size(); ++line) {
      for (size_t step = 0; step < lists[line].size(); ++step) {
        OnLine& here = stages[lists[line][step].chunk][line];
        if (here.count++ == 0) here.first = step;
      }
    }
    std::map<int, int> ranks;
    for (const auto& [stage, lines] : stages) {
      const auto fewer = [](const auto& a, const auto& b) { return a.second.count < b.second.count; };
      const auto [home, most] = *std::max_element(lines.begin(), lines.end(), fewer);
      ranks[stage] = static_cast<int>(home);
      for (const auto& [line, here] : lines) {
        if (line == home) continue;
        const std::string what = fmt::format("line {}, cell {}: {} is here, and ", line + 1, cells[line][here.first],
                                             ToString(lists[line][here.first]));
        throw ScheduleError(
            here.count == most.count
                ? fmt::format("{}as many actions of stage {} are on line {}: a stage is on one line", what, stage,
                              home + 1)
                : fmt::format("{}stage {} is on line {}, with {} of its actions", what, stage, home + 1, most.count));
      }
    }
    return ranks;
  }
};

}  // namespace

Schedule FromPyTorchCsv(std::string_view text, const std::string& name, std::string* skipped) {
  Csv csv;
  while (!text.empty()) {
    std::string_view line = TakeUpTo(text, '\n');
    if (Trim(line).empty() && Trim(text).empty()) break;  // the end of the file, not a rank
    csv.lists.emplace_back();
    csv.cells.emplace_back();
    for (int cell = 1; !line.empty(); ++cell) {
      std::string_view word = Trim(TakeUpTo(line, ','));
      if (word.size() >= 2 && word.front() == '"' && word.back() == '"') word = Trim(word.substr(1, word.size() - 2));
      if (word.empty()) continue;
      try {
        csv.Read(word, cell);
      } catch (const ScheduleError& error) {
        throw ScheduleError(fmt::format("line {}, cell {}: {}", csv.lists.size(), cell, error.what()));
      }
    }
  }
  const std::map<int, int> rank_of_stage = csv.RankOfStage();
  if (rank_of_stage.empty()) {
    throw ScheduleError("there is no action in this file: write a line for each rank, such as 0F0,0F1,0B0,0B1");
  }
  if (skipped != nullptr) {
    skipped->clear();
    for (const auto& [what, count] : csv.skipped) {
      if (count > 0) *skipped += fmt::format("{}{} {}", skipped->empty() ? "" : " and ", count, what);
    }
  }

  int microbatches = 0;
  for (const auto& list : csv.lists) {
    for (const Action& action : list) microbatches = std::max(microbatches, action.microbatch + 1);
  }
  Schedule schedule(name, FindLayout(rank_of_stage, static_cast<int>(csv.lists.size())), microbatches);
  schedule.ranks = std::move(csv.lists);
  // Old files write B for the input half of a split backward.
  const Index index(schedule);
  for (auto& list : schedule.ranks) {
    for (Action& action : list) {
      if (action.kind == ActionKind::kReduceGradients) action.version = 1;
      if (action.kind == ActionKind::kBackward &&
          index.Has({ActionKind::kBackwardWeight, action.chunk, action.microbatch})) {
        action.kind = ActionKind::kBackwardInput;
      }
    }
  }
  return schedule;
}

Schedule ReadSchedule(std::string_view text, const std::string& name, std::string* skipped) {
  if (text.find('\0') != std::string_view::npos) {
    throw ScheduleError(
        "this is no text: a schedule is in shardlab's text form (lab schedule gpipe ... --text FILE shows it) or in "
        "the "
        "CSV of PyTorch's pipelining");
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
    return FromPyTorchCsv(text, name, skipped);
  }
  return FromPyTorchCsv({}, name, skipped);
}

}  // namespace shardlab
