#pragma once

#include <cstddef>
#include <string>

#include <fmt/format.h>

namespace shardlab {

/// "1 case", "2 cases".
inline std::string Plural(size_t count, const std::string& thing) {
  return fmt::format("{} {}{}", count, thing, count == 1 ? "" : "s");
}

/// "all_gather_bytes" of "all_gather_bytes/ranks=3".
inline std::string BaseName(const std::string& case_id) { return case_id.substr(0, case_id.find('/')); }

}  // namespace shardlab
