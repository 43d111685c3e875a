#include "sample.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace shardlab::sample {

using grade::CaseOutcome;
using grade::CaseResult;
using grade::Kind;
using grade::Status;
using nlohmann::json;

namespace {

/// Adds the records of one rank, a hundred microseconds apart.
class RankScript {
 public:
  RankScript(CaseOutcome& run, int rank, int64_t begin_us) : run_(run), rank_(rank), now_us_(begin_us) {}

  void Mark(const std::string& name) {
    Record record = Make(RecordKind::kMark);
    std::strncpy(record.name, name.c_str(), sizeof record.name - 1);
    run_.events.push_back({record, rank_});
  }
  uint64_t Post(OpKind op, int peer) {
    Record record = Make(RecordKind::kPost);
    record.op = op;
    record.peer = peer;
    record.id = ++posted_;
    record.dtype = 7;
    record.dims = 1;
    record.shape[0] = 3;
    record.bytes_sent = op == OpKind::kSend ? 24 : 0;
    record.line = 31;
    std::strncpy(record.name, "ring.cpp", sizeof record.name - 1);
    posts_[record.id % 8] = record;
    run_.events.push_back({record, rank_});
    return posted_;
  }
  void About(RecordKind kind, uint64_t id) {
    Record record = posts_[id % 8];
    record.kind = kind;
    record.time_ns = Make(kind).time_ns;
    run_.events.push_back({record, rank_});
  }
  void Return() { run_.events.push_back({Make(RecordKind::kReturn), rank_}); }

 private:
  Record Make(RecordKind kind) {
    Record record;
    record.kind = kind;
    record.time_ns = (now_us_ += 100) * 1000;
    return record;
  }

  CaseOutcome& run_;
  int rank_;
  int64_t now_us_;
  uint64_t posted_ = 0;
  Record posts_[8];
};

CaseResult Case(const std::string& part, const std::string& id, Kind kind, Status status, const std::string& message) {
  CaseResult result;
  result.part = part;
  result.id = id;
  result.kind = kind;
  result.status = status;
  result.message = message;
  result.seconds = 0.12;
  return result;
}

json WrongTensor(const std::string& what, const std::vector<int64_t>& shape, const std::vector<int64_t>& offset) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  json got = json::array(), expected = json::array(), wrong = json::array();
  for (int64_t i = 0; i < count; ++i) {
    expected.push_back(i * 1.5);
    wrong.push_back(i % 3 == 1);
    got.push_back(i % 3 != 1 ? json(i * 1.5) : i % 2 == 1 ? json(i * 3.0) : json(nullptr));
  }
  std::vector<int64_t> index(shape.size(), 0);
  if (!index.empty()) index.back() = 1;
  std::vector<int64_t> full = index;
  for (size_t dim = 0; dim < offset.size(); ++dim) full[dim] += offset[dim];
  return {{"what", what},
          {"rank", 1},
          {"shape", shape},
          {"offset", offset},
          {"index", index},
          {"full_index", full},
          {"expected", 1.5},
          {"got", 3.0},
          {"ratio", 2.0},
          {"wrong", count / 3},
          {"of", count},
          {"where", "every third element"},
          {"cells", {{"got", got}, {"expected", expected}, {"wrong", wrong}}}};
}

PartScore Part(const std::string& id, const std::string& title, Status status, std::vector<CaseResult> cases) {
  PartScore part;
  part.id = id;
  part.title = title;
  part.max = 1;
  part.score = status == Status::kPassed ? 1 : 0;
  part.status = status;
  part.cases = std::move(cases);
  for (const CaseResult& result : part.cases) {
    if (part.reason.empty() && result.status == status) part.reason = result.message;
  }
  return part;
}

}  // namespace

