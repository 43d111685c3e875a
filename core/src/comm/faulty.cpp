#include "shardlab/comm/faulty.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <thread>
#include <utility>

#include "shardlab/comm/operation.hpp"

namespace shardlab {
namespace {

using Clock = std::chrono::steady_clock;

Clock::duration Seconds(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// A send that has not been handed on yet.
struct HeldSend {
  Operation operation;
  std::shared_ptr<Communicator> through;
  std::unique_ptr<Work> work;  // once it has been handed on
};

// What all communicators of one rank share.
struct State {
  State(const FaultOptions& options, int rank) : options(options), random(options.seed + uint64_t(rank) * 7919 + 1) {}

  FaultOptions options;
  std::mt19937_64 random;
  Clock::time_point link_free{};
  int64_t operations = 0;
  int64_t sends = 0;
  std::shared_ptr<HeldSend> held;

  // Hands on the send that was held back.
  void Release() {
    if (!held) return;
    const auto released = std::exchange(held, nullptr);
    released->work = released->through->Start(released->operation);
  }

  bool Dropped() {
    const auto& drop = options.drop_sends;
    return std::find(drop.begin(), drop.end(), sends++) != drop.end();
  }

  double Draw() { return std::uniform_real_distribution<double>(0, 1)(random); }

  // Before this the operation is not complete.
  Clock::time_point ReadyTime(const Operation& operation) {
    const auto now = Clock::now();
    auto ready = now;
    const auto& kinds = options.delay_ops;
    if (options.delay_s > 0 &&
        (kinds.empty() || std::find(kinds.begin(), kinds.end(), operation.kind) != kinds.end())) {
      ready = (options.serial_link ? std::max(now, link_free) : now) + Seconds(options.delay_s);
      link_free = ready;
    }
    if (options.jitter_s > 0 && !IsCollective(operation.kind)) ready += Seconds(options.jitter_s * Draw());
    return ready;
  }
};

class FaultyWork final : public Work {
 public:
  FaultyWork(std::shared_ptr<State> state, std::shared_ptr<HeldSend> held, std::unique_ptr<Work> work,
             Clock::time_point ready)
      : state_(std::move(state)), held_(std::move(held)), work_(std::move(work)), ready_(ready) {}

  void Wait() override {
    state_->Release();  // nobody waits while a send is held back: its receiver might be who is waited for
    (held_ ? held_->work : work_)->Wait();
    std::this_thread::sleep_until(ready_);
  }

 private:
  std::shared_ptr<State> state_;
  std::shared_ptr<HeldSend> held_;
  std::unique_ptr<Work> work_;
  Clock::time_point ready_;
};

class Faulty final : public Communicator {
 public:
  Faulty(std::shared_ptr<Communicator> inner, std::shared_ptr<State> state)
      : Communicator(inner->rank(), inner->group()), inner_(std::move(inner)), state_(std::move(state)) {}

  ~Faulty() override {
    try {
      state_->Release();
    } catch (...) {
      // The send failed; nobody waits for it any more.
    }
  }

  std::unique_ptr<Work> Start(const Operation& operation) override {
    if (state_->operations++ == state_->options.die_at) kill(getpid(), SIGKILL);
    const bool send = operation.kind == OpKind::kSend;
    if (send && state_->Dropped()) return CompletedWork();
    const Clock::time_point ready = state_->ReadyTime(operation);

    if (send && state_->options.reorder > 0 && state_->Draw() < state_->options.reorder) {
      state_->Release();
      state_->held = std::make_shared<HeldSend>(HeldSend{operation, inner_, nullptr});
      return std::make_unique<FaultyWork>(state_, state_->held, nullptr, ready);
    }
    const HeldSend* held = state_->held.get();
    if (send && held != nullptr && held->through == inner_ && held->operation.peer == operation.peer &&
        held->operation.tag == operation.tag) {
      state_->Release();
    }
    auto work = inner_->Start(operation);
    state_->Release();
    return std::make_unique<FaultyWork>(state_, nullptr, std::move(work), ready);
  }

  Announcer* announcer() override { return inner_->announcer(); }

 protected:
  std::shared_ptr<Communicator> MakeSubgroup(int rank, const Group& group, const Where& where) override {
    state_->Release();
    return std::make_shared<Faulty>(MakeSubgroupOf(*inner_, rank, group, where), state_);
  }

 private:
  std::shared_ptr<Communicator> inner_;
  std::shared_ptr<State> state_;
};

}  // namespace

std::shared_ptr<Communicator> MakeFaulty(std::shared_ptr<Communicator> inner, const FaultOptions& options) {
  const int rank = inner->group().world_ranks[static_cast<size_t>(inner->rank())];
  return std::make_shared<Faulty>(std::move(inner), std::make_shared<State>(options, rank));
}

}  // namespace shardlab
