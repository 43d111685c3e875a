#include "relay.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include <cstring>

#include <fmt/format.h>

namespace shardlab::grade {

namespace {
/// Of what ranks have sent and others have not read.
constexpr size_t kMostHeld = size_t{2} << 30;
constexpr size_t kReadBytes = 256 << 10;
/// So that a rank that sends without end does not keep the relay from the others.
constexpr int kReadsAtOnce = 16;
}  // namespace

Relay::Relay(int ranks) {
  for (int rank = 0; rank < ranks; ++rank) {
    End end;
    std::tie(end.mine, end.theirs) = launch::MakeSockets(SOCK_STREAM);
    ends_.push_back(std::move(end));
  }
}

void Relay::AddTo(std::vector<pollfd>* entries) const {
  for (const End& end : ends_) {
    if (!end.mine) continue;
    entries->push_back({end.mine.get(), static_cast<short>(POLLIN | (end.out.empty() ? 0 : POLLOUT)), 0});
  }
}

void Relay::Pump() {
  for (int rank = 0; rank < static_cast<int>(ends_.size()) && error_.empty(); ++rank) Read(rank);
  for (End& end : ends_) Write(end);
}

void Relay::Read(int rank) {
  End& end = ends_[static_cast<size_t>(rank)];
  for (int reads = 0; reads < kReadsAtOnce && end.mine && error_.empty(); ++reads) {
    const size_t before = end.in.size();
    end.in.resize(before + kReadBytes);
    const ssize_t n = recv(end.mine.get(), end.in.data() + before, kReadBytes, MSG_DONTWAIT);
    end.in.resize(before + static_cast<size_t>(n > 0 ? n : 0));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (n <= 0) {
      // It has ended. What it has sent is still handed on; what was for it is not.
      end.mine.Reset();
      for (const std::string& message : end.out) held_ -= message.size();
      end.out.clear();
      return;
    }
    TakeWhole(rank);
  }
}

void Relay::Write(End& end) {
  while (end.mine && !end.out.empty()) {
    const std::string& first = end.out.front();
    const ssize_t n =
        send(end.mine.get(), first.data() + end.written, first.size() - end.written, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return;  // later; or its end is found when it is read from
    end.written += static_cast<size_t>(n);
    if (end.written < first.size()) continue;
    held_ -= first.size();
    end.out.pop_front();
    end.written = 0;
  }
}

void Relay::Refuse(int rank, const std::string& what) {
  if (error_.empty()) error_ = fmt::format("rank {} sent {}", rank, what);
}

void Relay::HandOn(int from, const RelayHead& head, int to, const char* bytes, uint64_t size) {
  End& end = ends_[static_cast<size_t>(to)];
  if (!end.mine) return;
  RelayHead out = head;
  out.peer = from;
  out.count = 0;
  out.shared = 0;
  out.bytes = size;
  std::string message(reinterpret_cast<const char*>(&out), sizeof out);
  message.append(bytes, size);
  held_ += message.size();
  if (held_ > kMostHeld) Refuse(from, "more than the others read");
  end.out.push_back(std::move(message));
}

void Relay::TakeWhole(int rank) {
  End& end = ends_[static_cast<size_t>(rank)];
  const auto ranks = static_cast<int>(ends_.size());
  size_t begin = 0;
  while (error_.empty() && end.in.size() - begin >= sizeof(RelayHead)) {
    RelayHead head;
    std::memcpy(&head, end.in.data() + begin, sizeof head);
    const bool collective = IsCollective(head.op);
    if (head.magic != kRelayMagic || head.bytes > kRelayLargest || static_cast<int>(head.op) >= kOpKinds ||
        head.op == OpKind::kRecv || (collective ? head.count < 1 : head.count != 0) || head.count > ranks) {
      return Refuse(rank, "something that is no message");
    }
    const size_t shares_bytes = head.count * sizeof(RelayShare);
    if (end.in.size() - begin < sizeof head + shares_bytes + head.bytes) break;
    const char* shares = end.in.data() + begin + sizeof head;
    const char* bytes = shares + shares_bytes;
    if (!collective) {
      if (head.peer < 0 || head.peer >= ranks || head.peer == rank) return Refuse(rank, "a message to nobody");
      ++end.count.messages;
      end.count.bytes += static_cast<int64_t>(head.bytes);
      HandOn(rank, head, head.peer, bytes, head.bytes);
    } else if (head.op == OpKind::kFormGroup && head.bytes > 0) {
      return Refuse(rank, "bytes where a group is formed");
    } else {
      if (head.op != OpKind::kFormGroup) {
        ++end.count.collectives;
        end.count.collective_bytes += static_cast<int64_t>(head.bytes);
      }
      uint64_t offset = 0;
      for (int i = 0; i < head.count; ++i) {
        RelayShare share;
        std::memcpy(&share, shares + static_cast<size_t>(i) * sizeof share, sizeof share);
        const bool fits = head.shared ? share.bytes == head.bytes : share.bytes <= head.bytes - offset;
        if (!fits || share.rank < 0 || share.rank >= ranks) return Refuse(rank, "shares that do not add up");
        if (share.rank != rank) HandOn(rank, head, share.rank, bytes + offset, share.bytes);
        if (!head.shared) offset += share.bytes;
      }
    }
    begin += sizeof head + shares_bytes + head.bytes;
  }
  end.in.erase(0, begin);
}

}  // namespace shardlab::grade
