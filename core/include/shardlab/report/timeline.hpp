#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "shardlab/comm/record.hpp"
#include "shardlab/grade/case.hpp"

/// \file
/// What the ranks of one run announced, put together: which operation began and ended when, who waited, and which send
/// a receive belongs to. Pictures and traces are drawn from this.
///
/// Announcements are written by code in the student's address space: whatever they say, nothing here fails.

namespace shardlab {

/// One operation of one rank. Times are microseconds since the run's first event.
struct TimelineSpan {
  int rank = 0;                  ///< world rank
  int thread = 0;                ///< that posted it; 0 is the main one
  int waiting_thread = 0;        ///< that waited for it
  OpKind op = OpKind::kBarrier;  ///< which operation
  int peer = -1;                 ///< the other side of a message
  std::string what;              ///< "Recv from rank 3, tag 2, float32 [2, 3], at ring.cpp:31"
  double posted_us = 0;          ///< when it was handed over
  double blocked_us = -1;        ///< from when its thread waited for it; negative: nobody did
  double ended_us = -1;          ///< when the wait was over; negative: never
  bool failed = false;           ///< it ended with an error
  bool asynchronous = false;     ///< its thread did something else between the post and the wait
  /// Whether a thread waited for it.
  bool waits() const { return blocked_us >= 0; }
  /// Whether the wait for it was over.
  bool ended() const { return ended_us >= 0; }
};

/// A message that both sides posted: indices of the spans.
struct TimelineMessage {
  size_t send = 0;     ///< of its send
  size_t receive = 0;  ///< of its receive
};

/// A moment that the body named.
struct TimelineMark {
  int rank = 0;        ///< whose
  int thread = 0;      ///< that made it
  double time_us = 0;  ///< since the run's first event
  std::string name;    ///< what the body calls it
};

/// One rank's end.
struct TimelineRank {
  grade::Status status = grade::Status::kPassed;  ///< as in RankOutcome
  std::string message;                            ///< as in RankOutcome
  double first_us = -1;                           ///< its first event; negative: it announced nothing
  double last_us = -1;                            ///< its last event
  bool returned = false;                          ///< its last event is its return
  int threads = 1;                                ///< that announced something
};

/// One run.
struct Timeline {
  std::vector<TimelineRank> ranks;        ///< one a rank
  std::vector<TimelineSpan> spans;        ///< by the time of their posts
  std::vector<TimelineMessage> messages;  ///< by the time of their sends
  std::vector<TimelineMark> marks;        ///< by time
  double end_us = 0;                      ///< the last event of any rank
  size_t left_out = 0;                    ///< spans that KeepLast() removed
};

/// Puts the events of a run together. Cost: n log n in the number of events.
Timeline MakeTimeline(const grade::CaseOutcome& run);

/// Removes all but the last `count` spans, and what belongs to those: the end is where a failure shows.
void KeepLast(Timeline& timeline, size_t count);

/// A row a thread, time from left to right, as inline SVG for the report's page (its colours are the page's classes
/// `tl-...`). Waiting is a bar, an operation under way in the background a line above, computing the ground between;
/// arrows are messages; what never ended runs to the right edge. A stretch in which nothing happens and that is more
/// than a third of the whole is cut, and the cut is marked.
/// \param label what a screen reader says first, "Timeline of all_gather_values/ranks=3".
std::string TimelineSvg(const Timeline& timeline, const std::string& label);

/// Runs of one case in the trace-event format that Perfetto (ui.perfetto.dev) and chrome://tracing open: a process a
/// rank, a thread a thread, slices for waits, asynchronous slices for operations in the background, arrows for
/// messages, instants for marks. Several runs follow each other, a millisecond apart.
/// \param name of the case, shown beside every rank.
std::string ToChromeTrace(const std::vector<Timeline>& runs, const std::string& name);

}  // namespace shardlab
