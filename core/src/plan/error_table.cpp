#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "execution.hpp"

namespace shardlab {

std::string ErrorTable(const Schedule& schedule, const std::vector<ListMark>& marks) {
  constexpr int kAround = 3;  // entries shown on either side
  constexpr size_t kMostRanks = 32;
  if (marks.empty()) return {};

  // Of many ranks those with a mark, then the first ones.
  const int ranks = static_cast<int>(schedule.ranks.size());
  const auto mark_of = [&](int rank) {
    return std::find_if(marks.begin(), marks.end(), [&](const ListMark& m) { return m.rank == rank; });
  };
  std::vector<int> shown(static_cast<size_t>(ranks));
  std::iota(shown.begin(), shown.end(), 0);
  std::stable_partition(shown.begin(), shown.end(), [&](int rank) { return mark_of(rank) != marks.end(); });
  shown.resize(std::min(shown.size(), kMostRanks));
  std::sort(shown.begin(), shown.end());

  struct Row {
    std::string before, at, after, note;
  };
  std::vector<Row> rows;
  for (const int rank : shown) {
    const auto& list = schedule.ranks[static_cast<size_t>(rank)];
    const auto mark = mark_of(rank);
    const int length = static_cast<int>(list.size());
    const int center = std::min(mark != marks.end() ? mark->step : marks.front().step, length);
    Row row;
    if (center > kAround) row.before = "..";
    for (int step = std::max(0, center - kAround); step < std::min(length, center + kAround + 1); ++step) {
      const std::string word = EntryText(list, static_cast<size_t>(step));
      if (step == center) {
        row.at = word;
      } else {
        (step < center ? row.before : row.after) += " " + word;
      }
    }
    if (!row.before.empty() && row.before.front() == ' ') row.before.erase(0, 1);
    if (center + kAround + 1 < length) row.after += " ..";
    if (row.at.empty()) row.at = "end";
    if (mark != marks.end()) {
      row.at = "[" + row.at + "]";
      row.note = fmt::format("step {}: {}", center, mark->note);
    } else {
      row.at = " " + row.at + " ";
    }
    rows.push_back(row);
  }

  size_t before = 0;
  size_t rest = 0;
  for (const Row& row : rows) before = std::max(before, row.before.size());
  for (const Row& row : rows) rest = std::max(rest, row.at.size() + row.after.size());
  std::string table;
  for (size_t k = 0; k < rows.size(); ++k) {
    const Row& row = rows[k];
    std::string line = fmt::format("  rank {:<3} {:>{}} {}{}", shown[k], row.before, before, row.at, row.after);
    if (!row.note.empty()) line += fmt::format("{:{}}   {}", "", rest - row.at.size() - row.after.size(), row.note);
    line.erase(line.find_last_not_of(' ') + 1);
    table += line + "\n";
  }
  if (static_cast<size_t>(ranks) > rows.size()) {
    table += fmt::format("  and {} more ranks\n", static_cast<size_t>(ranks) - rows.size());
  }
  return table;
}

ScheduleError FailureAt(const Schedule& schedule, int rank, int step, const std::string& cause) {
  const Action& action = schedule.ranks.at(static_cast<size_t>(rank)).at(static_cast<size_t>(step));
  return ScheduleError(
      fmt::format("rank {} failed at {} (entry {} of its list): {}", rank, ToString(action), step, cause), rank, step,
      ErrorTable(schedule, {{rank, step, "failed here"}}));
}

}  // namespace shardlab
