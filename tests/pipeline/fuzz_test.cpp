// Random schedules, right and wrong ones: what Validate says of each is what happens when threads run it, and what
// Simulate says of its time is the longest path through it.
//
// The threads know nothing of Dependencies, Validate or Simulate. Every rank is a thread with a memory of its own; it
// fails on the spot when something that should be in that memory is not, and waits for what should come from others.
// When all threads wait, that is a deadlock: seen at once, without any time limit, since who waits changes nothing.

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <tuple>

#include <gtest/gtest.h>

#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/passes.hpp"
#include "shardlab/pipeline/policies.hpp"
#include "shardlab/pipeline/simulate.hpp"
#include "shardlab/pipeline/text.hpp"

namespace shardlab {
namespace {

using Random = std::mt19937;

int Pick(Random& random, int from, int to) { return std::uniform_int_distribution<int>(from, to)(random); }
bool Chance(Random& random, int percent) { return Pick(random, 1, 100) <= percent; }

// ---- Running with threads.

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

// ---- Random schedules.

// Any order in which one machine could do everything, dealt out to the ranks, is a schedule without deadlock.
Schedule RandomOrder(Random& random) {
  const int P = Pick(random, 1, 4);
  const Layout layout = [&] {
    switch (Pick(random, 0, 3)) {
      case 0:
        return Layout::Linear(P);
      case 1:
        return Layout::Looped(P, Pick(random, 1, 3));
      case 2:
        return Layout::Vee(P, Pick(random, 1, 3));
      default:
        return Layout::Bidirectional(P);
    }
  }();
  Schedule schedule("random", layout, Pick(random, 1, 5));
  const bool trains = Chance(random, 90);
  std::vector<Action> open;
  for (int i = 0; i < schedule.microbatches; ++i) {
    const bool mirrored = layout.kind() == LayoutKind::kBidirectional && Chance(random, 50);
    open.push_back(Action::Forward(mirrored ? P : 0, i));
  }
  while (!open.empty()) {
    const size_t which = static_cast<size_t>(Pick(random, 0, static_cast<int>(open.size()) - 1));
    const Action now = open[which];
    open.erase(open.begin() + static_cast<std::ptrdiff_t>(which));
    const Chunk& chunk = layout.chunk(now.chunk);
    schedule.ranks[static_cast<size_t>(chunk.rank)].push_back(now);
    const auto backward = [&](int c) {
      open.push_back(Chance(random, 50) ? Action::Backward(c, now.microbatch)
                                        : Action::BackwardInput(c, now.microbatch));
    };
    if (now.kind == ActionKind::kForward) {
      if (chunk.next >= 0) {
        open.push_back(Action::Forward(chunk.next, now.microbatch));
      } else if (trains) {
        backward(now.chunk);
      }
    } else if (now.kind != ActionKind::kBackwardWeight) {
      if (now.kind == ActionKind::kBackwardInput) open.push_back(Action::BackwardWeight(now.chunk, now.microbatch));
      if (chunk.previous >= 0) backward(chunk.previous);
    }
  }
  return schedule;
}

Schedule RandomSchedule(Random& random) {
  Schedule schedule = RandomOrder(random);
  const bool trains = schedule.HasBackward();
  const bool mirrored = schedule.layout.kind() == LayoutKind::kBidirectional;
  if (trains && Chance(random, 60)) {
    schedule = !mirrored && Chance(random, 50) ? StashWeights(schedule) : Flush(schedule);
    if (mirrored || Chance(random, 50)) schedule = AddGradientReduction(schedule);
  }
  if (trains && Chance(random, 30)) schedule = AddRecompute(schedule, Recompute::kAlways);
  if (Chance(random, 70)) schedule = AddCommunication(schedule, Pick(random, 0, 2));
  return schedule;
}

// Changes one thing, which may break the schedule or not.
void Mutate(Schedule& schedule, Random& random) {
  auto& list = schedule.ranks[static_cast<size_t>(Pick(random, 0, schedule.layout.ranks() - 1))];
  if (list.empty()) return;
  const auto any = [&] { return static_cast<size_t>(Pick(random, 0, static_cast<int>(list.size()) - 1)); };
  const size_t a = any();
  const size_t b = any();
  const auto at = [&](size_t place) { return list.begin() + static_cast<std::ptrdiff_t>(place); };
  const Action action = list[a];
  switch (Pick(random, 0, 11)) {
    case 0:
      list.erase(at(a));
      break;
    case 1:
      list.insert(at(b), action);
      break;
    case 2:
      list[a].version = std::max(0, action.version + Pick(random, -1, 1));
      break;
    case 3:
      list[a].microbatch = action.microbatch < 0 ? -1 : Pick(random, 0, schedule.microbatches - 1);
      break;
    case 4:
      if (IsCompute(action.kind)) list[a].kind = static_cast<ActionKind>(Pick(random, 0, 4));
      break;
    case 5:
      list[a].chunk = Pick(random, 0, schedule.layout.chunks() - 1);
      break;
    case 6:  // a message that is not there yet, which somebody may need or nobody
      list.insert(at(b), {static_cast<ActionKind>(Pick(random, 5, 8)), action.chunk,
                          Pick(random, 0, schedule.microbatches - 1)});
      break;
    case 7:  // another version that is there
      for (Action& other : list) {
        if (IsCompute(other.kind) && other.version > 0 && Chance(random, 20)) {
          --other.version;
          break;
        }
      }
      break;
    case 8:
    case 9:
      std::swap(list[a], list[b]);
      break;
    default: {
      list.erase(at(a));
      list.insert(at(std::min(b, list.size())), action);
    }
  }
}

TEST(Fuzz, ValidateSaysWhatThreadsDo) {
  Random random(20240117);
  int valid = 0;
  int deadlocks = 0;
  int faults = 0;
  for (int round = 0; round < 10000; ++round) {
    Schedule schedule = RandomSchedule(random);
    const int mutations = std::max(0, Pick(random, -1, 3));
    for (int k = 0; k < mutations; ++k) Mutate(schedule, random);
    const int windows[] = {0, 1, 2, RunRules::kNoWindow};
    const RunRules rules{windows[Pick(random, 0, 3)], windows[Pick(random, 0, 3)]};

    std::string verdict;
    try {
      Validate(schedule, rules);
    } catch (const ScheduleError& error) {
      verdict = error.what();
    }
    const std::string happened = World(schedule, rules).Run();
    ASSERT_EQ(verdict.empty(), happened.empty())
        << "round " << round << "\nValidate: " << verdict << "\nthreads: " << happened << "\nwindows "
        << rules.forward_window << " " << rules.backward_window << "\n"
        << FormatSchedule(schedule);
    if (verdict.find("deadlock") != std::string::npos) {
      ASSERT_EQ(happened, "deadlock") << verdict << "\n" << FormatSchedule(schedule);
      ++deadlocks;
    } else {
      ++(verdict.empty() ? valid : faults);
    }
    if (mutations == 0 && rules.forward_window > 2 && rules.backward_window > 2) {
      ASSERT_EQ(verdict, "") << FormatSchedule(schedule);
    }
  }
  // The three kinds must all be there, or the test tests little.
  EXPECT_GT(valid, 2000);
  EXPECT_GT(deadlocks, 300);
  EXPECT_GT(faults, 2000);
}

// ---- Time: the end of an action is the longest path to it.

class LongestPath {
 public:
  LongestPath(const Schedule& schedule, const CostModel& costs) : s_(schedule), costs_(costs) {
    for (int rank = 0; rank < s_.layout.ranks(); ++rank) {
      for (size_t step = 0; step < s_.ranks[rank].size(); ++step) {
        const Action& a = s_.ranks[rank][step];
        where_[Name(a)] = {rank, step};
      }
    }
  }

