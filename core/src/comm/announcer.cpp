#include "shardlab/comm/announcer.hpp"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cstring>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/kernel_clock.hpp"

namespace shardlab {
namespace {

thread_local uint16_t this_thread = 0;
thread_local Where waits_at;

constexpr size_t kShort = offsetof(Record, peer);  // block, unblock: up to `checksum`

void SetName(Record* record, const std::string& name) {
  std::strncpy(record->name, name.c_str(), sizeof(record->name) - 1);
}

}  // namespace

const char* LastPart(const char* path) {
  const char* slash = std::strrchr(path, '/');
  return slash == nullptr ? path : slash + 1;
}

WaitsAt::WaitsAt(Where where) : before_(waits_at) { waits_at = where; }

WaitsAt::~WaitsAt() { waits_at = before_; }

Announcer::Announcer(int fd) : fd_(fd) {
  struct sigaction action {};
  if (sigaction(SIGPIPE, nullptr, &action) == 0 && action.sa_handler == SIG_DFL) {
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, nullptr);
  }
}

void Announcer::Write(Record& record, size_t size, const std::vector<RecordPart>& parts) {
  if (silent_) return;
  char bytes[sizeof(Record) + kMaxAnnouncedRanks * sizeof(RecordPart)];
  const size_t parts_bytes = parts.size() * sizeof(RecordPart);
  record.size = static_cast<uint16_t>(size + parts_bytes);
  record.time_ns = KernelNs();
  std::memcpy(bytes, &record, size);
  if (parts_bytes > 0) std::memcpy(bytes + size, parts.data(), parts_bytes);

  // A write of up to PIPE_BUF bytes to a pipe is done whole or not at all; the loop serves sockets and files too.
  const char* rest = bytes;
  size_t left = record.size;
  while (left > 0) {
    const ssize_t wrote = write(fd_, rest, left);
    if (wrote > 0) {
      rest += wrote;
      left -= static_cast<size_t>(wrote);
    } else if (wrote < 0 && errno == EINTR) {
      continue;
    } else if (wrote < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      pollfd ready{fd_, POLLOUT, 0};
      poll(&ready, 1, 1000);
    } else {
      silent_ = true;  // EPIPE: nobody listens
      return;
    }
  }
}

uint64_t Announcer::Post(Record record, const std::vector<RecordPart>& parts) {
  if (parts.size() > kMaxAnnouncedRanks) {
    throw ContractError(
        fmt::format("a group of {} ranks cannot be announced; {} is the most", parts.size(), kMaxAnnouncedRanks));
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  record.kind = RecordKind::kPost;
  record.thread = this_thread;
  record.id = ++last_id_;
  Write(record, sizeof(Record), parts);
  return record.id;
}

void Announcer::Block(uint64_t id) {
  Record record;
  record.kind = RecordKind::kBlock;
  record.thread = this_thread;
  record.id = id;
  if (waits_at.line > 0) {
    record.line = static_cast<uint32_t>(waits_at.line);
    SetName(&record, LastPart(waits_at.file));
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  Write(record, record.line > 0 ? sizeof(Record) : kShort);
}

void Announcer::Drop(uint64_t id) {
  Record record;
  record.kind = RecordKind::kDropped;
  record.thread = this_thread;
  record.id = id;
  const std::lock_guard<std::mutex> lock(mutex_);
  Write(record, kShort);
}

void Announcer::Unblock(uint64_t id, bool failed, uint64_t checksum) {
  Record record;
  record.kind = failed ? RecordKind::kFailed : RecordKind::kUnblock;
  record.thread = this_thread;
  record.id = id;
  record.checksum = checksum;
  const std::lock_guard<std::mutex> lock(mutex_);
  Write(record, kShort);
}

void Announcer::Group(uint64_t id, const std::string& name, int rank_in_group, const std::vector<int>& world_ranks) {
  Record record;
  record.kind = RecordKind::kGroup;
  record.thread = this_thread;
  record.group = id;
  record.group_rank = rank_in_group;
  SetName(&record, name);
  for (const int rank : world_ranks) {
    if (rank < 0 || rank >= kMaxAnnouncedRanks) {
      throw ContractError(fmt::format("rank {} cannot be announced; {} ranks are the most", rank, kMaxAnnouncedRanks));
    }
    record.members[rank / 64] |= uint64_t{1} << (rank % 64);
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  Write(record, sizeof(Record));
}

void Announcer::Mark(const std::string& name) {
  Record record;
  record.kind = RecordKind::kMark;
  record.thread = this_thread;
  SetName(&record, name);
  const std::lock_guard<std::mutex> lock(mutex_);
  Write(record, sizeof(Record));
}

void Announcer::Return() {
  Record record;
  record.kind = RecordKind::kReturn;
  record.thread = this_thread;
  const std::lock_guard<std::mutex> lock(mutex_);
  Write(record, kShort);
}

uint16_t Announcer::NewThread() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return ++last_thread_;
}

void Announcer::SetThread(uint16_t thread) { this_thread = thread; }

void Announcer::ThreadStarts(uint16_t thread) {
  Record record;
  record.kind = RecordKind::kThreadStart;
  record.thread = thread;
  record.peer = this_thread;
  const std::lock_guard<std::mutex> lock(mutex_);
  Write(record, sizeof(Record));
}

void Announcer::ThreadEnds(uint16_t thread) {
  Record record;
  record.kind = RecordKind::kThreadEnd;
  record.thread = thread;
  const std::lock_guard<std::mutex> lock(mutex_);
  Write(record, kShort);
}

void Announcer::Join(uint16_t thread) {
  Record record;
  record.kind = RecordKind::kJoin;
  record.thread = this_thread;
  record.peer = thread;
  const std::lock_guard<std::mutex> lock(mutex_);
  Write(record, sizeof(Record));
}

}  // namespace shardlab
