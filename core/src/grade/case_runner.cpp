#include "shardlab/grade/case_runner.hpp"

#include <unistd.h>

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
  launch::BecomeSubreaper();
  for (const pid_t child : launch::ChildrenOf(getpid())) keep_.insert(child);
  host_ = std::make_unique<HostProcess>(host_program_, sandbox_);
}

CaseRunner::~CaseRunner() { DropHost(); }

pid_t CaseRunner::host_pid() const { return host_ ? host_->pid() : -1; }

void CaseRunner::DropHost() {
  if (host_) host_->Kill();
  host_.reset();
  launch::KillStrays(keep_);
}

std::string CaseRunner::StartHost() {
  if (failed_starts_ >= 2) return last_failure_;
  for (;;) {
    if (!host_) host_ = std::make_unique<HostProcess>(host_program_, sandbox_);
    last_failure_ = host_->AwaitReady(startup_limit_s_);
    if (last_failure_.empty()) {
      failed_starts_ = 0;
      return "";
    }
    DropHost();
    if (++failed_starts_ >= 2) return last_failure_;
  }
}

CaseOutcome CaseRunner::Run(const CaseRequest& request, const std::atomic<bool>* cancel) {
  Check(request);
  CaseOutcome outcome;
  const std::string failure = StartHost();
  if (!failure.empty()) {
    outcome.status = Status::kCrashed;
    outcome.message = failure;
    outcome.ranks.resize(static_cast<size_t>(request.ranks));
    outcome.costs.resize(static_cast<size_t>(request.ranks));
    for (RankOutcome& rank : outcome.ranks) rank.status = Status::kSkipped;
    return outcome;
  }
  const bool host_is_well = Supervision(request, *host_, cancel).Run(&outcome);
  if (!host_is_well || host_->HasStrays()) {
    DropHost();
    // Begins to load while the referee judges.
    host_ = std::make_unique<HostProcess>(host_program_, sandbox_);
  } else {
    std::set<pid_t> keep = keep_;
    keep.insert(host_->pid());
    launch::KillStrays(keep);
  }
  return outcome;
}

}  // namespace shardlab::grade
