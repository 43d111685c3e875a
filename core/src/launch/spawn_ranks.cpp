#include "shardlab/launch/spawn_ranks.hpp"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/launch/process.hpp"

namespace shardlab {
namespace {

using launch::Deadline;
using launch::Fd;

constexpr double kGraceSeconds = 1;  // for the others, after the first failure

/// A fresh directory, removed with its owner.
class MeetingPlace {
 public:
  MeetingPlace() {
    std::string pattern = (std::filesystem::temp_directory_path() / "shardlab-ranks-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) {
      throw EnvironmentError(fmt::format("cannot make a directory in {}: {}",
                                         std::filesystem::temp_directory_path().string(), std::strerror(errno)));
    }
    path_ = pattern;
  }
  ~MeetingPlace() {
    std::error_code ignored;  // a file that cannot be removed is no reason to lose the result
    std::filesystem::remove_all(path_, ignored);
  }
  MeetingPlace(const MeetingPlace&) = delete;
  MeetingPlace& operator=(const MeetingPlace&) = delete;

  std::string File() const { return path_ / "store"; }

 private:
  std::filesystem::path path_;
};

/// The programs under way, killed with their owner.
class Programs {
 public:
  ~Programs() {
    for (size_t rank = 0; rank < pids_.size(); ++rank) {
      if (Alive(rank)) launch::KillTree(pids_[rank]);
    }
  }

  void Start(const launch::ProgramSpec& spec) {
    pids_.push_back(launch::StartProgram(spec));
    // Becomes readable when the program ends.
    ends_.emplace_back(static_cast<int>(syscall(SYS_pidfd_open, pids_.back(), 0)));
    if (!ends_.back()) throw EnvironmentError(fmt::format("cannot watch a process: {}", std::strerror(errno)));
  }

  size_t size() const { return pids_.size(); }
  bool Alive(size_t rank) const { return pids_[rank] > 0; }
  int End(size_t rank) const { return ends_[rank].get(); }
  int Reap(size_t rank) {
    int wait_status = 0;
    launch::Reap(pids_[rank], kGraceSeconds, &wait_status);
    Forget(rank);
    return wait_status;
  }
  void Kill(size_t rank) {
    launch::KillTree(pids_[rank]);
    Forget(rank);
  }

 private:
  void Forget(size_t rank) {
    pids_[rank] = -1;
    ends_[rank].Reset();
  }

  std::vector<pid_t> pids_;
  std::vector<Fd> ends_;
};

}  // namespace

std::vector<RankFailure> SpawnRanks(int ranks, const std::vector<std::string>& command,
                                    const RunRanksOptions& options) {
  if (ranks < 1) throw ContractError(fmt::format("SpawnRanks: {} ranks; there is at least 1", ranks));
  if (command.empty()) throw ContractError("SpawnRanks: the command is empty; name a program");
  const MeetingPlace meeting_place;
  Programs programs;
  for (int rank = 0; rank < ranks; ++rank) {
    launch::ProgramSpec spec;
    spec.program = command[0];
    spec.arguments.assign(command.begin() + 1, command.end());
    const std::string threads = std::to_string(options.threads);
    for (const auto& [name, one] : launch::OneThreadEnvironment()) spec.environment[name] = threads;
    spec.environment["RANK"] = spec.environment["LOCAL_RANK"] = std::to_string(rank);
    spec.environment["WORLD_SIZE"] = spec.environment["LOCAL_WORLD_SIZE"] = std::to_string(ranks);
    spec.environment["SHARDLAB_MEETING_FILE"] = meeting_place.File();
    programs.Start(spec);
  }

  std::vector<RankFailure> failures;
  const auto fail = [&](size_t rank, const std::string& message) {
    RankFailure failure;
    failure.rank = static_cast<int>(rank);
    failure.message = message;
    failure.consequence = !failures.empty();
    failures.push_back(std::move(failure));
  };
  const auto end_all = [&](const std::string& message, bool same_cause) {
    for (size_t rank = 0; rank < programs.size(); ++rank) {
      if (!programs.Alive(rank)) continue;
      programs.Kill(rank);
      fail(rank, message);
      if (same_cause) failures.back().consequence = false;
    }
  };
  const Deadline limit(options.limit_s > 0 ? options.limit_s : 1e9);
  Deadline grace(1e9);
  for (;;) {
    std::vector<pollfd> waiting;
    std::vector<size_t> who;
    for (size_t rank = 0; rank < programs.size(); ++rank) {
      if (!programs.Alive(rank)) continue;
      waiting.push_back({programs.End(rank), POLLIN, 0});
      who.push_back(rank);
    }
    if (waiting.empty()) break;
    poll(waiting.data(), waiting.size(), std::min(limit.Milliseconds(), grace.Milliseconds()));
    for (size_t i = 0; i < waiting.size(); ++i) {
      if (waiting[i].revents == 0) continue;
      const int wait_status = programs.Reap(who[i]);
      if (wait_status == 0) continue;
      if (failures.empty()) grace = Deadline(kGraceSeconds);
      fail(who[i], launch::DescribeWaitStatus(wait_status));
    }
    if (grace.Passed()) {
      end_all("was ended because another rank had failed", false);
    } else if (limit.Passed()) {
      end_all(fmt::format("did not return within {:g} s", options.limit_s), failures.empty());
    }
  }
  return failures;
}

}  // namespace shardlab
