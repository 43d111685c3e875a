#include "message_steps.hpp"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

namespace shardlab::grade {

int64_t CeilLog2(int64_t n) {
  int64_t steps = 0;
  while ((int64_t{1} << steps) < n) ++steps;
  return steps;
}

namespace {

/// One message and what had to come before it.
struct Message {
  std::vector<int> before;  ///< messages that its sender had received, its sender's last one, its receiver's last one
  int64_t step = -1;        ///< -1: not known yet, 0: being worked out
};

int64_t StepOf(std::vector<Message>& messages, int index) {
  Message& message = messages[index];
  if (message.step >= 0) return message.step;  // 0 only within a circle of messages, which cannot take part
  message.step = 0;
  int64_t step = 1;
  for (int before : message.before) step = std::max(step, StepOf(messages, before) + 1);
  return messages[index].step = step;
}

}  // namespace

int64_t OneAtATimeSteps(const CaseOutcome& outcome) {
  using Link = std::tuple<int, int, int>;  // from, to, tag: messages on a link are received in order
  std::vector<Message> messages;
  std::map<Link, std::vector<int>> sent;                                // messages by link
  std::map<Link, size_t> receives;                                      // posted so far
  std::map<std::pair<int, uint64_t>, std::pair<Link, size_t>> pending;  // (rank, operation) -> the receive it is
  std::map<int, std::vector<int>> received;                             // by rank, in the order of completion
  std::map<int, int> last_sent;

  for (const Event& event : outcome.events) {
    const Record& record = event.record;
    if (record.kind == RecordKind::kPost && record.op == OpKind::kSend) {
      const int index = static_cast<int>(messages.size());
      messages.push_back({received[event.rank], -1});
      if (last_sent.count(event.rank)) messages.back().before.push_back(last_sent[event.rank]);
      last_sent[event.rank] = index;
      sent[{event.rank, record.peer, record.tag}].push_back(index);
    } else if (record.kind == RecordKind::kPost && record.op == OpKind::kRecv) {
      const Link link{record.peer, event.rank, record.tag};
      pending[{event.rank, record.id}] = {link, receives[link]++};
    } else if (record.kind == RecordKind::kUnblock) {
      const auto receive = pending.find({event.rank, record.id});
      if (receive == pending.end()) continue;
      const auto& [link, position] = receive->second;
      if (position >= sent[link].size()) continue;
      const int index = sent[link][position];
      auto& arrived = received[event.rank];
      if (!arrived.empty()) messages[index].before.push_back(arrived.back());
      arrived.push_back(index);
      pending.erase(receive);
    }
  }

  int64_t steps = 0;
  for (size_t i = 0; i < messages.size(); ++i) steps = std::max(steps, StepOf(messages, static_cast<int>(i)));
  return steps;
}

}  // namespace shardlab::grade
