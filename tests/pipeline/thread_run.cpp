#include "thread_run.hpp"

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace shardlab {
namespace {

struct Fault {
  std::string what;
};

class World {
 public:
  World(const Schedule& schedule, const RunRules& rules)
      : s_(schedule), rules_(rules), talks_(schedule.HasCommunication()) {
    for (const auto& list : s_.ranks) {
      for (const Action& a : list) {
        backward_ |= a.kind == ActionKind::kBackward || a.kind == ActionKind::kBackwardInput ||
                     a.kind == ActionKind::kBackwardWeight;
        steps_ |= a.kind == ActionKind::kStep;
        reduces_ |= a.kind == ActionKind::kReduceGradients;
      }
    }
    reduces_ |= s_.layout.kind() == LayoutKind::kBidirectional;
  }

  // Why the run failed; empty when it came to its end and had done everything.
  std::string Run() {
    running_ = s_.layout.ranks();
    std::vector<std::thread> threads;
    for (int rank = 0; rank < s_.layout.ranks(); ++rank) threads.emplace_back([this, rank] { RunRank(rank); });
    for (std::thread& thread : threads) thread.join();
    if (failure_.empty()) CheckAllIsDone();
    return failure_;
  }

 private:
  using Id = std::pair<int, int>;  // chunk and micro-batch

  // What a rank remembers.
  struct Memory {
    std::map<Id, int> activations;  // with the version that they were computed on
    std::set<Id> outputs, kept_gradients, input_gradients, recomputed;
    std::map<int, int> latest, summed;
    std::map<int, int> unused;
  };

  static void Need(bool condition, const std::string& what) {
    if (!condition) throw Fault{what};
  }

  // Waits until others have made `condition` true. Called with the lock held.
  void Await(std::unique_lock<std::mutex>& lock, const std::function<bool()>& condition, const std::string& what) {
    while (!condition()) {
      if (++blocked_ == running_) failure_ = failure_.empty() ? "deadlock" : failure_;
      if (!failure_.empty()) changed_.notify_all();
      const int seen = epoch_;
      const bool in_time =
          changed_.wait_for(lock, std::chrono::seconds(60), [&] { return epoch_ != seen || !failure_.empty(); });
      Need(in_time, "a thread sleeps although not all do: " + what);
      if (!failure_.empty()) throw Fault{failure_};
    }
  }

  // Something that others may wait for has happened: nobody counts as blocked until it has looked again.
  void Changed() {
    blocked_ = 0;
    ++epoch_;
    changed_.notify_all();
  }

  void RunRank(int rank) {
    std::unique_lock<std::mutex> lock(mutex_);
    try {
      Memory memory;
      for (const Action& action : s_.ranks[rank]) {
        Do(lock, rank, action, memory);
        Need(did_.insert(ToString({action.kind, action.chunk, action.microbatch,
                                   action.microbatch < 0 ? action.version : 0}))
                 .second,
             "twice");
      }
      if (steps_) {
        for (const auto& [chunk, count] : memory.unused) Need(count == 0, "gradients are left over");
      }
    } catch (const Fault& fault) {
      if (failure_.empty()) failure_ = fault.what;
    }
    --running_;
    if (running_ > 0 && blocked_ == running_ && failure_.empty()) failure_ = "deadlock";
    changed_.notify_all();
  }

  void Do(std::unique_lock<std::mutex>& lock, int rank, const Action& a, Memory& mine) {
    const Layout& layout = s_.layout;
    Need(a.chunk >= 0 && a.chunk < layout.chunks() && layout.chunk(a.chunk).rank == rank, "not my chunk");
    const Chunk& chunk = layout.chunk(a.chunk);
    const Id id{a.chunk, a.microbatch};
    const bool message = a.kind == ActionKind::kSendForward || a.kind == ActionKind::kSendBackward ||
                         a.kind == ActionKind::kReceiveForward || a.kind == ActionKind::kReceiveBackward;
    if (a.kind != ActionKind::kStep && a.kind != ActionKind::kReduceGradients) {
      Need(a.microbatch >= 0 && a.microbatch < s_.microbatches, "no such micro-batch");
    }
    Need(a.version >= 0 && (!message || a.version == 0), "no such version");
    const bool remote_before = chunk.previous >= 0 && layout.chunk(chunk.previous).rank != rank;
    const bool remote_after = chunk.next >= 0 && layout.chunk(chunk.next).rank != rank;

    switch (a.kind) {
      case ActionKind::kForward: {
        Need(a.version <= mine.latest[a.chunk], "the weights are not there yet");
        if (remote_before) {
          Receive(lock, {chunk.previous, a.microbatch}, true);
        } else if (chunk.previous >= 0) {
          Need(mine.outputs.count({chunk.previous, a.microbatch}) > 0, "no input");
        }
        Need(mine.activations.count(id) == 0, "forward twice");
        mine.activations[id] = a.version;
        mine.outputs.insert(id);
        made_forward_.insert(id);
        Changed();
        break;
      }
      case ActionKind::kRecompute:
        Need(mine.activations.count(id) > 0 && mine.activations[id] == a.version, "nothing to recompute from");
        Need(mine.input_gradients.count(id) == 0 && mine.recomputed.insert(id).second, "recomputed too late or twice");
        break;
      case ActionKind::kBackward:
      case ActionKind::kBackwardInput: {
        Need(mine.activations.count(id) > 0 && mine.activations[id] == a.version, "no activations of that version");
        Need(mine.input_gradients.count(id) == 0, "backward twice");
        if (remote_after) {
          Receive(lock, {chunk.next, a.microbatch}, false);
        } else if (chunk.next >= 0) {
          Need(mine.input_gradients.count({chunk.next, a.microbatch}) > 0, "no gradient");
        }
        mine.input_gradients.insert(id);
        made_backward_.insert(id);
        if (a.kind == ActionKind::kBackwardInput) mine.kept_gradients.insert(id);
        if (a.kind == ActionKind::kBackward) AddWeightGradient(a.chunk, mine);
        Changed();
        break;
      }
      case ActionKind::kBackwardWeight:
        Need(mine.kept_gradients.erase(id) > 0 && mine.activations[id] == a.version, "no input half before");
        AddWeightGradient(a.chunk, mine);
        break;
      case ActionKind::kSendForward:
        Need(mine.outputs.count(id) > 0 && remote_after, "nothing to send, or to nobody");
        Send(lock, rank, layout.chunk(chunk.next).rank, id, true);
        break;
      case ActionKind::kSendBackward:
        Need(mine.input_gradients.count(id) > 0 && remote_before, "nothing to send, or to nobody");
        Send(lock, rank, layout.chunk(chunk.previous).rank, id, false);
        break;
      case ActionKind::kReceiveForward:
        Need(remote_before, "nobody sends that");
        Need(posted_.insert({chunk.previous, a.microbatch, true}).second, "posted twice");
        Changed();
        break;
      case ActionKind::kReceiveBackward:
        Need(remote_after, "nobody sends that");
        Need(posted_.insert({chunk.next, a.microbatch, false}).second, "posted twice");
        Changed();
        break;
      case ActionKind::kReduceGradients: {
        Need(a.version == mine.latest[a.chunk] + 1 && mine.summed[a.chunk] < a.version, "a sum for no version");
        mine.summed[a.chunk] = a.version;
        entered_.insert({a.chunk, a.version});
        Changed();
        if (layout.kind() != LayoutKind::kBidirectional) break;
        const int P = layout.ranks();
        const int twin = a.chunk < P ? a.chunk + P : a.chunk - P;
        if (layout.chunk(twin).rank == rank) break;
        Await(
            lock,
            [&] {
              return entered_.count({twin, a.version}) > 0;
            },
            "the twin");
        break;
      }
      case ActionKind::kStep:
        Need(a.version == mine.latest[a.chunk] + 1, "versions come one after the other");
        Need(!reduces_ || mine.summed[a.chunk] == a.version, "a step without the sum");
        if (layout.kind() == LayoutKind::kBidirectional && 2 * rank + 1 == layout.ranks()) {
          Need(mine.summed[a.chunk < layout.ranks() ? a.chunk + layout.ranks() : a.chunk - layout.ranks()] >= a.version,
               "a step without the sum with its twin on this rank");
        }
        mine.latest[a.chunk] = a.version;
        mine.unused[a.chunk] = 0;
        break;
    }
  }

  void AddWeightGradient(int chunk, Memory& mine) {
    Need(mine.summed[chunk] <= mine.latest[chunk], "the sum has been taken");
    ++mine.unused[chunk];
    ++weight_gradients_;
  }

  // Takes the output (or input gradient) of a chunk on another rank.
  void Receive(std::unique_lock<std::mutex>& lock, Id from, bool forward) {
    const auto& made = forward ? made_forward_ : made_backward_;
    if (!talks_)
      return Await(
          lock, [&] { return made.count(from) > 0; }, "a result");
    Need(posted_.count({from.first, from.second, forward}) > 0, "its receive is not posted");
    Await(
        lock,
        [&] {
          return sent_.count({from.first, from.second, forward}) > 0;
        },
        "a message");
    consumed_.insert({from.first, from.second, forward});
  }

  void Send(std::unique_lock<std::mutex>& lock, int from, int to, Id id, bool forward) {
    auto& link = links_[{from, to, forward}];
    const int window = forward ? rules_.forward_window : rules_.backward_window;
    const std::tuple<int, int, bool> key{id.first, id.second, forward};
    link.push_back(key);
    if (window < static_cast<int>(link.size())) {
      const auto oldest = link[link.size() - 1 - static_cast<size_t>(window)];
      Await(
          lock, [&] { return posted_.count(oldest) > 0; }, "a receive");
    }
    Need(sent_.insert(key).second, "sent twice");
    Changed();
  }

  void CheckAllIsDone() {
    const Layout& layout = s_.layout;
    const int replicas = layout.kind() == LayoutKind::kBidirectional ? 2 : 1;
    const int length = layout.chunks() / replicas;
    size_t all = 0;
    for (int i = 0; i < s_.microbatches; ++i) {
      int runs_in = 0;
      for (int replica = 0; replica < replicas; ++replica) {
        int count = 0;
        for (int c = replica * length; c < (replica + 1) * length; ++c) count += made_forward_.count({c, i});
        if (count == length) ++runs_in;
        if (count != 0 && count != length) failure_ = "part of a forward";
      }
      if (runs_in != 1) failure_ = "a micro-batch runs in no replica or in two";
      all += static_cast<size_t>(length);
    }
    if (backward_ && (made_backward_.size() != all || weight_gradients_ != all)) failure_ = "part of a backward";
    if (sent_ != posted_ || sent_ != consumed_) failure_ = "messages that nobody uses";
  }

  const Schedule& s_;
  const RunRules rules_;
  const bool talks_;
  bool backward_ = false, steps_ = false, reduces_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  int running_ = 0, blocked_ = 0, epoch_ = 0;
  std::string failure_;
  std::set<std::string> did_;
  std::set<Id> made_forward_, made_backward_, entered_;
  std::set<std::tuple<int, int, bool>> sent_, posted_, consumed_;
  std::map<std::tuple<int, int, bool>, std::vector<std::tuple<int, int, bool>>> links_;
  size_t weight_gradients_ = 0;
};

}  // namespace

std::string RunWithThreads(const Schedule& schedule, const RunRules& rules) { return World(schedule, rules).Run(); }

}  // namespace shardlab
