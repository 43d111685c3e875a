#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shardlab/base/visible.hpp"
#include "shardlab/comm/matcher.hpp"
#include "shardlab/grade/case.hpp"
#include "shardlab/grade/wire.hpp"

/// \file
/// What a rank's end means, in words for the one who wrote its code.

namespace shardlab::grade {

/// How one rank ended, as the supervisor learned it.
struct RankEnd {
  bool ended = false;
  bool clean = false;   ///< the body returned and nothing else happened
  bool begun = false;   ///< it left word in its header, so it did run
  int wait_status = 0;  ///< as waitpid gives it
  int64_t time_ns = 0;  ///< of the throw where it is known, else of the discovery
  OutputHeader header;  ///< as the rank left it, its message cut to what fits
  StackArea stack;      ///< where it was then

  RankStage stage() const { return static_cast<RankStage>(header.state); }
  std::string said() const { return Visible(std::string(header.message, header.message_length)); }
};

/// "threw std::out_of_range: ...", "was killed by SIGSEGV (access through a null pointer)", "called exit(3) in the
/// middle of the body". `crash` becomes true where the last operation and what was printed help to find the place.
std::string EndText(const RankEnd& end, const Limits& limits, bool* crash);

/// "SIGSEGV", "exception": what RankStack::why says.
std::string WhyText(const RankEnd& end);

/// One line a frame: "\n    at RingAllGather (ring_all_gather.cpp:31)".
std::string FramesText(const std::vector<StackFrame>& frames, const char* indent);

/// "rank 2", "ranks 0, 1 and 3", "every rank".
std::string RanksText(const std::vector<int>& ranks, int all);

/// The last `lines` lines of a text.
std::string LastLines(const std::string& text, int lines);

/// "64 MiB".
std::string SizeText(int64_t bytes);

/// The wait-for graph of a deadlock, for a report.
std::vector<Waiting> WaitsOf(const Verdict& verdict);

}  // namespace shardlab::grade
