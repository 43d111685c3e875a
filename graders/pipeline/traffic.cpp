#include "traffic.hpp"

namespace shardlab::grade {

Traffic TrafficBetween(const Run& run, int rank, const std::string& from, const std::string& to) {
  Traffic traffic;
  bool inside = false;
  for (const Event& event : run.outcome.events) {
    if (event.rank != rank) continue;
    const Record& record = event.record;
    if (record.kind == RecordKind::kMark) {
      if (from == record.name) inside = true;
      if (to == record.name) inside = false;
    }
    if (!inside || record.kind != RecordKind::kPost) continue;
    if (record.op == OpKind::kSend) {
      ++traffic.messages;
      traffic.bytes += record.bytes_sent;
    }
    if (IsCollective(record.op)) ++traffic.collectives;
  }
  return traffic;
}

Traffic TotalTraffic(const Run& run, int ranks, const std::string& from, const std::string& to) {
  Traffic total;
  for (int rank = 0; rank < ranks; ++rank) {
    const Traffic one = TrafficBetween(run, rank, from, to);
    total.messages += one.messages;
    total.bytes += one.bytes;
    total.collectives += one.collectives;
  }
  return total;
}

}  // namespace shardlab::grade