  double Makespan() {
    double latest = 0;
    for (int rank = 0; rank < s_.layout.ranks(); ++rank) {
      if (!s_.ranks[rank].empty()) latest = std::max(latest, End(rank, s_.ranks[rank].size() - 1));
    }
    return latest;
  }

 private:
  static std::string Name(const Action& a) {
    return ToString({a.kind, a.chunk, a.microbatch, a.microbatch < 0 ? a.version : 0});
  }
  double EndOf(const Action& a) {
    const auto found = where_.find(Name(a));
    return found == where_.end() ? -1 : End(found->second.first, found->second.second);
  }

  double End(int rank, size_t step) {
    const auto [known, is_new] = ends_.emplace(std::make_pair(rank, step), 0.0);
    if (!is_new) return known->second;
    const Action& a = s_.ranks[rank][step];
    const Chunk& chunk = s_.layout.chunk(a.chunk);
    double begin = step == 0 ? 0 : End(rank, step - 1);
    const auto message = [&](int other, bool forward) {
      if (other < 0 || s_.layout.chunk(other).rank == rank) return;
      const double took = costs_.message[static_cast<size_t>(forward ? chunk.stage - 1 : chunk.stage)];
      if (!s_.HasCommunication()) {
        const double whole =
            EndOf(forward ? Action::Forward(other, a.microbatch) : Action::Backward(other, a.microbatch));
        const double half = forward ? whole : EndOf(Action::BackwardInput(other, a.microbatch));
        begin = std::max(begin, std::max(whole, half) + took);
        return;
      }
      const double sent = EndOf({forward ? ActionKind::kSendForward : ActionKind::kSendBackward, other, a.microbatch});
      const double posted =
          EndOf({forward ? ActionKind::kReceiveForward : ActionKind::kReceiveBackward, a.chunk, a.microbatch});
      begin = std::max(begin, std::max(sent, posted) + took);
    };
    const size_t stage = static_cast<size_t>(chunk.stage);
    double took = 0;
    switch (a.kind) {
      case ActionKind::kForward:
        message(chunk.previous, true);
        took = costs_.forward[stage];
        break;
      case ActionKind::kRecompute:
        took = costs_.forward[stage];
        break;
      case ActionKind::kBackward:
        message(chunk.next, false);
        took = costs_.backward_input[stage] + costs_.backward_weight[stage];
        break;
      case ActionKind::kBackwardInput:
        message(chunk.next, false);
        took = costs_.backward_input[stage];
        break;
      case ActionKind::kBackwardWeight:
        took = costs_.backward_weight[stage];
        break;
      case ActionKind::kStep:
        took = costs_.step[stage];
        break;
      default:
        break;
    }
    return ends_[{rank, step}] = begin + took;
  }

