#include "shardlab/comm/gloo.hpp"

#include <signal.h>

#include <mutex>
#include <numeric>
#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "shardlab/base/errors.hpp"
#include "shardlab/comm/failure_news.hpp"
#include "shardlab/comm/operation.hpp"
#include "shardlab/comm/point_to_point_only.hpp"

// The one file that knows c10d. ProcessGroupGloo is a ProcessGroup in LibTorch 1.13 and a Backend in 2.x; the functions
// used here have the same names and arguments in both.

namespace shardlab {
namespace {

using Gloo = c10d::ProcessGroupGloo;
using GlooWork = c10::intrusive_ptr<c10d::Work>;
using Tensors = std::vector<at::Tensor>;

// What Gloo's exceptions say of the C++ source that threw ("[../gloo/transport/tcp/unbound_buffer.cc:84] Timed out...")
// helps nobody.
std::string Reason(const std::exception& error) {
  std::string text = Brief(error);
  const auto bracket = text.find("] ");
  if (!text.empty() && text[0] == '[' && bracket != std::string::npos) text.erase(0, bracket + 2);
  return text;
}

// How long a rank whose connection has closed waits for what its peer, or who buries it, has to say.
constexpr double kLastWords_s = 0.2;
// A collective that is under way looks for news as often.
constexpr auto kWorkLooks = std::chrono::milliseconds(250);

bool IsClosedConnection(const std::string& reason) {
  for (const char* sign : {"closed by peer", "reset by peer", "Broken pipe", "Socket closed"}) {
    if (reason.find(sign) != std::string::npos) return true;
  }
  return false;
}

[[noreturn]] void Fail(const Operation& operation, const Group& group, FailureNews* news, const std::string& reason) {
  const std::string what = fmt::format("{} in group '{}'", Describe(operation), group.name);
  const bool closed = IsClosedConnection(reason);
  if (news != nullptr) {
    const std::string heard = closed ? news->Await(kLastWords_s) : news->Heard();
    if (closed || !heard.empty()) news->MarkConsequence();
    if (!heard.empty()) throw CommError(fmt::format("{} was given up: {}", what, heard));
  }
  if (!closed) throw CommError(fmt::format("{} failed: {}", what, reason));
  const bool one = operation.kind == OpKind::kSend || operation.kind == OpKind::kRecv;
  throw CommError(fmt::format("{} failed: {} has ended ({})", what,
                              one ? fmt::format("rank {}", operation.peer) : "a rank of the group", reason));
}

// What lives as long as any communicator of this rank's world.
struct Connections {
  explicit Connections(std::shared_ptr<FailureNews> its_news) : news(std::move(its_news)) {}

  const std::shared_ptr<FailureNews> news;  // or null
  std::mutex mutex;
  // Of sub-groups too: when a rank closes a connection because it has no more use for a group, ranks that still wait in
  // that group get "connection reset" instead of a chance to be explained.
  std::vector<c10::intrusive_ptr<Gloo>> groups;
  // Work whose owner never waited for it. Gloo still reads or writes its memory, so that it must outlive the groups.
  std::vector<GlooWork> orphans;

  ~Connections() {
    groups.clear();
    orphans.clear();
  }
};

class PendingWork final : public Work {
 public:
  // `finish` runs once, in Wait, after the operation: it copies results to where they belong.
  PendingWork(GlooWork work, Operation operation, Group group, std::shared_ptr<Connections> connections,
              std::function<void()> finish)
      : work_(std::move(work)),
        operation_(std::move(operation)),
        group_(std::move(group)),
        connections_(std::move(connections)),
        finish_(std::move(finish)) {}

  ~PendingWork() override {
    if (!work_) return;
    const std::lock_guard<std::mutex> lock(connections_->mutex);
    connections_->orphans.push_back(std::move(work_));
  }

  void Wait() override {
    if (!work_) return;
    FailureNews* const news = connections_->news.get();
    bool complete = true;
    try {
      if (news == nullptr) {
        work_->wait();
      } else if (IsCollective(operation_.kind)) {
        complete = WaitForCollective(*news);
      } else {
        news->Wait([&] { complete = work_->wait(); }, [this] { work_->abort(); });
      }
    } catch (const std::exception& error) {
      Fail(operation_, group_, news, Reason(error));
    }
    if (!complete) Fail(operation_, group_, news, "another rank has failed");
    work_.reset();
    if (finish_) finish_();
  }

