// A case's message as the template's data: prose as it is, the lists of a schedule as a table, its drawing unbroken.
#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

#include "html_data.hpp"

namespace shardlab {

namespace {

//     rank 0   0F0 [0B0] 0F1 0B1       step 1: waits for 1B0 or 1I0, step 3 of rank 1      (1)
//     rank 1   1F1  1B1  1F0 1B0                                                           (2)
//     ^^^^^^   ^^^  ^^^  ^^^^^^^       ^^^^^^
//     rank     before|at  after        note
//
// What ScheduleError::table() prints. (1) A marked line has its entry in brackets and a note. (2) In the other lines
// the entry of the same step stands below it, so the column of the first bracket divides all of them.

const std::string kRank = "  rank ";
const std::string kNote = "   step ";

bool IsListLine(const std::string& line) {
  return line.rfind(kRank, 0) == 0 && line.size() > kRank.size() &&
         std::isdigit(static_cast<unsigned char>(line[kRank.size()])) != 0;
}

bool IsMarkedLine(const std::string& line) {
  const size_t close = line.find(']');
  return IsListLine(line) && line.find('[') < close && line.find(kNote, close) != std::string::npos;
}

// What DrawText() prints, indented: its first line has the times, and the others are ranks or the legend.
bool BeginsDrawing(const std::string& line) { return line.rfind("  time  ", 0) == 0; }
bool BelongsToDrawing(const std::string& line) { return line.rfind(kRank, 0) == 0 || line.rfind("      ", 0) == 0; }

std::string Trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(' ');
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(' ') + 1 - begin);
}

Data ListRow(const std::string& line, size_t column) {
  Data row;
  const size_t rank_end = std::min(line.find(' ', kRank.size()), line.size());
  row.set("lists_rank", line.substr(2, rank_end - 2));
  const size_t begin = std::min(std::max(column, rank_end), line.size());
  size_t end = begin;
  if (begin < line.size()) end = line[begin] == '[' ? line.find(']', begin) : line.find(' ', begin + 1);
  end = std::min(end, line.size());
  const bool marked = begin < line.size() && line[begin] == '[';
  const size_t note = marked ? line.find(kNote, end) : std::string::npos;
  row.set("lists_before", Trimmed(line.substr(rank_end, begin - rank_end)));
  row.set("lists_marked", marked);
  row.set("lists_at", Trimmed(line.substr(std::min(begin + 1, end), end - std::min(begin + 1, end))));
  const size_t after = std::min(end + (marked ? 1 : 0), line.size());
  row.set("lists_after", Trimmed(line.substr(after, std::min(note, line.size()) - after)));
  if (note != std::string::npos) row.set("lists_note", Trimmed(line.substr(note)));
  return row;
}

}  // namespace

Data MessageParts(const std::string& message) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin <= message.size();) {
    const size_t end = std::min(message.find('\n', begin), message.size());
    lines.push_back(message.substr(begin, end - begin));
    begin = end + 1;
  }
  Data parts(Data::type::list);
  std::string prose;
  const auto flush = [&] {
    if (!Trimmed(prose).empty()) {
      Data part;
      part.set("message_prose", prose);
      parts << part;
    }
    prose.clear();
  };
  for (size_t i = 0; i < lines.size();) {
    size_t end = i;
    if (BeginsDrawing(lines[i])) {
      flush();
      std::string drawing = lines[i].substr(2);
      for (++i; i < lines.size() && BelongsToDrawing(lines[i]); ++i) drawing += "\n" + lines[i].substr(2);
      Data part;
      part.set("message_drawing", drawing);
      parts << part;
      continue;
    }
    while (end < lines.size() && IsListLine(lines[end])) ++end;
    const auto marked = std::find_if(lines.begin() + static_cast<std::ptrdiff_t>(i),
                                     lines.begin() + static_cast<std::ptrdiff_t>(end), IsMarkedLine);
    if (marked == lines.begin() + static_cast<std::ptrdiff_t>(end)) {
      // Lines that begin with a rank and are no table are prose, as are all others.
      end = std::max(end, i + 1);
      for (; i < end; ++i) prose += (prose.empty() ? "" : "\n") + lines[i];
      continue;
    }
    flush();
    Data rows(Data::type::list);
    const size_t column = marked->find('[');
    for (; i < end; ++i) rows << ListRow(lines[i], column);
    Data table, part;
    table.set("lists_rows", rows);
    part.set("message_lists", table);
    parts << part;
  }
  flush();
  return parts;
}

}  // namespace shardlab
