// What processes of a grading session tell each other: frames of tensors, messages, packets, announcements.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "shardlab/base/errors.hpp"
#include "shardlab/comm/announcer.hpp"
#include "shardlab/comm/matcher.hpp"
#include "shardlab/grade/frame.hpp"
#include "shardlab/grade/wire.hpp"
#include "shardlab/report/timeline.hpp"
#include "target.hpp"

namespace shardlab::fuzz {
namespace {

using grade::Channel;
using grade::Message;

void WriteWhole(int fd, const std::string& bytes) {
  size_t at = 0;
  while (at < bytes.size()) {
    const ssize_t n = write(fd, bytes.data() + at, bytes.size() - at);
    if (n <= 0) throw std::logic_error("the harness cannot hand its input over");
    at += static_cast<size_t>(n);
  }
}

// A file that is read from its start.
launch::Fd FileOf(const std::string& bytes) {
  launch::Fd file(memfd_create("input", MFD_CLOEXEC));
  WriteWhole(file.get(), bytes);
  lseek(file.get(), 0, SEEK_SET);
  return file;
}

// --- frames

grade::Frames SomeFrames() {
  grade::Frames frames;
  const float values[] = {1, 2, 3, 4, 5, 6};
  const auto* bytes = reinterpret_cast<const uint8_t*>(values);
  frames["weight"] = {6, {2, 3}, {bytes, bytes + sizeof values}};
  frames["empty"] = {7, {0, 4}, {}};
  frames["a scalar"] = {6, {}, {bytes, bytes + 4}};
  return frames;
}

std::vector<std::string> FrameSeeds() { return {grade::EncodeFrames(SomeFrames()), ""}; }

void TryFrames(const std::string& input) {
  try {
    const std::string again = grade::EncodeFrames(grade::DecodeFrames(input.data(), input.size()));
    if (grade::EncodeFrames(grade::DecodeFrames(again.data(), again.size())) != again) {
      throw std::logic_error("frames that are read, written and read again differ");
    }
  } catch (const grade::FrameError& error) {
    CheckRefusal(error.what());
  }
}

// --- messages and packets

std::string OverTheWire(const Message& message) {
  auto [from, to] = launch::MakeSockets(SOCK_STREAM);
  Channel channel(std::move(from));
  channel.Send(message, 1);
  std::string bytes(1 << 16, '\0');
  const ssize_t n = recv(to.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  bytes.resize(n < 0 ? 0 : static_cast<size_t>(n));
  return bytes;
}

std::vector<std::string> MessageSeeds() {
  grade::CaseRequest request;
  request.body = "ring_all_gather";
  request.ranks = 2;
  request.params = {{"rows", {2, 3}}};
  request.inputs = {grade::EncodeFrames(SomeFrames()), ""};
  request.faults.delay_ops = {OpKind::kSend, OpKind::kAllReduce};

  grade::CaseOutcome outcome;
  outcome.status = grade::Status::kDeadlock;
  outcome.message = "rank 0 waits";
  outcome.ranks.resize(2);
  outcome.ranks[1].outputs = SomeFrames();
  outcome.costs = {{1, 2, 3, 4, 5}, {6, 7, 8, 9, 10}};
  outcome.waits = {{0, {1}, "Recv from rank 1", "ring.cpp:12", true}};
  outcome.stacks = {{1, "SIGSEGV", {{"shardlab::RingAllGather", "ring.cpp:31"}}}};
  outcome.events.resize(1);

  grade::CaseResult result;
  result.part = "communication.ring";
  result.id = "cost/ranks=2";
  result.has_figure = true;
  result.evidence = {{"figures", {{{"what", "rounds"}, {"measured", 6}}}}};

  grade::LearningCurve curve;
  curve.run = {2.3, 1.5};
  curve.reference = curve.run;
  curve.tolerance = {1e-10, 2e-10};

  grade::ListedCase listed{"communication.ring", "cost/ranks=2", grade::Kind::kCost, 2};
  return {OverTheWire(ToMessage(request)), OverTheWire(ToMessage(outcome)),
          OverTheWire({{{"type", "result"}, {"result", result}}, {}}),
          OverTheWire({{{"type", "curve"}, {"curve", curve}}, {}}),
          OverTheWire({{{"type", "cases"}, {"cases", {listed, listed}}}, {}})};
}

// What the sides of a session make of a message: the type says what it should be.
void TryMessage(const std::string& input) {
  auto [ours, theirs] = launch::MakeSockets(SOCK_STREAM);
  const int room = 1 << 20;
  setsockopt(theirs.get(), SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  WriteWhole(theirs.get(), input);
  theirs.Reset();
  Channel channel(std::move(ours));
  try {
    const auto message = channel.Receive(1, 1);
    if (!message) return;
    const std::string type = message->header["type"];
    if (type == "run") (void)ToMessage(RequestFrom(*message));
    if (type == "outcome") {
      const grade::CaseOutcome outcome = OutcomeFrom(*message);
      (void)ToMessage(outcome);
      const Timeline timeline = MakeTimeline(outcome);
      (void)TimelineSvg(timeline, "fuzz");
      (void)ToChromeTrace({timeline}, "fuzz");
    }
    if (type == "result") (void)message->header.at("result").get<grade::CaseResult>();
    if (type == "curve") (void)message->header.at("curve").get<grade::LearningCurve>();
    if (type == "cases") (void)message->header.at("cases").get<std::vector<grade::ListedCase>>();
  } catch (const grade::WireError& error) {
    CheckRefusal(error.what());
  } catch (const nlohmann::json::exception&) {
    // Both sides catch it where they read the header.
  }
}

// --- announcements

// What 2 ranks announce in a small run, one after the other: a byte for the rank, then what it writes.
std::vector<std::string> AnnouncementSeeds() {
  std::vector<std::string> seeds;
  for (const bool collective : {false, true}) {
    for (int rank = 0; rank < 2; ++rank) {
      auto [read_end, write_end] = launch::MakePipe();
      Announcer announcer(write_end.get());
      announcer.Group(1, "world", rank, {0, 1});
      announcer.Mark("begin");
      Record record;
      record.op = collective ? OpKind::kAllToAll : rank == 0 ? OpKind::kSend : OpKind::kRecv;
      record.group = 1;
      record.group_rank = rank;
      record.peer = 1 - rank;
      record.tag = 3;
      record.dtype = 6;
      record.dims = 2;
      record.shape[0] = record.shape[1] = 4;
      record.bytes_sent = record.bytes_received = 64;
      const uint16_t helper = announcer.NewThread();
      announcer.ThreadStarts(helper);
      const uint64_t id = announcer.Post(record, std::vector<RecordPart>(collective ? 2 : 0, {32, 32, 5, 5}));
      announcer.Block(id);
      announcer.Unblock(id, false, 77);
      announcer.Join(helper);
      announcer.Unblock(0);
      announcer.Drop(announcer.Post(record));
      announcer.Return();
      write_end.Reset();
      std::string bytes(1 << 16, '\0');
      const ssize_t n = read(read_end.get(), bytes.data(), bytes.size());
      seeds.push_back(std::string(1, static_cast<char>(rank)) + bytes.substr(0, n > 0 ? static_cast<size_t>(n) : 0));
    }
  }
  return seeds;
}

void TryAnnouncements(const std::string& input) {
  constexpr int kRanks = 3;
  if (input.empty()) return;
  const int first = input[0] & 3;
  const launch::Fd file = FileOf(input.substr(1));
  Matcher matcher(kRanks);
  grade::CaseOutcome outcome;
  outcome.ranks.resize(kRanks);
  try {
    AnnouncementReader reader(file.get());
    int count = 0;
    while (reader.Drain([&](const Announcement& announcement) {
      // The same announcements from several ranks make operations that fit.
      for (int rank = 0; rank < kRanks; ++rank) {
        if (rank == first || (count + rank) % 5 != 0) matcher.Feed(rank, announcement);
      }
      if (++count % 16 == 0) (void)matcher.Check().Text();
    })) {
    }
  } catch (const CommError& error) {
    CheckRefusal(error.what());
  }
  (void)matcher.Check().Text();
  matcher.Died(first % kRanks, "SIGSEGV");
  (void)matcher.Finish().Text();
  (void)matcher.Total();
  for (int rank = 0; rank < kRanks; ++rank) (void)matcher.State(rank);
  for (const TimelineEvent& event : matcher.Events()) outcome.events.push_back({event.record, event.rank});
  (void)TimelineSvg(MakeTimeline(outcome), "fuzz");
}

const Registered kFrames({"frames", "tensors that a rank hands back, in shared memory", FrameSeeds, TryFrames, {}});
const Registered kMessages({"wire",
                            "messages between referee and supervisor",
                            MessageSeeds,
                            TryMessage,
                            {"{", "[", "\"blobs\":[", "null", "-1", "\"type\":\"run\"", "1e400", "\\u0000"}});
const Registered kAnnouncements(
    {"records", "what ranks announce, and the matcher", AnnouncementSeeds, TryAnnouncements, {}});

}  // namespace
}  // namespace shardlab::fuzz
