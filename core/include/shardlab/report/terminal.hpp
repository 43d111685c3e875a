#pragma once

#include <cstddef>
#include <string>
#include <vector>

/// \file
/// What the other end of standard output or standard error can show, and text that fits on it.

namespace shardlab {

/// How to write on one stream.
struct Terminal {
  bool interactive = false;  ///< a person watches: lines may be redrawn
  bool colour = false;       ///< escape sequences are understood and wanted
  bool unicode = false;      ///< the locale's character set is UTF-8
  size_t width = 100;        ///< columns for text, at most 100: long lines read badly
  size_t columns = 100;      ///< columns that there are, for pictures

  /// Looks at the stream (1 or 2) and at NO_COLOR, TERM, COLUMNS, LC_ALL, LC_CTYPE and LANG.
  static Terminal Of(int file_descriptor);
};

/// What a piece of text means; the colour follows from it.
enum class Tone { kPlain, kGood, kBad, kWarning, kQuiet, kStrong, kAccent };

/// `text` in the colour of `tone`, or as it is where the terminal has no colour.
std::string Paint(const std::string& text, Tone tone, const Terminal& terminal);

/// The number of columns that UTF-8 text takes, one a code point; escape sequences take none.
size_t DisplayWidth(const std::string& text);

/// Text filled up with spaces on the right to `width` columns; longer text stays as it is.
std::string PadRight(const std::string& text, size_t width);
/// The same, with spaces on the left.
std::string PadLeft(const std::string& text, size_t width);

/// Text cut to `width` columns, the end replaced by "..." (or an ellipsis) where something was cut.
std::string Shorten(const std::string& text, size_t width, const Terminal& terminal);

/// The lines of `text`, those wider than `width` broken at spaces; a broken line goes on with the indent of its
/// beginning. Words wider than a line stay whole.
std::vector<std::string> Wrap(const std::string& text, size_t width);

/// A number for a person: whole numbers with commas (1,536), others with four significant digits.
std::string PrettyNumber(double value);

/// A figure for a person: 3 rounds, 1 round, 1 micro-batch, 1 ms.
/// \param unit in the plural.
std::string PrettyAmount(double value, const std::string& unit);

/// Points for a person: 1, 0.5, 0.125, 0.67.
std::string PrettyPoints(double points);

/// A duration for a person: 0.3 s, 12 s, 2 min 05 s.
std::string PrettySeconds(double seconds);

}  // namespace shardlab
