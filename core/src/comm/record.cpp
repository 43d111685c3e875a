#include "shardlab/comm/record.hpp"

#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/visible.hpp"

namespace shardlab {
namespace {

/// A rank may have written anything.
void MakeNameVisible(Record* record) {
  char* const name = record->name;
  name[sizeof(record->name) - 1] = '\0';
  const size_t length = std::strlen(name);
  if (std::all_of(name, name + length, [](char letter) { return letter >= ' ' && letter < '\x7f'; })) return;
  const std::string visible = Visible(std::string(name, length)).substr(0, sizeof(record->name) - 1);
  std::memcpy(name, visible.c_str(), visible.size() + 1);
}

}  // namespace

const char* Name(OpKind kind) {
  switch (kind) {
    case OpKind::kSend:
      return "Send";
    case OpKind::kRecv:
      return "Recv";
    case OpKind::kAllReduce:
      return "AllReduce";
    case OpKind::kAllGather:
      return "AllGather";
    case OpKind::kReduceScatter:
      return "ReduceScatter";
    case OpKind::kBroadcast:
      return "Broadcast";
    case OpKind::kAllToAll:
      return "AllToAll";
    case OpKind::kBarrier:
      return "Barrier";
    case OpKind::kFormGroup:
      return "forming the group";
  }
  return "an unknown operation";
}

const char* DtypeName(uint8_t dtype) {
  // The numbers of c10::ScalarType, which no release has ever changed.
  static const char* const kNames[] = {"uint8",   "int8",    "int16",     "int32",     "int64",      "float16",
                                       "float32", "float64", "complex32", "complex64", "complex128", "bool",
                                       "qint8",   "quint8",  "qint32",    "bfloat16"};
  return dtype < std::size(kNames) ? kNames[dtype] : "a dtype unknown to shardlab";
}

std::string ShapeText(const Record& record) {
  const int shown = std::clamp(record.dims, 0, 6);
  return fmt::format("[{}{}]", fmt::join(record.shape, record.shape + shown, ", "), record.dims > 6 ? ", ..." : "");
}

std::string Describe(const Record& record, const std::string& group_name) {
  std::string text;
  const std::string group =
      group_name == "world" || group_name.empty() ? "" : fmt::format(" in group '{}'", group_name);
  switch (record.op) {
    case OpKind::kSend:
    case OpKind::kRecv:
      text = fmt::format("{} {} rank {}, tag {}{}, {} {}", Name(record.op), record.op == OpKind::kSend ? "to" : "from",
                         record.peer, record.tag, group, DtypeName(record.dtype), ShapeText(record));
      break;
    case OpKind::kBarrier:
      text = fmt::format("Barrier (collective {}){}", record.sequence, group);
      break;
    case OpKind::kFormGroup:
      text = fmt::format("forming the group '{}'", group_name);
      break;
    default:
      text = fmt::format("{} (collective {}){}{}, {} {}", Name(record.op), record.sequence, group,
                         record.op == OpKind::kBroadcast ? fmt::format(" from rank {}", record.peer) : "",
                         DtypeName(record.dtype), ShapeText(record));
  }
  if (record.line > 0) text += fmt::format(", at {}:{}", record.name, record.line);
  return text;
}

bool AnnouncementReader::Drain(const std::function<void(const Announcement&)>& hand_on) {
  bool open = true;
  char buffer[1 << 16];
  // A bound, so that a rank that announces without end does not keep the reader from the others.
  for (int reads = 0; reads < 64; ++reads) {
    const ssize_t got = read(fd_, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (got <= 0) {
      open = false;
      break;
    }
    unread_.insert(unread_.end(), buffer, buffer + got);

    size_t begin = 0;
    while (unread_.size() - begin >= sizeof(uint16_t)) {
      uint16_t size = 0;
      std::memcpy(&size, unread_.data() + begin, sizeof size);
      const size_t parts_bytes = size > sizeof(Record) ? size - sizeof(Record) : 0;
      if (size < offsetof(Record, peer) || parts_bytes % sizeof(RecordPart) != 0 ||
          parts_bytes > kMaxAnnouncedRanks * sizeof(RecordPart)) {
        throw CommError(fmt::format("what a rank wrote to its announcement pipe is no announcement (size {})", size));
      }
      if (unread_.size() - begin < size) break;
      Announcement announcement;
      std::memcpy(static_cast<void*>(&announcement.record), unread_.data() + begin,
                  std::min<size_t>(size, sizeof(Record)));
      if (parts_bytes > 0) {
        announcement.parts.resize(parts_bytes / sizeof(RecordPart));
        std::memcpy(announcement.parts.data(), unread_.data() + begin + sizeof(Record), parts_bytes);
      }
      MakeNameVisible(&announcement.record);
      begin += size;
      hand_on(announcement);
    }
    unread_.erase(unread_.begin(), unread_.begin() + static_cast<std::ptrdiff_t>(begin));
  }
  return open;
}

}  // namespace shardlab