  const Schedule& s_;
  const CostModel& costs_;
  std::map<std::string, std::pair<int, size_t>> where_;
  std::map<std::pair<int, size_t>, double> ends_;
};

TEST(Fuzz, TheMakespanIsTheLongestPath) {
  Random random(7);
  for (int round = 0; round < 2000; ++round) {
    Schedule schedule = RandomOrder(random);
    if (schedule.HasBackward() && schedule.layout.replicas() == 1) schedule = Flush(schedule);
    if (Chance(random, 50)) schedule = AddCommunication(schedule, Pick(random, 0, 2));
    CostModel costs;
    for (auto* list : {&costs.forward, &costs.backward_input, &costs.backward_weight, &costs.message, &costs.step}) {
      list->clear();
      for (int stage = 0; stage < schedule.layout.stages(); ++stage) list->push_back(Pick(random, 0, 9));
    }
    ASSERT_EQ(Simulate(schedule, costs).makespan, LongestPath(schedule, costs).Makespan()) << FormatSchedule(schedule);
  }
}

// Text that is nearly a schedule never does worse than an error of one line.
TEST(Fuzz, TextIsReadOrRefused) {
  Random random(11);
  const std::string alphabet = "0123456789FBIWRSENDCVT_@:,;() \n#-xé";
  int read = 0;
  for (int round = 0; round < 4000; ++round) {
    const Schedule schedule = RandomSchedule(random);
    std::string text = FormatSchedule(schedule);
    if (Chance(random, 50) && schedule.layout.replicas() == 1) {
      try {
        text = ToPyTorchCsv(schedule);
      } catch (const ScheduleError&) {
      }
    }
    for (int k = Pick(random, 0, 3); k > 0; --k) {
      const size_t place = static_cast<size_t>(Pick(random, 0, static_cast<int>(text.size()) - 1));
      const char letter = alphabet[static_cast<size_t>(Pick(random, 0, static_cast<int>(alphabet.size()) - 1))];
      if (Chance(random, 50)) text[place] = letter;
      if (Chance(random, 50)) text.erase(place, static_cast<size_t>(Pick(random, 0, 9)));
      if (text.empty()) text = "0";
    }
    try {
      Validate(ReadSchedule(text));
      ++read;
    } catch (const ScheduleError& error) {
      ASSERT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what() << "\n" << text;
    }
  }
  EXPECT_GT(read, 500);
}

}  // namespace
}  // namespace shardlab
