#include "event_clock.hpp"

#include <algorithm>
#include <map>
#include <tuple>
#include <vector>

namespace shardlab::grade {
namespace {

// Events of one thread of one rank, and how far they are counted.
struct Line {
  std::vector<const Record*> events;
  size_t next = 0;
  double clock = 0;
};

// The k-th message of a (from, to, tag, group), or the k-th collective of a group: when each side was posted.
struct Meeting {
  std::vector<double> posted;  // times of the sides that are known
  double send = -1, receive = -1;
};

using Key = std::tuple<uint64_t, int, int, int, uint64_t>;  // group, from, to, tag, index

class EventClock {
 public:
  EventClock(const Run& run, const EventCosts& costs)
      : costs_(costs), ranks_(static_cast<int>(run.outcome.ranks.size())) {
    for (const Event& event : run.outcome.events) {
      lines_[{event.rank, event.record.thread}].events.push_back(&event.record);
    }
  }

  // Counts all events. False: some wait for ever.
  bool Count(const std::string& from, const std::string& to) {
    for (bool moved = true; moved;) {
      moved = false;
      for (auto& [who, line] : lines_) {
        while (line.next < line.events.size() && Take(who.first, line, from, to)) {
          ++line.next;
          moved = true;
        }
      }
    }
    return std::all_of(lines_.begin(), lines_.end(),
                       [](const auto& line) { return line.second.next == line.second.events.size(); });
  }

  double begin = 0;  // the latest mark `from`
  double end = 0;    // the latest mark `to`

 private:
  // One event; false where it has to wait for another line's.
  bool Take(int rank, Line& line, const std::string& from, const std::string& to) {
    const Record& record = *line.events[line.next];
    switch (record.kind) {
      case RecordKind::kMark:
        if (record.name == std::string("forward")) line.clock += costs_.forward;
        if (record.name == std::string("half backward")) line.clock += costs_.half_backward;
        if (record.name == from) begin = std::max(begin, line.clock);
        if (record.name == to) end = std::max(end, line.clock);
        return true;
      case RecordKind::kPost: {
        const Key key = KeyOf(rank, record);
        keys_[{rank, record.id}] = key;
        Meeting& meeting = meetings_[key];
        if (record.op == OpKind::kSend) meeting.send = line.clock;
        if (record.op == OpKind::kRecv) meeting.receive = line.clock;
        if (IsCollective(record.op)) meeting.posted.push_back(line.clock);
        return true;
      }
      case RecordKind::kBlock: {
        const Meeting& meeting = meetings_[keys_[{rank, record.id}]];
        if (IsCollective(record.op)) {
          if (static_cast<int>(meeting.posted.size()) < ranks_) return false;
          line.clock = std::max(line.clock, *std::max_element(meeting.posted.begin(), meeting.posted.end()));
          return true;
        }
        if (meeting.send < 0 || meeting.receive < 0) return false;
        const double done = record.op == OpKind::kRecv ? std::max(meeting.send, meeting.receive + costs_.receive_delay)
                                                       : meeting.receive;
        line.clock = std::max(line.clock, done);
        return true;
      }
      default:
        return true;
    }
  }

  Key KeyOf(int rank, const Record& record) {
    if (IsCollective(record.op)) return {record.group, -1, -1, 0, record.sequence};
    const bool sends = record.op == OpKind::kSend;
    const int from = sends ? rank : record.peer;
    const int to = sends ? record.peer : rank;
    return {record.group, from, to, record.tag, counts_[{record.group, from, to, record.tag, sends ? 1 : 0}]++};
  }

  const EventCosts costs_;
  const int ranks_;
  std::map<std::pair<int, uint16_t>, Line> lines_;
  std::map<Key, Meeting> meetings_;
  std::map<std::pair<int, uint64_t>, Key> keys_;  // of a rank's operations
  std::map<Key, uint64_t> counts_;
};

}  // namespace

double StepTime(const Run& run, const std::string& from, const std::string& to, const EventCosts& costs) {
  EventClock clock(run, costs);
  return clock.Count(from, to) ? clock.end - clock.begin : 0;
}

}  // namespace shardlab::grade