 private:
  // A collective of Gloo's cannot be aborted, but left.
  bool WaitForCollective(FailureNews& news) {
    for (;;) {
      try {
        return work_->wait(kWorkLooks);
      } catch (const std::exception&) {
        if (work_->isCompleted()) throw;
        if (!news.Heard().empty()) return false;
      }
    }
  }

  GlooWork work_;
  Operation operation_;
  Group group_;
  std::shared_ptr<Connections> connections_;
  std::function<void()> finish_;
};

bool GlooCanReduce(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
    case at::kDouble:
    case at::kHalf:
    case at::kChar:
    case at::kByte:
    case at::kInt:
    case at::kLong:
      return true;
    default:
      return false;
  }
}

c10d::ReduceOp GlooReduceOp(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return c10d::ReduceOp::SUM;
    case ReduceOp::kProduct:
      return c10d::ReduceOp::PRODUCT;
    case ReduceOp::kMin:
      return c10d::ReduceOp::MIN;
    case ReduceOp::kMax:
      return c10d::ReduceOp::MAX;
  }
  return c10d::ReduceOp::SUM;
}

// The bytes of a contiguous tensor, without a copy: data that only moves needs no dtype, and Gloo lacks some.
at::Tensor AsBytes(const at::Tensor& tensor) {
  return at::from_blob(
      tensor.data_ptr(), {BytesOf(tensor)}, [tensor](void*) {}, at::kByte);
}

// Gloo writes to the sockets of ranks that may have died. Unless somebody handles the signal that this brings, it ends
// this rank as well, without a word.
void IgnoreBrokenPipes() {
  struct sigaction now {};
  if (sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) signal(SIGPIPE, SIG_IGN);
}

class GlooCommunicator final : public Communicator {
 public:
  GlooCommunicator(c10::intrusive_ptr<c10d::Store> store, int rank, Group group, GlooOptions options,
                   std::shared_ptr<Connections> connections)
      : Communicator(rank, std::move(group)),
        store_(std::move(store)),
        options_(std::move(options)),
        connections_(std::move(connections)) {
    if (size() == 1) return;  // a rank alone talks to nobody
    try {
      auto gloo = Gloo::Options::create(options_.limit);
      // With more, the same program could run its collectives in another order on another rank.
      gloo->threads = options_.collectives ? 1 : 0;
      gloo->devices.push_back(Gloo::createDeviceForHostname(options_.address));
      store_->setTimeout(options_.limit);
      const auto prefixed =
          c10::make_intrusive<c10d::PrefixStore>(fmt::format("group{:016x}", this->group().id), store_);
      gloo_ = c10::make_intrusive<Gloo>(prefixed, rank, size(), gloo);
      const std::lock_guard<std::mutex> lock(connections_->mutex);
      connections_->groups.push_back(gloo_);
    } catch (const std::exception& error) {
      throw CommError(fmt::format("rank {} of the {} ranks of group '{}' did not reach the others: {}", rank, size(),
                                  this->group().name, Reason(error)));
    }
  }

  std::unique_ptr<Work> Start(const Operation& operation) override {
    if (!options_.collectives && IsCollective(operation.kind)) RefuseCollective(operation.kind);
    if (size() == 1) {
      ExecuteCollective({&operation});
      return CompletedWork();
    }
    FailureNews* const news = connections_->news.get();
    if (news != nullptr && news->known()) Fail(operation, group(), news, "another rank has failed");
    try {
      return HasDeviceTensors(operation) ? StartStaged(operation) : StartOnHost(operation);
    } catch (const CommError&) {
      throw;
    } catch (const ContractError&) {
      throw;
    } catch (const std::exception& error) {
      Fail(operation, group(), news, Reason(error));
    }
  }

 protected:
  std::shared_ptr<Communicator> MakeSubgroup(int rank, const Group& group, const Where&) override {
    return std::make_shared<GlooCommunicator>(store_, rank, group, options_, connections_);
  }

 private:
  static bool HasDeviceTensors(const Operation& operation) {
    for (const auto* tensors : {&operation.inputs, &operation.outputs}) {
      for (const at::Tensor& tensor : *tensors) {
        if (!tensor.device().is_cpu()) return true;
      }
    }
    return false;
  }