CaseOutcome RingRun(int ranks, bool stuck) {
  CaseOutcome run;
  run.status = stuck ? Status::kDeadlock : Status::kPassed;
  run.ranks.resize(static_cast<size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) {
    const bool silent = stuck && rank == ranks - 1;
    RankScript script(run, rank, 1'000'000 + 30 * rank);
    script.Mark("begin");
    const uint64_t receive = script.Post(OpKind::kRecv, (rank + ranks - 1) % ranks);
    if (!silent) {
      const uint64_t send = script.Post(OpKind::kSend, (rank + 1) % ranks);
      script.About(RecordKind::kBlock, send);
      script.About(RecordKind::kUnblock, send);
    }
    script.About(RecordKind::kBlock, receive);
    if (stuck && rank == 0) {
      run.ranks[0].status = Status::kDeadlock;
      continue;
    }
    script.About(RecordKind::kUnblock, receive);
    script.Return();
  }
  std::stable_sort(run.events.begin(), run.events.end(),
                   [](const grade::Event& a, const grade::Event& b) { return a.record.time_ns < b.record.time_ns; });
  return run;
}

std::string Hostile() {
  return "</pre></td></svg></style><script>document.title='owned'</script><img src=x "
         "onerror=\"document.title='owned'\">"
         "\xff\xfe\x1b[31m {{{css}}} \"' & ]]>";
}

