#include "shardlab/grade/wire.hpp"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include <fmt/format.h>

namespace shardlab::grade {

using launch::Deadline;
using nlohmann::json;

namespace {

constexpr uint32_t kPacketMagic = 0x44524853;  // "SHRD"
constexpr uint32_t kMaxJson = 64u << 20;
constexpr uint32_t kMaxBlobs = 4096;
constexpr uint64_t kMaxBlob = uint64_t{4} << 30;
constexpr size_t kMaxPacket = 128u << 10;
constexpr int kMaxPacketFds = 16;

// Text of a student's program need not be UTF-8.
std::string Dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

bool WaitFor(int fd, short events, const Deadline& deadline) {
  for (;;) {
    pollfd entry{fd, events, 0};
    const int n = poll(&entry, 1, deadline.Milliseconds());
    if (n > 0) return true;
    if (n == 0 && deadline.Passed()) return false;
    if (n < 0 && errno != EINTR) return false;
  }
}

// JSON has no infinities: they and NaN are null.
json Number(double value) { return value; }
double NumberFrom(const json& value) {
  return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
}
std::vector<double> SeriesFrom(const json& values) {
  std::vector<double> series;
  for (const json& value : values) series.push_back(NumberFrom(value));
  return series;
}

template <typename Enum>
Enum EnumFrom(const json& value, Enum last) {
  const int number = value.get<int>();
  if (number < 0 || number > static_cast<int>(last))
    throw WireError(fmt::format("{} is not a value of an enumeration", number));
  return static_cast<Enum>(number);
}

}  // namespace

Channel::Channel(launch::Fd socket) : socket_(std::move(socket)) {}

void Channel::Send(const Message& message, double limit_s) {
  json header = message.header;
  std::vector<uint64_t> sizes;
  for (const std::string& blob : message.blobs) sizes.push_back(blob.size());
  header["blobs"] = sizes;
  const std::string text = Dump(header);
  if (text.size() > kMaxJson) throw WireError(fmt::format("a message of {} bytes is too long", text.size()));
  const uint32_t prefix[2] = {kPacketMagic, static_cast<uint32_t>(text.size())};

  const Deadline deadline(limit_s);
  const auto write_all = [&](const void* data, size_t size) {
    const char* from = static_cast<const char*>(data);
    while (size > 0) {
      const ssize_t n = send(socket_.get(), from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n > 0) {
        from += n;
        size -= static_cast<size_t>(n);
      } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        if (!WaitFor(socket_.get(), POLLOUT, deadline)) throw WireError("the other side does not read what it is sent");
      } else if (n < 0 && errno != EINTR) {
        throw WireError(fmt::format("the other side has gone ({})", strerror(errno)));
      }
    }
  };
  write_all(prefix, sizeof prefix);
  write_all(text.data(), text.size());
  for (const std::string& blob : message.blobs) write_all(blob.data(), blob.size());
}

void Channel::ReadAll(void* to, size_t size, const Deadline& deadline) {
  char* into = static_cast<char*>(to);
  while (size > 0) {
    const ssize_t n = recv(socket_.get(), into, size, MSG_DONTWAIT);
    if (n > 0) {
      into += n;
      size -= static_cast<size_t>(n);
    } else if (n == 0) {
      throw WireError("the other side has gone");
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!WaitFor(socket_.get(), POLLIN, deadline))
        throw WireError("the other side stopped in the middle of a message");
    } else if (errno != EINTR) {
      throw WireError(fmt::format("the other side has gone ({})", strerror(errno)));
    }
  }
}

std::optional<Message> Channel::Receive(double wait_s, double limit_s) {
  if (!WaitFor(socket_.get(), POLLIN, Deadline(wait_s))) return std::nullopt;
  const Deadline deadline(limit_s);
  uint32_t prefix[2];
  ReadAll(prefix, sizeof prefix, deadline);
  if (prefix[0] != kPacketMagic || prefix[1] > kMaxJson)
    throw WireError("the other side sent something that is not a message");
  std::string text(prefix[1], '\0');
  ReadAll(text.data(), text.size(), deadline);
  Message message;
  message.header = json::parse(text, nullptr, false);
  if (!message.header.is_object() || !message.header.contains("type") || !message.header["type"].is_string()) {
    throw WireError("the other side sent a message without a type");
  }
  const json sizes = message.header.value("blobs", json::array());
  if (!sizes.is_array() || sizes.size() > kMaxBlobs) throw WireError("the other side sent too many blobs");
  for (const json& size : sizes) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() > kMaxBlob)
      throw WireError("the other side sent too large a blob");
    std::string blob(size.get<uint64_t>(), '\0');
    ReadAll(blob.data(), blob.size(), deadline);
    message.blobs.push_back(std::move(blob));
  }
  return message;
}

