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
#include "shardlab/comm/matcher.hpp"
#include "shardlab/comm/record.hpp"
#include "shardlab/grade/case.hpp"
#include "shardlab/launch/process.hpp"

namespace shardlab::grade {

/// What is kept of what a rank announces, for timelines.
constexpr size_t kMaxEvents = 200'000;

/// One case under way.
class Supervision {
 public:
  Supervision(const CaseRequest& request, HostProcess& host, const std::atomic<bool>* cancel)
      : request_(request),
        host_(host),
        cancel_(cancel),
        nonce_(DrawNonce()),
        matcher_(request.ranks, kMaxEvents),
        ended_(static_cast<size_t>(request.ranks)),
        last_posts_(static_cast<size_t>(request.ranks)),
        crowd_(request.limits, request.ranks) {}

  /// False when the host has to be replaced.
  bool Run(CaseOutcome* outcome);

 private:
  static uint64_t DrawNonce();

  struct Conclusion {
    Status status = Status::kPassed;
    std::string message;
    std::vector<int> culprits = {};  // whose stacks show the place
    std::string after = "";          // what follows the stacks
  };

  // (supervision.cpp) What happens.
  void MakeFiles();
  void Drain();
  void RankEnded(int rank, int wait_status);
  std::optional<Conclusion> Decide();
  void ReadOutputs(CaseOutcome* outcome);

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

  const CaseRequest& request_;
  HostProcess& host_;
  const std::atomic<bool>* cancel_;
  const uint64_t nonce_;
  std::vector<RankFiles> files_;
  std::vector<AnnouncementReader> readers_;
  Matcher matcher_;
  std::vector<RankEnd> ended_;
  std::vector<Record> last_posts_;
  std::optional<Conclusion> bad_announcement_;
  std::vector<Waiting> waits_;
  std::vector<std::string> states_;  // what each rank was doing at the time limit
  std::vector<RankStack> stacks_;
  Crowd crowd_;
  int64_t first_failure_ns_ = 0;
  int64_t deadlock_since_ns_ = 0;
  launch::Deadline deadline_{0};
};

}  // namespace shardlab::grade
