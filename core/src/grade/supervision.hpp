#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "crowd.hpp"
#include "failure.hpp"
#include "host_process.hpp"
#include "relay.hpp"
#include "shardlab/comm/matcher.hpp"
#include "shardlab/comm/record.hpp"
#include "shardlab/grade/case.hpp"
#include "shardlab/launch/process.hpp"

namespace shardlab::grade {

/// What is kept of what a rank announces, for timelines.
constexpr size_t kMaxEvents = 200'000;

/// One case under way: all ranks on one host, or, in a replay, each on a host of its own with a relay in between. Then
/// announcements are compared with what has passed, and who waits for whom is not asked: it was before.
class Supervision {
 public:
  /// `hosts`: one, or in a replay one a rank
  Supervision(const CaseRequest& request, const std::vector<HostProcess*>& hosts, const std::atomic<bool>* cancel);

  /// False when a host has to be replaced.
  bool Run(CaseOutcome* outcome);

 private:
  static uint64_t DrawNonce();

  struct Conclusion {
    Status status = Status::kPassed;
    std::string message;
    std::vector<int> culprits = {};  // whose stacks show the place
    std::string after = "";          // what follows the stacks
  };

  struct Host {
    HostProcess* process;
    bool alive = true;
    bool done = false;  // with its ranks

    bool running() const { return alive && !done; }
  };

  // (supervision.cpp) What happens.
  void Begin();
  void WaitForNews(int longest_ms);
  void Hear(size_t host);
  void Drain();
  void Drain(int rank);
  void RankEnded(int rank, int wait_status);
  std::optional<Conclusion> Decide();
  std::optional<Conclusion> CompareWithRelay() const;
  std::optional<Conclusion> ForbiddenCollective() const;
  std::optional<Conclusion> LostHost();
  void EndCase();
  void ReadOutputs(CaseOutcome* outcome);
  RankCost CostOf(int rank) const;

  // (supervision_words.cpp) What to say of it.
  std::optional<Conclusion> RootFailure();
  std::string FailureText(int rank) const;
  std::string ConsequencesText(const std::vector<int>& causes) const;
  std::string StateText(int rank) const;
  void NoteStates();
  StackArea StackOf(int rank) const;
  void AskForStacks();
  std::string NameStacks(const Conclusion& conclusion);
  bool AllEnded() const {
    return std::all_of(ended_.begin(), ended_.end(), [](const RankEnd& rank) { return rank.ended; });
  }

  size_t HostOf(int rank) const { return request_.replay ? static_cast<size_t>(rank) : 0; }
  bool AnyRunning() const {
    return std::any_of(hosts_.begin(), hosts_.end(), [](const Host& host) { return host.running(); });
  }

  const CaseRequest& request_;
  std::vector<Host> hosts_;
  const std::atomic<bool>* cancel_;
  const uint64_t nonce_;
  std::vector<RankFiles> files_;
  std::vector<AnnouncementReader> readers_;
  std::optional<Relay> relay_;  // in a replay
  Matcher matcher_;
  std::vector<RankEnd> ended_;
  std::vector<Record> last_posts_;
  std::vector<int64_t> latest_ns_;  // the time of each rank's last announcement
  std::optional<Conclusion> refusal_;
  std::optional<Conclusion> bad_announcement_;
  std::vector<Waiting> waits_;
  std::vector<std::string> states_;  // what each rank was doing at the time limit
  std::vector<RankStack> stacks_;
  bool libtorch_divides_by_zero_ = false;
  Crowd crowd_;
  int first_drained_ = 0;  // the rank whose announcements are read first
  bool behind_ = false;    // not all announcements were read that there were
  int64_t first_failure_ns_ = 0;
  int64_t deadlock_since_ns_ = 0;
  double limit_s_;
  launch::Deadline deadline_{0};
};

}  // namespace shardlab::grade