bool SendPacket(int socket, const json& packet, const std::vector<int>& fds) {
  std::string text = Dump(packet);
  if (text.size() > kMaxPacket || fds.size() > kMaxPacketFds) return false;
  iovec part{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxPacketFds)] = {};
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    memcpy(CMSG_DATA(head), fds.data(), sizeof(int) * fds.size());
  }
  for (const Deadline deadline(1.0);;) {
    if (sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return true;
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!WaitFor(socket, POLLOUT, deadline)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
}

PacketState ReceivePacket(int socket, json* packet, std::vector<launch::Fd>* fds) {
  std::string text(kMaxPacket, '\0');
  iovec part{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxPacketFds)];
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n;
  do {
    n = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK ? PacketState::kNothing : PacketState::kClosed;
  // Descriptors that nobody asked for are closed at once.
  std::vector<launch::Fd> received;
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof fd);
      received.emplace_back(fd);
    }
  }
  if (n == 0 || (message.msg_flags & MSG_TRUNC) != 0) return PacketState::kClosed;
  text.resize(static_cast<size_t>(n));
  *packet = json::parse(text, nullptr, false);
  if (!packet->is_object()) return PacketState::kClosed;
  if (fds != nullptr) *fds = std::move(received);
  return PacketState::kPacket;
}

Message ToMessage(const CaseRequest& request) {
  return {{{"type", "run"}, {"request", request}, {"params", request.params}}, request.inputs};
}

CaseRequest RequestFrom(Message message) {
  auto request = message.header.at("request").get<CaseRequest>();
  request.params = message.header.at("params");
  request.inputs = std::move(message.blobs);
  return request;
}

Message ToMessage(const CaseOutcome& outcome) {
  Message message;
  json ranks = json::array();
  for (const RankOutcome& rank : outcome.ranks) {
    ranks.push_back({{"status", static_cast<int>(rank.status)}, {"message", rank.message}, {"printed", rank.printed}});
    message.blobs.push_back(EncodeFrames(rank.outputs));
  }
  json costs = json::array();
  for (const RankCost& cost : outcome.costs) {
    costs.push_back({cost.messages, cost.bytes_sent, cost.rounds, cost.collectives, cost.collective_bytes});
  }
  static_assert(std::is_trivially_copyable_v<Event>);
  message.blobs.emplace_back(reinterpret_cast<const char*>(outcome.events.data()),
                             outcome.events.size() * sizeof(Event));
  message.header = {{"type", "outcome"},          {"status", static_cast<int>(outcome.status)},
                    {"message", outcome.message}, {"seconds", outcome.seconds},
                    {"ranks", std::move(ranks)},  {"costs", std::move(costs)},
                    {"waits", outcome.waits},     {"stacks", outcome.stacks}};
  return message;
}

CaseOutcome OutcomeFrom(const Message& message) {
  const json& header = message.header;
  CaseOutcome outcome;
  outcome.status = EnumFrom(header.at("status"), Status::kTimeout);
  outcome.message = header.at("message").get<std::string>();
  outcome.seconds = header.at("seconds").get<double>();
  for (const json& from : header.at("ranks")) {
    RankOutcome rank;
    rank.status = EnumFrom(from.at("status"), Status::kTimeout);
    rank.message = from.at("message").get<std::string>();
    rank.printed = from.at("printed").get<std::string>();
    const std::string& blob = message.blobs.at(outcome.ranks.size());
    rank.outputs = DecodeFrames(blob.data(), blob.size());
    outcome.ranks.push_back(std::move(rank));
  }
  for (const json& from : header.at("costs")) {
    outcome.costs.push_back({from.at(0), from.at(1), from.at(2), from.at(3), from.at(4)});
  }
  header.at("waits").get_to(outcome.waits);
  header.at("stacks").get_to(outcome.stacks);
  const std::string& events = message.blobs.at(outcome.ranks.size());
  outcome.events.resize(events.size() / sizeof(Event));
  memcpy(static_cast<void*>(outcome.events.data()), events.data(), outcome.events.size() * sizeof(Event));
  return outcome;
}

void to_json(json& value, const CaseRequest& request) {
  value = {{"body", request.body},         {"ranks", request.ranks},
           {"limit_s", request.limit_s},   {"output_limit_bytes", request.output_limit_bytes},
           {"threads", request.threads},   {"point_to_point_only", request.point_to_point_only},
           {"faults", request.faults},     {"limits", request.limits},
           {"observed", request.observed}, {"replay", request.replay}};
}

void from_json(const json& value, CaseRequest& request) {
  value.at("body").get_to(request.body);
  value.at("ranks").get_to(request.ranks);
  value.at("limit_s").get_to(request.limit_s);
  value.at("output_limit_bytes").get_to(request.output_limit_bytes);
  value.at("threads").get_to(request.threads);
  value.at("point_to_point_only").get_to(request.point_to_point_only);
  value.at("faults").get_to(request.faults);
  value.at("limits").get_to(request.limits);
  value.at("observed").get_to(request.observed);
  value.at("replay").get_to(request.replay);
}

