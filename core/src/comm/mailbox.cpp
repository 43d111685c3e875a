#include "shardlab/comm/mailbox.hpp"

#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>
#include <tuple>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/comm/operation.hpp"

namespace shardlab {
namespace {

// One rank's side of an operation, from its start to its completion.
struct Ticket {
  Operation operation;
  bool done = false;
  std::string error;
};
using Tickets = std::vector<std::shared_ptr<Ticket>>;

struct Channel {
  std::deque<std::shared_ptr<Ticket>> sends, recvs;
};

struct World {
  std::chrono::milliseconds limit;
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::tuple<uint64_t, int, int, int>, Channel> channels;  // group, from, to, tag
  std::map<std::pair<uint64_t, uint64_t>, Tickets> collectives;     // group, number: a ticket a rank
  std::map<uint64_t, int> arrived;                                  // group: members that have called Subgroup
  bool abandoned = false;
};

void Finish(const Tickets& tickets, const std::string& error) {
  for (const auto& ticket : tickets) {
    ticket->done = true;
    ticket->error = error;
  }
}

// What does not fit between two ranks' calls of one collective; empty when all fits.
std::string Misfit(const Operation& a, int rank_a, const Operation& b, int rank_b) {
  const auto text = [&](const Operation& operation, int rank) {
    return fmt::format("{} on rank {}", Describe(operation), rank);
  };
  const auto part = [](const std::vector<at::Tensor>& tensors, int rank) -> const at::Tensor& {
    return tensors.size() == 1 ? tensors[0] : tensors[static_cast<size_t>(rank)];
  };
  const auto fit = [](const at::Tensor& x, const at::Tensor& y) {
    return x.scalar_type() == y.scalar_type() && x.sizes() == y.sizes();
  };
  bool fits = a.kind == b.kind && a.peer == b.peer && a.reduce == b.reduce;
  if (fits && !a.inputs.empty()) {
    fits = fit(part(a.inputs, rank_b), part(b.outputs, rank_a)) && fit(part(b.inputs, rank_a), part(a.outputs, rank_b));
  } else if (fits && !a.outputs.empty()) {
    fits = fit(a.outputs[0], b.outputs[0]);
  }
  return fits ? "" : fmt::format("{} does not fit {}", text(a, rank_a), text(b, rank_b));
}

class Mailbox final : public Communicator {
 public:
  Mailbox(std::shared_ptr<World> world, int rank, Group group)
      : Communicator(rank, std::move(group)), world_(std::move(world)) {}

  std::unique_ptr<Work> Start(const Operation& operation) override {
    auto ticket = std::make_shared<Ticket>();
    ticket->operation = operation;
    {
      const std::lock_guard<std::mutex> lock(world_->mutex);
      if (IsCollective(operation.kind)) {
        StartCollective(ticket);
      } else {
        StartMessage(ticket);
      }
    }
    world_->changed.notify_all();
    return std::make_unique<MailboxWork>(world_, std::move(ticket));
  }

 protected:
  std::shared_ptr<Communicator> MakeSubgroup(int rank, const Group& group, const Where&) override {
    std::unique_lock<std::mutex> lock(world_->mutex);
    int& arrived = world_->arrived[group.id];
    const int size = static_cast<int>(group.world_ranks.size());
    ++arrived;
    world_->changed.notify_all();
    if (!world_->changed.wait_for(lock, world_->limit, [&] { return arrived >= size || world_->abandoned; }) ||
        world_->abandoned) {
      throw CommError(fmt::format("forming the group '{}': {} of its {} ranks came within {} ms", group.name, arrived,
                                  size, world_->limit.count()));
    }
    return std::make_shared<Mailbox>(world_, rank, group);
  }

 private:
  class MailboxWork final : public Work {
   public:
    MailboxWork(std::shared_ptr<World> world, std::shared_ptr<Ticket> ticket)
        : world_(std::move(world)), ticket_(std::move(ticket)) {}