HtmlReport EverythingReport() {
  const std::string hostile = Hostile();
  CaseResult deadlock = Case("demo.ring", "all_gather_values/ranks=3", Kind::kValue, Status::kDeadlock,
                             "rank 0 receives from rank 2, rank 2 from rank 1, rank 1 from rank 0: each waits for a "
                             "message that would be sent after the receive; start the sends before the receives (ISend)"
                             "\n  rank 0: waits in Recv from rank 2, tag 0, float64 [3], at ring.cpp:31\n" +
                                 hostile);
  for (int rank = 0; rank < 3; ++rank) {
    deadlock.evidence["waits"].push_back({{"rank", rank},
                                          {"waits_for", {(rank + 2) % 3}},
                                          {"operation", "Recv from rank 2, tag 0, float64 [3] " + hostile},
                                          {"where", "ring.cpp:31"},
                                          {"in_cycle", true}});
  }
  CaseResult wrong = Case("demo.ring", "sums/ranks=2", Kind::kGradient, Status::kFailed,
                          "gradient of layer1.weight on rank 1 is wrong in 5 of 15 elements " + std::string(300, 'w'));
  wrong.evidence["tensor"] = WrongTensor("gradient of layer1.weight " + hostile, {3, 5}, {4, 0});
  wrong.evidence["diagnosis"] = "the sum over the ranks is missing its division by 2 " + hostile;
  CaseResult flat = Case("demo.ring", "flat/ranks=2", Kind::kRobustness, Status::kFailed, "the flat one is wrong");
  flat.evidence["tensor"] = WrongTensor("gathered", {19}, {});
  CaseResult cube = Case("demo.ring", "cube/ranks=2", Kind::kRobustness, Status::kFailed, "the large one is wrong");
  cube.evidence["tensor"] = WrongTensor("images", {2, 2, 4, 16}, {0, 0, 0, 16});
  CaseResult bytes = Case("demo.ring", "bytes/ranks=2", Kind::kCost, Status::kFailed, "48 bytes; expected exactly 24");
  bytes.evidence["figures"] = {
      {{"what", "bytes " + hostile}, {"measured", 48}, {"target", 24}, {"unit", "bytes"}, {"met", false}},
      {{"what", "messages"}, {"measured", 1}, {"target", 1}, {"unit", "messages"}, {"met", true}}};
  CaseResult crash =
      Case("demo.crash", "values/ranks=2", Kind::kValue, Status::kCrashed,
           "rank 1 ended by SIGSEGV; its last operation: Recv from rank 0\nthe last that it printed:\n" + hostile);
  crash.evidence["stacks"] = {{{"rank", 1},
                               {"why", "SIGSEGV"},
                               {"frames",
                                {{{"function", "shardlab::Scatter(Communicator&, std::vector<long> const&) " + hostile},
                                  {"where", "scatter.cpp:14"}},
                                 {{"function", "main"}, {"where", ""}}}}}};
  CaseResult lists =
      Case("demo.crash", "lists/ranks=2", Kind::kValue, Status::kFailed,
           "1f1b with 3 micro-batches on 2 stages is not valid: t: deadlock: rank 0 is at 0B0 and waits for 1B0\n"
           "  rank 0    .. 0F0 [0B0] 0F1 0B1 ..     step 1: waits for 1B0 or 1I0, step 3 of rank 1\n"
           "  rank 1            end\n"
           "  rank 12  1F2 1F0  1B1 1B0\n"
           "rank 1 says no more\n"
           "It is\n"
           "  time     0              5\n"
           "  rank 0   F0 F1 ......B0--- ...B1---\n"
           "  rank 1   ...F0 B0--- F1 B1--- ......\n"
           "           F forward   B backward   . idle\n"
           "and it must be shorter");
  CaseResult passed = Case("demo.good", "cost/ranks=4", Kind::kCost, Status::kPassed, "");
  passed.has_figure = true;
  passed.measured = 80640;
  passed.target = 80640;
  passed.unit = "bytes";
  CaseResult share = passed;
  share.id = "time/ranks=2";
  share.measured = 53.75;
  share.target = 60;
  share.unit = "%";

  PartScore broken = Part("demo.broken", "A part that does not compile", Status::kDoesNotCompile, {});
  broken.reason =
      "exercises/demo/b.cpp:7:3: error: 'rnak' was not declared\n    7 |   rnak = 0;\n      |   ^~~~ " + hostile;
  PartScore waiting = Part(
      "demo.waiting", "A part that builds on another", Status::kSkipped,
      {Case("demo.waiting", "values/ranks=2", Kind::kValue, Status::kSkipped, "builds on demo.ring, which fails now")});
  PartScore open = Part("demo.open", "A part that is not written yet", Status::kNotImplemented,
                        {Case("demo.open", "values/ranks=2", Kind::kValue, Status::kNotImplemented,
                              "demo.open: Open is not implemented yet (exercises/demo/open.cpp)")});
  open.bonus = true;

  ModuleScore module;
  module.id = "demo";
  module.title = "A demonstration of everything that a report can show";
  module.score = 1;
  module.max = 5;
  module.bonus_max = 1;
  module.parts = {Part("demo.ring", "Rings, and a title that is long enough to be broken on the screen of a telephone",
                       Status::kDeadlock, {deadlock, wrong, flat, cube, bytes}),
                  Part("demo.crash", "What crashes", Status::kCrashed, {crash, lists}),
                  Part("demo.good", "What passes", Status::kPassed, {passed, share}),
                  broken,
                  waiting,
                  open};

  HtmlReport report;
  report.card.seed = 7;
  report.card.seconds = 12.5;
  report.card.libtorch = "1.13.1";
  report.card.revision = "0123456789abcdef0123456789abcdef01234567";
  report.card.modules = {module};
  report.next = "Next: demo.ring\n      ./lab hint demo.ring";
  grade::LearningCurve curve{"demo.good", "curve/ranks=2", "mlp", {}, {}, {}};
  for (int step = 0; step < 60; ++step) {
    curve.reference.push_back(2.3 * std::exp(-step / 30.0));
    curve.run.push_back(curve.reference.back() + (step > 40 ? 0.2 : 0));
    curve.tolerance.push_back(0.1);
  }
  report.curves = {curve};
  report.timelines["demo.ring/all_gather_values/ranks=3"] = MakeTimeline(RingRun(3, true));
  report.timelines["demo.good/cost/ranks=4"] = MakeTimeline(RingRun(4));
  CaseOutcome crashed = RingRun(2, true);
  crashed.ranks[0].status = Status::kCrashed;
  crashed.ranks[0].message = "SIGSEGV " + hostile;
  std::strncpy(crashed.events[0].record.name, "</title><script>", sizeof crashed.events[0].record.name - 1);
  report.timelines["demo.crash/values/ranks=2"] = MakeTimeline(crashed);
  return report;
}

}  // namespace shardlab::sample
