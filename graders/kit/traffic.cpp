#include "kit/traffic.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace shardlab::grade {
namespace {

std::string Words(const std::vector<Collective>& collectives, bool any_kind) {
  if (collectives.empty()) return "nothing";
  std::vector<std::string> names;
  for (const Collective& one : collectives) {
    names.push_back(fmt::format("{} of {} elements", any_kind ? "a collective" : shardlab::Name(one.op), one.elements));
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

Traffic TrafficBetween(const Run& run, int rank, const std::string& from, const std::string& to) {
  Traffic traffic;
  bool inside = false;
  for (const Event& event : run.outcome.events) {
    if (event.rank != rank) continue;
    const Record& record = event.record;
    if (record.kind == RecordKind::kMark) {
      if (record.name == from) inside = true;
      if (record.name == to) inside = false;
    }
    if (!inside || record.kind != RecordKind::kPost) continue;
    if (record.op == OpKind::kSend) {
      ++traffic.messages;
      traffic.bytes += record.bytes_sent;
    } else if (IsCollective(record.op)) {
      const auto size = static_cast<int64_t>(c10::elementSize(static_cast<at::ScalarType>(record.dtype)));
      traffic.collectives.push_back({record.op, record.bytes_sent / size});
    }
  }
  return traffic;
}

Traffic TotalTraffic(const Run& run, const std::string& from, const std::string& to) {
  Traffic total;
  for (int rank = 0; rank < static_cast<int>(run.outcome.ranks.size()); ++rank) {
    const Traffic one = TrafficBetween(run, rank, from, to);
    total.messages += one.messages;
    total.bytes += one.bytes;
    total.collectives.insert(total.collectives.end(), one.collectives.begin(), one.collectives.end());
  }
  return total;
}

void ExpectCollectives(CaseContext& t, const Run& run, const std::string& what, const std::string& from,
                       const std::string& to, const std::function<std::vector<Collective>(int rank)>& expected,
                       bool any_kind) {
  int64_t measured = 0;
  int64_t target = 0;
  for (int rank = 0; rank < t.ranks(); ++rank) {
    const std::vector<Collective> got = TrafficBetween(run, rank, from, to).collectives;
    const std::vector<Collective> want = expected(rank);
    bool same = got.size() == want.size();
    for (size_t i = 0; same && i < got.size(); ++i) {
      same = got[i].elements == want[i].elements && (any_kind || got[i].op == want[i].op);
    }
    t.Expect(same, fmt::format("{} on rank {} of {}: the contract has {}, and there was {}", what, rank, t.ranks(),
                               Words(want, any_kind), Words(got, false)));
    for (const Collective& one : got) measured += one.elements;
    for (const Collective& one : want) target += one.elements;
  }
  t.ExpectCost(what + ", elements that all ranks hand over", static_cast<double>(measured), static_cast<double>(target),
               "elements");
}

FaultSpec LateMessages(const CaseContext& t, double jitter_s) {
  FaultSpec faults;
  faults.jitter_s = jitter_s;
  faults.seed = t.seed();
  return faults;
}

}  // namespace shardlab::grade
