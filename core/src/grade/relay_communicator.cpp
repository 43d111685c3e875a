#include "relay_communicator.hpp"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "relay_wire.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/comm/operation.hpp"
#include "shardlab/comm/point_to_point_only.hpp"

namespace shardlab::grade {
namespace {

void AppendTo(std::string* bytes, const at::Tensor& tensor) {
  if (tensor.numel() > 0)
    bytes->append(static_cast<const char*>(tensor.data_ptr()), static_cast<size_t>(BytesOf(tensor)));
}

/// The socket, and what has come through it. A thread of its own reads, so that what has come for one of this rank's
/// threads does not wait for another.
class Connection {
 public:
  Connection(launch::Fd socket, std::chrono::milliseconds limit)
      : socket_(std::move(socket)), limit_(limit), reader_([this] { ReadAll(); }) {}
  ~Connection() {
    shutdown(socket_.get(), SHUT_RDWR);
    reader_.join();
  }

  void Send(const RelayHead& head, const std::vector<RelayShare>& shares, const std::string& bytes) {
    std::string all(reinterpret_cast<const char*>(&head), sizeof head);
    all.append(reinterpret_cast<const char*>(shares.data()), shares.size() * sizeof(RelayShare));
    all += bytes;
    const std::lock_guard<std::mutex> lock(sending_);
    const launch::Deadline deadline(std::chrono::duration<double>(limit_).count());
    for (size_t done = 0; done < all.size();) {
      const ssize_t n = send(socket_.get(), all.data() + done, all.size() - done, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n > 0) {
        done += static_cast<size_t>(n);
      } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        pollfd entry{socket_.get(), POLLOUT, 0};
        if (poll(&entry, 1, deadline.Milliseconds()) == 0) throw CommError("the relay takes nothing");
      } else if (n < 0 && errno != EINTR) {
        throw CommError("the relay has gone");
      }
    }
  }

  /// \name Messages. The k-th receive of a (group, from, tag) gets the k-th message.
  ///@{
  using Channel = std::tuple<uint64_t, int, int>;
  uint64_t Receive(const Channel& channel) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return received_[channel]++;
  }
  std::string Await(const Channel& channel, uint64_t number, const std::string& what) {
    return Take(messages_, {channel, number}, what);
  }
  ///@}

  /// The part that `from` contributed to the `number`-th collective of a group.
  std::string AwaitPart(uint64_t group, uint64_t number, int from, const std::string& what) {
    return Take(parts_, {{group, number}, from}, what);
  }

 private:
  template <typename Map>
  std::string Take(Map& map, const typename Map::key_type& key, const std::string& what) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, limit_, [&] { return map.count(key) != 0 || gone_; });
    const auto found = map.find(key);
    if (found == map.end()) {
      throw CommError(gone_ ? fmt::format("{}: the relay has gone", what)
                            : fmt::format("{} did not complete within {} ms", what, limit_.count()));
    }
    std::string bytes = std::move(found->second);
    map.erase(found);
    return bytes;
  }

  bool Read(void* to, size_t size) {
    for (char* into = static_cast<char*>(to); size > 0;) {
      const ssize_t n = recv(socket_.get(), into, size, 0);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      into += n;
      size -= static_cast<size_t>(n);
    }
    return true;
  }

  void ReadAll() {
    RelayHead head;
    while (Read(&head, sizeof head)) {
      std::string bytes(head.bytes, '\0');
      if (!Read(bytes.data(), bytes.size())) break;
      const std::lock_guard<std::mutex> lock(mutex_);
      if (IsCollective(head.op)) {
        parts_[{{head.group, head.number}, head.peer}] = std::move(bytes);
      } else {
        const Channel channel{head.group, head.peer, head.tag};
        messages_[{channel, arrived_[channel]++}] = std::move(bytes);
      }
      changed_.notify_all();
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    gone_ = true;
    changed_.notify_all();
  }

  launch::Fd socket_;
  std::chrono::milliseconds limit_;
  std::mutex sending_, mutex_;
  std::condition_variable changed_;
  std::map<Channel, uint64_t> received_, arrived_;
  std::map<std::pair<Channel, uint64_t>, std::string> messages_;
  std::map<std::pair<std::pair<uint64_t, uint64_t>, int>, std::string> parts_;
  bool gone_ = false;
  std::thread reader_;
};

void CopyTo(const at::Tensor& tensor, const std::string& bytes, const std::string& what) {
  if (bytes.size() != static_cast<size_t>(BytesOf(tensor))) {
    throw CommError(fmt::format("{}: {} bytes came", what, bytes.size()));
  }
  if (!bytes.empty()) std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
}

class ReceiveWork final : public Work {
 public:
  ReceiveWork(std::shared_ptr<Connection> connection, const Connection::Channel& channel, const Operation& operation)
      : connection_(std::move(connection)),
        channel_(channel),
        number_(connection_->Receive(channel)),
        operation_(operation) {}

  void Wait() override {
    const std::string what = Describe(operation_);
    CopyTo(operation_.outputs[0], connection_->Await(channel_, number_, what), what);
  }

 private:
  std::shared_ptr<Connection> connection_;
  Connection::Channel channel_;
  uint64_t number_;
  Operation operation_;
};

/// Waits for the others' parts and makes of them what the collective is to give.
class CollectiveWork final : public Work {
 public:
  CollectiveWork(std::shared_ptr<Connection> connection, const Group& group, int rank, uint64_t number,
                 const Operation& operation)
      : connection_(std::move(connection)), group_(group), rank_(rank), number_(number), operation_(operation) {}