    void Wait() override {
      std::unique_lock<std::mutex> lock(world_->mutex);
      world_->changed.wait_for(lock, world_->limit, [this] { return ticket_->done || world_->abandoned; });
      const std::string what = Describe(ticket_->operation);
      if (!ticket_->done) {
        throw CommError(world_->abandoned
                            ? fmt::format("{}: another rank failed", what)
                            : fmt::format("{} did not complete within {} ms", what, world_->limit.count()));
      }
      if (!ticket_->error.empty()) throw CommError(fmt::format("{} failed: {}", what, ticket_->error));
    }

   private:
    std::shared_ptr<World> world_;
    std::shared_ptr<Ticket> ticket_;
  };

  void StartMessage(const std::shared_ptr<Ticket>& ticket) {
    const Operation& operation = ticket->operation;
    const bool send = operation.kind == OpKind::kSend;
    Channel& channel =
        world_->channels[{group().id, send ? rank() : operation.peer, send ? operation.peer : rank(), operation.tag}];
    (send ? channel.sends : channel.recvs).push_back(ticket);
    while (!channel.sends.empty() && !channel.recvs.empty()) {
      const Tickets both{channel.sends.front(), channel.recvs.front()};
      channel.sends.pop_front();
      channel.recvs.pop_front();
      const at::Tensor& from = both[0]->operation.inputs[0];
      const at::Tensor& to = both[1]->operation.outputs[0];
      if (from.sizes() != to.sizes() || from.scalar_type() != to.scalar_type()) {
        Finish(both, fmt::format("{} was sent and {} was to be received", Describe(from), Describe(to)));
        continue;
      }
      const c10::NoGradGuard no_grad;
      to.detach().copy_(from.detach());
      Finish(both, "");
    }
  }

  void StartCollective(const std::shared_ptr<Ticket>& ticket) {
    const std::pair<uint64_t, uint64_t> key{group().id, collectives_++};
    Tickets& tickets = world_->collectives[key];
    tickets.resize(static_cast<size_t>(size()));
    tickets[static_cast<size_t>(rank())] = ticket;
    for (const auto& other : tickets) {
      if (!other) return;
    }
    std::string error;
    std::vector<const Operation*> operations;
    for (size_t r = 0; r < tickets.size(); ++r) {
      operations.push_back(&tickets[r]->operation);
      for (size_t other = 0; error.empty() && other < r; ++other) {
        error = Misfit(tickets[other]->operation, static_cast<int>(other), tickets[r]->operation, static_cast<int>(r));
      }
    }
    if (error.empty()) ExecuteCollective(operations);
    Finish(tickets, error);
    world_->collectives.erase(key);
  }

  std::shared_ptr<World> world_;
  uint64_t collectives_ = 0;
};

std::vector<std::shared_ptr<Communicator>> MakeRanks(const std::shared_ptr<World>& world, int ranks) {
  if (ranks < 1) throw ContractError(fmt::format("MakeMailbox: a world of {} ranks", ranks));
  Group group;
  group.world_ranks.resize(static_cast<size_t>(ranks));
  std::iota(group.world_ranks.begin(), group.world_ranks.end(), 0);
  std::vector<std::shared_ptr<Communicator>> comms;
  for (int rank = 0; rank < ranks; ++rank) comms.push_back(std::make_shared<Mailbox>(world, rank, group));
  return comms;
}

}  // namespace

std::vector<std::shared_ptr<Communicator>> MakeMailbox(int ranks, std::chrono::milliseconds limit) {
  auto world = std::make_shared<World>();
  world->limit = limit;
  return MakeRanks(world, ranks);
}

void RunOnMailbox(int ranks, const std::function<void(Communicator&)>& body, std::chrono::milliseconds limit) {
  auto world = std::make_shared<World>();
  world->limit = limit;
  const auto comms = MakeRanks(world, ranks);
  std::exception_ptr first;
  std::vector<std::thread> threads;
  for (const auto& comm : comms) {
    threads.emplace_back([&, comm] {
      try {
        body(*comm);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(world->mutex);
        if (!first) first = std::current_exception();
        world->abandoned = true;
        world->changed.notify_all();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (first) std::rethrow_exception(first);
}

}  // namespace shardlab