void to_json(json& value, const FaultSpec& faults) {
  std::vector<int> ops;
  for (const OpKind op : faults.delay_ops) ops.push_back(static_cast<int>(op));
  value = {{"delay_s", faults.delay_s},
           {"serial_link", faults.serial_link},
           {"delay_ops", ops},
           {"jitter_s", faults.jitter_s},
           {"seed", faults.seed}};
}

void from_json(const json& value, FaultSpec& faults) {
  faults.delay_s = value.at("delay_s").get<double>();
  faults.serial_link = value.at("serial_link").get<bool>();
  faults.delay_ops.clear();
  for (const json& op : value.at("delay_ops"))
    faults.delay_ops.push_back(EnumFrom(op, static_cast<OpKind>(kOpKinds - 1)));
  faults.jitter_s = value.at("jitter_s").get<double>();
  faults.seed = value.at("seed").get<uint64_t>();
}

void to_json(json& value, const CaseResult& result) {
  value = {{"part", result.part},
           {"id", result.id},
           {"kind", static_cast<int>(result.kind)},
           {"status", static_cast<int>(result.status)},
           {"message", result.message},
           {"has_figure", result.has_figure},
           {"measured", Number(result.measured)},
           {"target", Number(result.target)},
           {"unit", result.unit},
           {"seconds", result.seconds},
           {"evidence", result.evidence}};
}

void from_json(const json& value, CaseResult& result) {
  value.at("part").get_to(result.part);
  value.at("id").get_to(result.id);
  result.kind = EnumFrom(value.at("kind"), Kind::kRobustness);
  result.status = EnumFrom(value.at("status"), Status::kTimeout);
  value.at("message").get_to(result.message);
  value.at("has_figure").get_to(result.has_figure);
  result.measured = NumberFrom(value.at("measured"));
  result.target = NumberFrom(value.at("target"));
  value.at("unit").get_to(result.unit);
  result.seconds = NumberFrom(value.at("seconds"));
  value.at("evidence").get_to(result.evidence);
}

void to_json(json& value, const Waiting& wait) {
  value = {{"rank", wait.rank},
           {"waits_for", wait.waits_for},
           {"operation", wait.operation},
           {"where", wait.where},
           {"in_cycle", wait.in_cycle}};
}

void from_json(const json& value, Waiting& wait) {
  value.at("rank").get_to(wait.rank);
  value.at("waits_for").get_to(wait.waits_for);
  value.at("operation").get_to(wait.operation);
  value.at("where").get_to(wait.where);
  value.at("in_cycle").get_to(wait.in_cycle);
}

void to_json(json& value, const RankStack& stack) {
  json frames = json::array();
  for (const StackFrame& frame : stack.frames) {
    frames.push_back({{"function", frame.function}, {"where", frame.where}});
  }
  value = {{"rank", stack.rank}, {"why", stack.why}, {"frames", std::move(frames)}};
}

void from_json(const json& value, RankStack& stack) {
  value.at("rank").get_to(stack.rank);
  value.at("why").get_to(stack.why);
  stack.frames.clear();
  for (const json& frame : value.at("frames")) {
    stack.frames.push_back({frame.at("function").get<std::string>(), frame.at("where").get<std::string>()});
  }
}

void to_json(json& value, const Limits& limits) {
  value = {{"memory_bytes", limits.memory_bytes},
           {"file_bytes", limits.file_bytes},
           {"open_files", limits.open_files},
           {"processes", limits.processes},
           {"threads", limits.threads}};
}

void from_json(const json& value, Limits& limits) {
  value.at("memory_bytes").get_to(limits.memory_bytes);
  value.at("file_bytes").get_to(limits.file_bytes);
  value.at("open_files").get_to(limits.open_files);
  value.at("processes").get_to(limits.processes);
  value.at("threads").get_to(limits.threads);
}

void to_json(json& value, const ListedCase& listed) {
  value = {{"part", listed.part}, {"id", listed.id}, {"kind", static_cast<int>(listed.kind)}, {"ranks", listed.ranks}};
}

void from_json(const json& value, ListedCase& listed) {
  value.at("part").get_to(listed.part);
  value.at("id").get_to(listed.id);
  listed.kind = EnumFrom(value.at("kind"), Kind::kRobustness);
  value.at("ranks").get_to(listed.ranks);
}

void to_json(json& value, const LearningCurve& curve) {
  value = {{"part", curve.part},           {"id", curve.id},
           {"name", curve.name},           {"run", curve.run},
           {"reference", curve.reference}, {"tolerance", curve.tolerance}};
}

void from_json(const json& value, LearningCurve& curve) {
  value.at("part").get_to(curve.part);
  value.at("id").get_to(curve.id);
  value.at("name").get_to(curve.name);
  curve.run = SeriesFrom(value.at("run"));
  curve.reference = SeriesFrom(value.at("reference"));
  curve.tolerance = SeriesFrom(value.at("tolerance"));
}

}  // namespace shardlab::grade
