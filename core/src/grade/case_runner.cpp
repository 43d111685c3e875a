#include "shardlab/grade/case_runner.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "host_process.hpp"
#include "shardlab/base/errors.hpp"
#include "supervision.hpp"

namespace shardlab::grade {
namespace {

void Check(const CaseRequest& request) {
  if (request.ranks < 1 || request.ranks > kMaxAnnouncedRanks) {
    throw ContractError(fmt::format("a case runs on 1 to {} ranks, not on {}", kMaxAnnouncedRanks, request.ranks));
  }
  if (!request.inputs.empty() && static_cast<int>(request.inputs.size()) != request.ranks) {
    throw ContractError(fmt::format("a case on {} ranks has inputs for {} of them: give each rank its own, or none",
                                    request.ranks, request.inputs.size()));
  }
  if (!(request.limit_s > 0) || request.threads < 1 || request.output_limit_bytes < 0) {
    throw ContractError("a case has a time limit above 0, 1 or more threads a rank, and an output limit of 0 or more");
  }
}

}  // namespace

CaseRunner::CaseRunner(std::string host_program, double startup_limit_s, std::shared_ptr<const launch::Sandbox> sandbox)
    : host_program_(std::move(host_program)), startup_limit_s_(startup_limit_s), sandbox_(std::move(sandbox)) {
  host_ = std::make_unique<HostProcess>(host_program_, sandbox_);
}

CaseRunner::~CaseRunner() = default;

pid_t CaseRunner::host_pid() const { return host_ ? host_->pid() : -1; }

std::string CaseRunner::StartHost() {
  if (failed_starts_ >= 2) return last_failure_;
  for (;;) {
    if (!host_) host_ = std::make_unique<HostProcess>(host_program_, sandbox_);
    last_failure_ = host_->AwaitReady(startup_limit_s_);
    if (last_failure_.empty()) {
      failed_starts_ = 0;
      return "";
    }
    host_.reset();
    if (++failed_starts_ >= 2) return last_failure_;
  }
}

std::string CaseRunner::StartReplayHosts(size_t ranks) {
  while (replay_hosts_.size() < ranks) {
    replay_hosts_.push_back(std::make_unique<HostProcess>(host_program_, sandbox_));
  }
  for (size_t rank = 0; rank < ranks; ++rank) {
    const std::string failure = replay_hosts_[rank]->AwaitReady(startup_limit_s_);
    if (!failure.empty()) return failure;
  }
  return "";
}

CaseOutcome CaseRunner::Run(const CaseRequest& request, const std::atomic<bool>* cancel) {
  Check(request);
  const auto ranks = static_cast<size_t>(request.ranks);
  CaseOutcome outcome;
  const std::string failure = request.replay ? StartReplayHosts(ranks) : StartHost();
  bool hosts_are_well = false;
  if (failure.empty()) {
    std::vector<HostProcess*> hosts;
    for (size_t rank = 0; rank < ranks && request.replay; ++rank) hosts.push_back(replay_hosts_[rank].get());
    if (!request.replay) hosts.push_back(host_.get());
    hosts_are_well = Supervision(request, hosts, cancel).Run(&outcome);
  } else {
    outcome.status = Status::kCrashed;
    outcome.message = failure;
    outcome.ranks.resize(ranks);
    outcome.costs.resize(ranks);
    for (RankOutcome& rank : outcome.ranks) rank.status = Status::kSkipped;
    if (!request.replay) return outcome;
  }
  // Hosts that have seen trouble, or hold what a rank left behind, are not used again.
  if (request.replay) {
    const bool strays =
        std::any_of(replay_hosts_.begin(), replay_hosts_.end(), [](const auto& host) { return host->HasStrays(); });
    if (outcome.status != Status::kPassed || !hosts_are_well || strays) replay_hosts_.clear();
    for (const auto& host : replay_hosts_) host->KillOrphans();
  } else if (!hosts_are_well || host_->HasStrays()) {
    host_.reset();
    // Begins to load while the referee judges.
    host_ = std::make_unique<HostProcess>(host_program_, sandbox_);
  } else {
    host_->KillOrphans();
  }
  return outcome;
}

}  // namespace shardlab::grade
