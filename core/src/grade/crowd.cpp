#include "crowd.hpp"

#include <signal.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "shardlab/launch/process.hpp"

namespace shardlab::grade {
namespace {

/// Calls after which processes and threads are counted in any case.
constexpr int kCountEvery = 25;

/// Processes and threads of everybody.
int TasksOfMachine() {
  struct sysinfo about {};
  return sysinfo(&about) == 0 ? about.procs : 0;
}

}  // namespace

Crowd::Crowd(const Limits& limits, int ranks, std::vector<const HostProcess*> hosts)
    : limits_(limits),
      ranks_(ranks),
      hosts_(std::move(hosts)),
      tasks_before_(TasksOfMachine()),
      processes_before_(static_cast<int>(Members().size())) {}

std::vector<pid_t> Crowd::Members() const {
  std::vector<pid_t> members;
  for (const HostProcess* host : hosts_) {
    const std::vector<pid_t> more = host->Descendants();
    members.insert(members.end(), more.begin(), more.end());
  }
  return members;
}

std::string Crowd::TooManyText() {
  // Ours are counted when the machine has more than before; and now and then, for others may have ended meanwhile.
  const bool more = TasksOfMachine() > tasks_before_ + std::min(limits_.processes, limits_.threads) + ranks_;
  if (!more && ++rounds_uncounted_ < kCountEvery) return "";
  rounds_uncounted_ = 0;
  const std::vector<pid_t> members = Members();
  const int processes = static_cast<int>(members.size()) - processes_before_ - ranks_;
  if (processes > limits_.processes) {
    return fmt::format(
        "the ranks have started {} processes, and {} are the most: something forks again and again (a rank starts "
        "none; work that goes on beside it is a thread)",
        processes, limits_.processes);
  }
  int threads = 0;
  for (const pid_t process : members) threads += launch::ThreadCount(process);
  if (threads <= limits_.threads * ranks_) return "";
  return fmt::format("{} has {} threads{}, and {} are the most: something starts threads again and again",
                     ranks_ == 1 ? "the rank" : fmt::format("each of {} ranks", ranks_), threads / ranks_,
                     ranks_ == 1 ? "" : " on average", limits_.threads);
}

void Crowd::Freeze() const {
  std::set<pid_t> stopped;
  constexpr int kMostRounds = 20;  // what forks faster than this is ended all the same, only later
  for (int round = 0; round < kMostRounds; ++round) {
    bool grown = false;
    for (const pid_t process : Members()) {
      if (!stopped.insert(process).second) continue;
      kill(process, SIGSTOP);
      grown = true;
    }
    if (!grown) return;
  }
}

}  // namespace shardlab::grade
