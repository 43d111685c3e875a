#pragma once

#include <cstdint>

#include "shardlab/grade/case.hpp"
#include "shardlab/grade/wire.hpp"
#include "shardlab/launch/process.hpp"

namespace shardlab::grade {

/// How much is kept of what a rank prints.
constexpr int64_t kRankPrintedLimit = 64 << 10;

/// What the supervisor shares with one rank of a case. The supervisor keeps its ends; the rank gets the others.
struct RankFiles {
  launch::Fd announcements_read;   ///< does not block
  launch::Fd announcements_write;  ///< the rank's, closed here once it is sent
  launch::Fd input;                ///< the parameters and the tensors, sealed
  launch::Fd output;               ///< an OutputHeader and frames, of fixed size
  launch::Fd printed;              ///< the rank's standard output and error, of fixed size
  launch::Fd relay;                ///< in a replay: the rank's way to the others, closed here once it is sent
};

/// Makes them for one rank of a case, but for `relay`. \throws EnvironmentError
RankFiles MakeRankFiles(const CaseRequest& request, int rank);

/// How a rank of the case `nonce` left its header, with numbers that can be; all zero when it left none.
OutputHeader ReadHeader(const RankFiles& files, uint64_t nonce);

/// What a rank that ended with `header` handed back; nothing is taken on trust. \throws FrameError
Frames ReadFrames(const RankFiles& files, const OutputHeader& header, int64_t limit_bytes);

}  // namespace shardlab::grade
