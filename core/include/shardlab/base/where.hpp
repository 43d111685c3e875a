#pragma once

namespace shardlab {

/// The line of source that made a call, taken by a defaulted parameter, so that a report can say
/// "ring_all_gather.cpp:31" of a rank that hangs there.
struct Where {
  const char* file = "";  ///< as the compiler names it
  int line = 0;           ///< counted from 1

  /// The place of the call whose defaulted argument this is.
  static constexpr Where Here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};

}  // namespace shardlab