  // Tensors on a GPU: copies on the host travel in their place.
  std::unique_ptr<Work> StartStaged(const Operation& operation) {
    Operation staged = operation;
    for (at::Tensor& tensor : staged.inputs) tensor = tensor.detach().cpu().contiguous();
    for (at::Tensor& tensor : staged.outputs)
      tensor = tensor.detach().to(at::kCPU, /*non_blocking=*/false, /*copy=*/true);

    class StagedWork final : public Work {
     public:
      StagedWork(std::unique_ptr<Work> work, Tensors from, Tensors to)
          : work_(std::move(work)), from_(std::move(from)), to_(std::move(to)) {}
      void Wait() override {
        work_->Wait();
        for (size_t i = 0; i < to_.size(); ++i) to_[i].copy_(from_[i]);
        to_.clear();
      }

     private:
      std::unique_ptr<Work> work_;
      Tensors from_, to_;
    };
    Tensors to;
    for (const at::Tensor& tensor : operation.outputs) to.push_back(tensor.detach());
    return std::make_unique<StagedWork>(StartOnHost(staged), staged.outputs, std::move(to));
  }

  std::unique_ptr<Work> StartOnHost(const Operation& operation) {
    switch (operation.kind) {
      case OpKind::kSend:
        return Send(operation);
      case OpKind::kRecv:
        return Recv(operation);
      case OpKind::kAllReduce:
        return AllReduce(operation);
      case OpKind::kAllGather:
        return AllGather(operation);
      case OpKind::kReduceScatter:
        return ReduceScatter(operation);
      case OpKind::kBroadcast:
        return Broadcast(operation);
      case OpKind::kAllToAll:
        return AllToAll(operation);
      case OpKind::kBarrier:
        return Pending(gloo_->barrier(), operation);
      case OpKind::kFormGroup:
        break;
    }
    throw ContractError(fmt::format("{} cannot be started", Name(operation.kind)));
  }

  std::unique_ptr<Work> Pending(GlooWork work, const Operation& operation, std::function<void()> finish = {}) {
    return std::make_unique<PendingWork>(std::move(work), operation, group(), connections_, std::move(finish));
  }

  // An empty message travels as one byte: both sides know, and it is waited for like any other.
  static at::Tensor Payload(const at::Tensor& tensor) {
    return tensor.numel() > 0 ? AsBytes(tensor) : at::zeros({1}, at::kByte);
  }

  std::unique_ptr<Work> Send(const Operation& operation) {
    Tensors payload{Payload(operation.inputs[0])};
    return Pending(gloo_->send(payload, operation.peer, operation.tag), operation);
  }

  std::unique_ptr<Work> Recv(const Operation& operation) {
    Tensors payload{Payload(operation.outputs[0])};
    return Pending(gloo_->recv(payload, operation.peer, operation.tag), operation);
  }

  std::unique_ptr<Work> AllReduce(const Operation& operation) {
    const at::Tensor tensor = operation.outputs[0].detach();
    if (tensor.numel() == 0) return Pending(gloo_->barrier(), operation);
    if (!GlooCanReduce(tensor.scalar_type())) return AllReduceByGathering(operation);
    Tensors values{tensor.view({-1})};
    c10d::AllreduceOptions options;
    options.reduceOp = GlooReduceOp(operation.reduce);
    return Pending(gloo_->allreduce(values, options), operation);
  }

  std::unique_ptr<Work> AllReduceByGathering(const Operation& operation) {
    const at::Tensor tensor = operation.outputs[0].detach();
    const auto all = std::make_shared<std::vector<Tensors>>(1);
    for (int r = 0; r < size(); ++r) (*all)[0].push_back(at::empty({BytesOf(tensor)}, at::kByte));
    Tensors mine{AsBytes(tensor).clone()};
    return Pending(gloo_->allgather(*all, mine), operation, [all, tensor, operation] {
      // As if all ranks were here: each operation holds what that rank gave.
      std::vector<Operation> operations(all->front().size(), operation);
      std::vector<const Operation*> pointers;
      for (size_t r = 0; r < operations.size(); ++r) {
        operations[r].outputs = {at::empty_like(tensor)};
        AsBytes(operations[r].outputs[0]).copy_((*all)[0][r]);
        pointers.push_back(&operations[r]);
      }
      ExecuteCollective(pointers);
      tensor.copy_(operations[0].outputs[0]);
    });
  }

