#include "shardlab/base/suggest.hpp"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>

namespace shardlab {
namespace {

std::string Folded(const std::string& word) {
  std::string folded = word;
  for (char& letter : folded) {
    letter = letter == '-' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  }
  return folded;
}

}  // namespace

size_t EditDistance(const std::string& a, const std::string& b) {
  // Three rows of the table distance[i][j] between the first i letters of a and the first j of b.
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

std::string Nearest(const std::string& word, const std::vector<std::string>& candidates) {
  const std::string wanted = Folded(word);
  if (wanted.empty()) return "";
  std::string nearest;
  size_t nearest_distance = 0;
  for (const std::string& candidate : candidates) {
    const std::string folded = Folded(candidate);
    // A beginning is what somebody types who trusts in abbreviations; one letter is too little to go by.
    const bool begins = wanted.size() >= 2 && folded.compare(0, wanted.size(), wanted) == 0;
    const size_t distance = begins ? 1 : EditDistance(wanted, folded);
    if (distance > std::max<size_t>(1, std::max(wanted.size(), folded.size()) / 3)) continue;
    if (nearest.empty() || distance < nearest_distance) {
      nearest = candidate;
      nearest_distance = distance;
    }
  }
  return nearest;
}

std::string UnknownName(const std::string& what, const std::string& word, const std::vector<std::string>& candidates) {
  std::string text = fmt::format("unknown {} '{}'", what, word);
  const std::string nearest = Nearest(word, candidates);
  text += nearest.empty() ? "." : fmt::format(": did you mean '{}'?", nearest);
  if (!candidates.empty()) {
    text += candidates.size() == 1 ? " There is " : " There are ";
    text += fmt::format("{}.", fmt::join(candidates, ", "));
  }
  return text;
}

}  // namespace shardlab