  void Wait() override {
    const c10::NoGradGuard no_grad;
    std::vector<std::string> parts;
    for (size_t r = 0; r < group_.world_ranks.size(); ++r) {
      const bool mine = static_cast<int>(r) == rank_;
      parts.push_back(mine ? "" : connection_->AwaitPart(group_.id, number_, group_.world_ranks[r], what_));
    }
    Finish(parts);
  }

 private:
  void Finish(const std::vector<std::string>& parts) {
    const auto me = static_cast<size_t>(rank_);
    switch (operation_.kind) {
      case OpKind::kAllReduce: {
        // As if all ranks were here: each operation holds what that rank gave.
        const at::Tensor tensor = operation_.outputs[0].detach();
        std::vector<Operation> operations(parts.size(), operation_);
        std::vector<const Operation*> pointers;
        for (size_t r = 0; r < parts.size(); ++r) {
          operations[r].outputs = {tensor.clone()};
          if (r != me) CopyTo(operations[r].outputs[0], parts[r], what_);
          pointers.push_back(&operations[r]);
        }
        ExecuteCollective(pointers);
        tensor.copy_(operations[me].outputs[0]);
        break;
      }
      case OpKind::kReduceScatter: {
        const at::Tensor into = operation_.outputs[0].detach();
        at::Tensor sum;
        for (size_t r = 0; r < parts.size(); ++r) {
          const at::Tensor term = operation_.inputs[me].detach().clone();
          if (r != me) CopyTo(term, parts[r], what_);
          sum = sum.defined() ? sum.add_(term) : term;
        }
        into.copy_(sum);
        break;
      }
      case OpKind::kAllGather:
      case OpKind::kAllToAll:
        for (size_t r = 0; r < parts.size(); ++r) {
          const at::Tensor& mine = operation_.inputs[operation_.kind == OpKind::kAllGather ? 0 : me];
          if (r == me) operation_.outputs[r].detach().copy_(mine.detach());
          if (r != me) CopyTo(operation_.outputs[r], parts[r], what_);
        }
        break;
      case OpKind::kBroadcast:
        if (operation_.peer != rank_) CopyTo(operation_.outputs[0], parts[static_cast<size_t>(operation_.peer)], what_);
        break;
      default:
        break;
    }
  }

  std::shared_ptr<Connection> connection_;
  const Group group_;
  int rank_;
  uint64_t number_;
  const Operation operation_;
  const std::string what_ = Describe(operation_);
};

class RelayCommunicator final : public Communicator {
 public:
  RelayCommunicator(std::shared_ptr<Connection> connection, int rank, Group group, bool has_collectives)
      : Communicator(rank, std::move(group)), connection_(std::move(connection)), has_collectives_(has_collectives) {}

  std::unique_ptr<Work> Start(const Operation& operation) override {
    if (IsCollective(operation.kind)) {
      if (!has_collectives_) RefuseCollective(operation.kind);
      return StartCollective(operation);
    }
    const int peer = group().world_ranks[static_cast<size_t>(operation.peer)];
    if (operation.kind == OpKind::kRecv) {
      return std::make_unique<ReceiveWork>(connection_, Connection::Channel{group().id, peer, operation.tag},
                                           operation);
    }
    RelayHead head = Head(operation.kind);
    head.peer = peer;
    head.tag = operation.tag;
    std::string bytes;
    AppendTo(&bytes, operation.inputs[0]);
    head.bytes = bytes.size();
    connection_->Send(head, {}, bytes);
    return CompletedWork();
  }

 protected:
  // The members meet: a collective without bytes, the first of the new group.
  std::shared_ptr<Communicator> MakeSubgroup(int rank, const Group& group, const Where&) override {
    auto made = std::make_shared<RelayCommunicator>(connection_, rank, group, has_collectives_);
    Operation meet;
    meet.kind = OpKind::kFormGroup;
    made->StartCollective(meet)->Wait();
    return made;
  }

 private:
  RelayHead Head(OpKind kind) const {
    RelayHead head;
    head.magic = kRelayMagic;
    head.op = kind;
    head.group = group().id;
    return head;
  }

  std::unique_ptr<Work> StartCollective(const Operation& operation) {
    RelayHead head = Head(operation.kind);
    head.number = collectives_++;
    head.count = static_cast<uint16_t>(size());
    const bool one_a_rank = operation.kind == OpKind::kReduceScatter || operation.kind == OpKind::kAllToAll;
    head.shared = one_a_rank ? 0 : 1;
    std::string bytes;
    if (operation.kind == OpKind::kAllReduce || (operation.kind == OpKind::kBroadcast && operation.peer == rank())) {
      AppendTo(&bytes, operation.outputs[0]);
    }
    for (const at::Tensor& tensor : operation.inputs) AppendTo(&bytes, tensor);
    head.bytes = bytes.size();
    std::vector<RelayShare> shares;
    for (size_t r = 0; r < group().world_ranks.size(); ++r) {
      shares.push_back(
          {group().world_ranks[r], 0, one_a_rank ? static_cast<uint64_t>(BytesOf(operation.inputs[r])) : head.bytes});
    }
    connection_->Send(head, shares, bytes);
    return std::make_unique<CollectiveWork>(connection_, group(), rank(), head.number, operation);
  }

  std::shared_ptr<Connection> connection_;
  const bool has_collectives_;
  uint64_t collectives_ = 0;
};

}  // namespace

std::shared_ptr<Communicator> MakeRelayCommunicator(launch::Fd socket, int rank, int size,
                                                    std::chrono::milliseconds limit, bool collectives) {
  Group world;
  world.world_ranks.resize(static_cast<size_t>(size));
  std::iota(world.world_ranks.begin(), world.world_ranks.end(), 0);
  return std::make_shared<RelayCommunicator>(std::make_shared<Connection>(std::move(socket), limit), rank,
                                             std::move(world), collectives);
}

}  // namespace shardlab::grade