  std::unique_ptr<Work> AllGather(const Operation& operation) {
    int64_t largest = 0;
    for (const at::Tensor& tensor : operation.outputs) largest = std::max(largest, BytesOf(tensor));
    if (largest == 0) return Pending(gloo_->barrier(), operation);
    const auto all = std::make_shared<std::vector<Tensors>>(1);
    for (int r = 0; r < size(); ++r) (*all)[0].push_back(at::empty({largest}, at::kByte));
    Tensors mine{at::zeros({largest}, at::kByte)};
    mine[0].narrow(0, 0, BytesOf(operation.inputs[0])).copy_(AsBytes(operation.inputs[0]));
    return Pending(gloo_->allgather(*all, mine), operation, [all, operation] {
      for (size_t r = 0; r < operation.outputs.size(); ++r) {
        const at::Tensor into = AsBytes(operation.outputs[r]);
        into.copy_((*all)[0][r].narrow(0, 0, into.numel()));
      }
    });
  }

  std::unique_ptr<Work> Broadcast(const Operation& operation) {
    if (operation.outputs[0].numel() == 0) return Pending(gloo_->barrier(), operation);
    Tensors values{AsBytes(operation.outputs[0])};
    c10d::BroadcastOptions options;
    options.rootRank = operation.peer;
    options.rootTensor = 0;
    return Pending(gloo_->broadcast(values, options), operation);
  }

  // The bytes `parts` hold, one after the other, travel; `finish` gets those that came, in the order of ranks.
  // A byte ahead of each part: Gloo has a message for every pair, and none is empty.
  std::unique_ptr<Work> Exchange(const Operation& operation, const Tensors& parts, const std::vector<int64_t>& incoming,
                                 std::function<void(const Tensors&)> finish) {
    std::vector<int64_t> send_counts, receive_counts;
    Tensors pieces;
    for (const at::Tensor& part : parts) {
      pieces.push_back(at::zeros({1}, at::kByte));
      pieces.push_back(AsBytes(part));
      send_counts.push_back(1 + BytesOf(part));
    }
    for (const int64_t bytes : incoming) receive_counts.push_back(1 + bytes);
    at::Tensor outgoing = at::cat(pieces);
    at::Tensor arrived =
        at::empty({std::accumulate(receive_counts.begin(), receive_counts.end(), int64_t{0})}, at::kByte);
    auto work = gloo_->alltoall_base(arrived, outgoing, receive_counts, send_counts);
    return Pending(std::move(work), operation, [arrived, outgoing, incoming, finish = std::move(finish)] {
      Tensors received;
      int64_t begin = 0;
      for (const int64_t bytes : incoming) {
        received.push_back(arrived.narrow(0, begin + 1, bytes));
        begin += 1 + bytes;
      }
      finish(received);
    });
  }

  std::unique_ptr<Work> AllToAll(const Operation& operation) {
    std::vector<int64_t> incoming;
    for (const at::Tensor& tensor : operation.outputs) incoming.push_back(BytesOf(tensor));
    return Exchange(operation, operation.inputs, incoming, [operation](const Tensors& received) {
      for (size_t r = 0; r < received.size(); ++r) AsBytes(operation.outputs[r]).copy_(received[r]);
    });
  }

  std::unique_ptr<Work> ReduceScatter(const Operation& operation) {
    const at::Tensor into = operation.outputs[0].detach();
    const std::vector<int64_t> incoming(static_cast<size_t>(size()), BytesOf(into));
    return Exchange(operation, operation.inputs, incoming, [into](const Tensors& received) {
      const at::Tensor term = at::empty_like(into);
      for (size_t r = 0; r < received.size(); ++r) {
        const at::Tensor& place = r == 0 ? into : term;
        AsBytes(place).copy_(received[r]);
        if (r > 0) into.add_(term);
      }
    });
  }

  c10::intrusive_ptr<c10d::Store> store_;
  GlooOptions options_;
  c10::intrusive_ptr<Gloo> gloo_;
  std::shared_ptr<Connections> connections_;
};

}  // namespace

std::shared_ptr<Communicator> MakeGlooCommunicator(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                                   const GlooOptions& options) {
  if (size < 1 || rank < 0 || rank >= size) {
    throw ContractError(fmt::format("MakeGlooCommunicator: rank {} of {} ranks does not exist", rank, size));
  }
  IgnoreBrokenPipes();
  Group world;
  world.world_ranks.resize(static_cast<size_t>(size));
  std::iota(world.world_ranks.begin(), world.world_ranks.end(), 0);
  return std::make_shared<GlooCommunicator>(store, rank, std::move(world), options,
                                            std::make_shared<Connections>(options.news));
}

}  // namespace shardlab
