#include "shardlab/report/terminal.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

namespace shardlab {
namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool IsUtf8Locale() {
  std::string locale;  // the first that is set decides, as in setlocale(3)
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    if (locale.empty()) locale = Environment(name);
  }
  std::transform(locale.begin(), locale.end(), locale.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return locale.find("utf-8") != std::string::npos || locale.find("utf8") != std::string::npos;
}

constexpr size_t kMaxWidth = 100;
constexpr size_t kMinWidth = 40;
constexpr size_t kMaxColumns = 10000;

/// Where the code point (or escape sequence, of no width) that starts at `at` ends.
size_t NextGlyph(const std::string& text, size_t at, bool* escape) {
  *escape = text[at] == '\033' && at + 1 < text.size() && text[at + 1] == '[';
  size_t end = at + 1;
  if (*escape) {
    end = at + 2;
    while (end < text.size() && !std::isalpha(static_cast<unsigned char>(text[end]))) ++end;
    return std::min(end + 1, text.size());
  }
  while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
  return end;
}

/// The first `width` columns of `text`.
std::string Cut(const std::string& text, size_t width) {
  size_t at = 0, columns = 0;
  bool escape = false;
  while (at < text.size()) {
    const size_t next = NextGlyph(text, at, &escape);
    if (!escape && ++columns > width) break;
    at = next;
  }
  return text.substr(0, at);
}

}  // namespace

Terminal Terminal::Of(int file_descriptor) {
  Terminal terminal;
  terminal.interactive = isatty(file_descriptor) == 1 && Environment("TERM") != "dumb";
  terminal.colour = terminal.interactive && Environment("NO_COLOR").empty();
  terminal.unicode = IsUtf8Locale();
  winsize size{};
  size_t columns = 0;
  if (terminal.interactive && ioctl(file_descriptor, TIOCGWINSZ, &size) == 0) columns = size.ws_col;
  if (columns == 0) columns = std::strtoul(Environment("COLUMNS").c_str(), nullptr, 10);
  if (columns > 0) {
    terminal.width = std::clamp(columns, kMinWidth, kMaxWidth);
    terminal.columns = std::clamp(columns, kMinWidth, kMaxColumns);
  }
  return terminal;
}

std::string Paint(const std::string& text, Tone tone, const Terminal& terminal) {
  if (!terminal.colour || text.empty()) return text;
  const char* code = nullptr;
  switch (tone) {
    case Tone::kPlain:
      return text;
    case Tone::kGood:
      code = "32";
      break;
    case Tone::kBad:
      code = "31";
      break;
    case Tone::kWarning:
      code = "33";
      break;
    case Tone::kQuiet:
      code = "2";
      break;
    case Tone::kStrong:
      code = "1";
      break;
    case Tone::kAccent:
      code = "36";
      break;
  }
  return fmt::format("\033[{}m{}\033[0m", code, text);
}

size_t DisplayWidth(const std::string& text) {
  size_t columns = 0;
  bool escape = false;
  for (size_t at = 0; at < text.size();) {
    at = NextGlyph(text, at, &escape);
    if (!escape) ++columns;
  }
  return columns;
}

std::string PadRight(const std::string& text, size_t width) {
  const size_t columns = DisplayWidth(text);
  return columns >= width ? text : text + std::string(width - columns, ' ');
}

std::string PadLeft(const std::string& text, size_t width) {
  const size_t columns = DisplayWidth(text);
  return columns >= width ? text : std::string(width - columns, ' ') + text;
}

std::string Shorten(const std::string& text, size_t width, const Terminal& terminal) {
  if (DisplayWidth(text) <= width) return text;
  const std::string ellipsis = terminal.unicode ? "…" : "...";
  const size_t room = DisplayWidth(ellipsis);
  if (width <= room) return Cut(text, width);
  std::string kept = Cut(text, width - room);
  while (!kept.empty() && kept.back() == ' ') kept.pop_back();
  return kept + ellipsis;
}

std::vector<std::string> Wrap(const std::string& text, size_t width) {
  std::vector<std::string> lines;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    const size_t indent = std::min(line.find_first_not_of(' '), line.size());
    while (DisplayWidth(line) > width) {
      const std::string fits = Cut(line, width + 1);  // a space right behind the last column is a place to break
      size_t at = fits.rfind(' ');
      if (at == std::string::npos || at < indent || fits.find_first_not_of(' ') >= at) at = line.find(' ', indent + 1);
      if (at == std::string::npos || at >= line.size()) break;
      std::string first = line.substr(0, at);
      line.erase(0, std::min(line.find_first_not_of(' ', at), line.size()));
      line.insert(0, indent, ' ');
      lines.push_back(std::move(first));
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

std::string PrettyNumber(double value) {
  if (!std::isfinite(value)) return fmt::format("{}", value);
  if (value != std::floor(value) || std::abs(value) >= 1e15) return fmt::format("{:.4g}", value);
  std::string digits = fmt::format("{:.0f}", std::abs(value));
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(static_cast<size_t>(at), ",");
  return value < 0 ? "-" + digits : digits;
}

std::string PrettyAmount(double value, const std::string& unit) {
  std::string one = unit;
  const bool plural = unit.size() > 2 && unit.back() == 's';  // "ms" is none
  if (value == 1 && plural) {
    const bool es = unit.size() > 4 && unit.compare(unit.size() - 4, 4, "ches") == 0;
    one.erase(unit.size() - (es ? 2 : 1));
  }
  return fmt::format("{} {}", PrettyNumber(value), one);
}

std::string PrettyPoints(double points) {
  const double thousandths = 1000 * points;  // 0.125 as it is, thirds with two digits
  const bool exact = std::abs(thousandths - std::round(thousandths)) < 1e-9;
  std::string text = fmt::format("{:.{}f}", points, exact ? 3 : 2);
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  return text;
}

std::string PrettySeconds(double seconds) {
  if (seconds < 9.95) return fmt::format("{:.1f} s", seconds);
  const long whole = std::lround(seconds);
  if (whole < 60) return fmt::format("{} s", whole);
  return fmt::format("{} min {:02} s", whole / 60, whole % 60);
}

}  // namespace shardlab
