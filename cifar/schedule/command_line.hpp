#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

namespace shardlab {

/// Lets numbers above 0 through. (CLI11's own validator names the largest double in all its digits.)
inline CLI::Validator AboveZero() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        char* end = nullptr;
        const double value = std::strtod(text.c_str(), &end);
        const bool good = end != text.c_str() && *end == '\0' && value > 0 && std::isfinite(value);
        return good ? "" : fmt::format("'{}' is no number above 0", text);
      },
      "");
}

/// Lets whole numbers from 0 on through, which std::strtoull and its like would make of -1 as well.
inline CLI::Validator ZeroOrMore() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        const bool good = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
        return good ? "" : fmt::format("'{}' is no whole number from 0 on", text);
      },
      "");
}

/// What CLI11 complains of, in one line for a person: which option, what was given, what would be right.
inline std::string WhatIsWrong(const CLI::ParseError& error) {
  std::string line = error.what();
  std::replace(line.begin(), line.end(), '\n', ' ');
  const std::string option = line.substr(0, line.find_first_of(": "));
  if (dynamic_cast<const CLI::ConversionError*>(&error) != nullptr) {  // "Could not convert: --stages = x"
    const size_t begin = line.find("--");
    const size_t equals = line.find(" = ");
    if (begin == std::string::npos || equals == std::string::npos) return line;
    return fmt::format("{} {}: not a number that this option takes", line.substr(begin, equals - begin),
                       line.substr(equals + 3));
  }
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    return fmt::format("{}: give it once, with one value", option);
  }
  return line;
}

}  // namespace shardlab
