#include "shardlab/report/timeline.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>

namespace shardlab {

using grade::Event;

namespace {

/// The messages from one rank to another with one tag, in the order in which each side posted them.
struct Link {
  std::vector<size_t> sends, receives;
};
using LinkKey = std::tuple<uint64_t, int, int, int>;  // group, from, to, tag

class Builder {
 public:
  explicit Builder(const grade::CaseOutcome& run) {
    for (const grade::RankOutcome& rank : run.ranks) {
      timeline_.ranks.emplace_back();
      timeline_.ranks.back().status = rank.status;
      timeline_.ranks.back().message = rank.message;
    }
    double begin = std::numeric_limits<double>::infinity();
    for (const Event& event : run.events) begin = std::min(begin, static_cast<double>(event.record.time_ns));
    for (const Event& event : run.events) {
      if (event.rank < 0 || event.rank >= static_cast<int>(timeline_.ranks.size())) continue;
      Add(event, (static_cast<double>(event.record.time_ns) - begin) / 1e3);
    }
    Match();
    for (const TimelineRank& rank : timeline_.ranks) timeline_.end_us = std::max(timeline_.end_us, rank.last_us);
  }

  Timeline Take() { return std::move(timeline_); }

 private:
  void Add(const Event& event, double time_us) {
    const Record& record = event.record;
    TimelineRank& rank = timeline_.ranks[static_cast<size_t>(event.rank)];
    if (rank.first_us < 0) rank.first_us = time_us;
    rank.last_us = time_us;
    rank.returned = record.kind == RecordKind::kReturn;
    rank.threads = std::max(rank.threads, record.thread + 1);
    const size_t now = ++thread_events_[{event.rank, record.thread}];
    switch (record.kind) {
      case RecordKind::kPost:
        Post(event, time_us, now);
        break;
      case RecordKind::kBlock:
      case RecordKind::kUnblock:
      case RecordKind::kFailed: {
        const auto found = open_.find({event.rank, record.id});
        if (found == open_.end()) break;
        TimelineSpan& span = timeline_.spans[found->second.span];
        span.waiting_thread = record.thread;
        if (record.kind == RecordKind::kBlock) {
          span.blocked_us = time_us;
          span.asynchronous = record.thread != span.thread || now != found->second.posted_as + 1;
        } else {
          span.ended_us = time_us;
          span.failed = record.kind == RecordKind::kFailed;
          open_.erase(found);
        }
        break;
      }
      case RecordKind::kMark:
        timeline_.marks.push_back({event.rank, record.thread, time_us, record.name});
        break;
      default:
        break;
    }
  }

  void Post(const Event& event, double time_us, size_t now) {
    const Record& record = event.record;
    if (static_cast<int>(record.op) >= kOpKinds) return;
    const size_t index = timeline_.spans.size();
    TimelineSpan span;
    span.rank = event.rank;
    span.thread = span.waiting_thread = record.thread;
    span.op = record.op;
    span.peer = record.peer;
    span.what = Describe(record, "");
    span.posted_us = time_us;
    timeline_.spans.push_back(std::move(span));
    open_[{event.rank, record.id}] = {index, now};
    if (record.op == OpKind::kSend) {
      links_[{record.group, event.rank, record.peer, record.tag}].sends.push_back(index);
    } else if (record.op == OpKind::kRecv) {
      links_[{record.group, record.peer, event.rank, record.tag}].receives.push_back(index);
    }
  }

  void Match() {
    for (const auto& [key, link] : links_) {
      for (size_t k = 0; k < std::min(link.sends.size(), link.receives.size()); ++k) {
        timeline_.messages.push_back({link.sends[k], link.receives[k]});
      }
    }
    std::sort(timeline_.messages.begin(), timeline_.messages.end(),
              [](const TimelineMessage& a, const TimelineMessage& b) { return a.send < b.send; });
  }

  struct Open {
    size_t span = 0;
    size_t posted_as = 0;  // the how-manieth event of its thread
  };

  Timeline timeline_;
  std::map<std::pair<int, uint64_t>, Open> open_;
  std::map<LinkKey, Link> links_;
  std::map<std::pair<int, int>, size_t> thread_events_;
};

}  // namespace

Timeline MakeTimeline(const grade::CaseOutcome& run) { return Builder(run).Take(); }

void KeepLast(Timeline& timeline, size_t count) {
  if (timeline.spans.size() <= count) return;
  const size_t removed = timeline.spans.size() - count;
  timeline.spans.erase(timeline.spans.begin(), timeline.spans.begin() + static_cast<std::ptrdiff_t>(removed));
  timeline.left_out += removed;
  std::vector<TimelineMessage> messages;
  for (const TimelineMessage& message : timeline.messages) {
    if (message.send >= removed && message.receive >= removed) {
      messages.push_back({message.send - removed, message.receive - removed});
    }
  }
  timeline.messages = std::move(messages);
  const double begin = timeline.spans.empty() ? timeline.end_us : timeline.spans.front().posted_us;
  auto& marks = timeline.marks;
  marks.erase(
      std::remove_if(marks.begin(), marks.end(), [&](const TimelineMark& mark) { return mark.time_us < begin; }),
      marks.end());
  if (marks.size() > count) marks.erase(marks.begin(), marks.end() - static_cast<std::ptrdiff_t>(count));
  for (TimelineRank& rank : timeline.ranks) {
    if (rank.first_us >= 0) rank.first_us = std::min(std::max(rank.first_us, begin), rank.last_us);
  }
}

}  // namespace shardlab
