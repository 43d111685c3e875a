#include "replay_runner.hpp"

#include <poll.h>

#include <algorithm>
#include <random>
#include <utility>

#include <fmt/format.h>

#include "failure.hpp"
#include "relay.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/comm/matcher.hpp"
#include "shardlab/comm/record.hpp"

namespace shardlab::grade {

using launch::Deadline;
using nlohmann::json;

namespace {

constexpr int kReplayDrainMs = 20;
constexpr double kReplayEndSeconds = 1.0;
constexpr size_t kReplayMaxEvents = 200'000;

/// One case under way.
class ReplayedCase {
 public:
  ReplayedCase(const CaseRequest& request, std::vector<std::unique_ptr<HostProcess>>& hosts)
      : request_(request), hosts_(hosts), relay_(request.ranks), matcher_(request.ranks, kReplayMaxEvents) {
    std::random_device random;
    nonce_ = (uint64_t{random()} << 32) | random();
  }

  CaseOutcome Run(const std::atomic<bool>* cancel);

 private:
  struct Rank {
    RankFiles files;
    AnnouncementReader announcements{-1};
    RankEnd end;
  };

  bool Begin(int rank);
  void Hear(int rank);
  void Drain();
  void Fail(Status status, const std::string& message) {
    if (!outcome_.message.empty()) return;
    outcome_.status = status;
    outcome_.message = message;
  }
  void JudgeEnd(int rank);
  void Finish(int rank);
  bool AllEnded() const {
    return std::all_of(ranks_.begin(), ranks_.end(), [](const Rank& rank) { return rank.end.ended; });
  }

  const CaseRequest& request_;
  std::vector<std::unique_ptr<HostProcess>>& hosts_;
  uint64_t nonce_ = 0;
  Relay relay_;
  Matcher matcher_;
  std::vector<Rank> ranks_;
  CaseOutcome outcome_;
};

bool ReplayedCase::Begin(int rank) {
  Rank& mine = ranks_[static_cast<size_t>(rank)];
  mine.files = MakeRankFiles(request_, rank);
  mine.files.relay = relay_.TakeEnd(rank);
  mine.announcements = AnnouncementReader(mine.files.announcements_read.get());
  json packet = CasePacket(request_, nonce_);
  packet["only_rank"] = rank;
  std::vector<RankFiles> one;
  one.push_back(std::move(mine.files));
  const bool begun = hosts_[static_cast<size_t>(rank)]->StartCase(packet, one);
  mine.files = std::move(one[0]);
  return begun;
}

void ReplayedCase::Drain() {
  for (int rank = 0; rank < request_.ranks; ++rank) {
    try {
      ranks_[static_cast<size_t>(rank)].announcements.Drain(
          [&](const Announcement& announcement) { matcher_.Feed(rank, announcement); });
    } catch (const CommError& error) {
      Fail(Status::kCrashed, fmt::format("rank {}: {}", rank, error.what()));
    }
  }
}

void ReplayedCase::Hear(int rank) {
  Rank& mine = ranks_[static_cast<size_t>(rank)];
  while (!mine.end.ended) {
    json said;
    const PacketState state = hosts_[static_cast<size_t>(rank)]->Receive(&said);
    if (state == PacketState::kNothing) return;
    if (state == PacketState::kClosed) {
      mine.end.ended = true;
      Fail(Status::kCrashed,
           fmt::format("the program that runs rank {} {}", rank, hosts_[static_cast<size_t>(rank)]->HowItEnded()));
      return;
    }
    if (said.value("nonce", uint64_t{0}) != nonce_) continue;
    const std::string type = said.value("type", "");
    if (type == "refuse") Fail(Status::kCrashed, said.value("why", "the host refused to run the case"));
    if (type == "exit" && said.value("rank", -1) == rank) {
      mine.end.wait_status = said.value("status", 0);
      JudgeEnd(rank);
    }
    if (type == "done" || type == "refuse") mine.end.ended = true;
  }
}

void ReplayedCase::JudgeEnd(int rank) {
  RankEnd& end = ranks_[static_cast<size_t>(rank)].end;
  end.header = ReadHeader(ranks_[static_cast<size_t>(rank)].files, nonce_);
  end.begun = end.header.nonce == nonce_;
  end.clean = end.wait_status == 0 && end.stage() == RankStage::kReturned;
  if (end.clean) return;
  bool crash = false;
  const std::string text = EndText(end, request_.limits, &crash);
  Fail(crash ? Status::kCrashed : Status::kFailed, fmt::format("rank {} {}", rank, text));
}

/// What a rank handed back, and what it announced against what it sent.
void ReplayedCase::Finish(int rank) {
  Rank& mine = ranks_[static_cast<size_t>(rank)];
  RankOutcome handed_back;
  handed_back.printed = launch::PrintedTo(mine.files.printed, kRankPrintedLimit);
  const RankStatistics announced = matcher_.Statistics(rank);
  const RelayCount& sent = relay_.Count(rank);
  outcome_.costs.push_back({sent.messages, sent.bytes, announced.rounds, sent.collectives, sent.collective_bytes});
  if (!mine.end.clean) Fail(Status::kCrashed, fmt::format("the program that runs rank {} lost track of it", rank));
  if (outcome_.message.empty()) {
    try {
      handed_back.outputs = ReadFrames(mine.files, mine.end.header, request_.output_limit_bytes);
    } catch (const FrameError& error) {
      Fail(Status::kCrashed, fmt::format("rank {} handed back something unreadable: {}", rank, error.what()));
    }
  }
  if (request_.observed && (announced.messages_sent != sent.messages || announced.bytes_sent != sent.bytes)) {
    Fail(Status::kFailed, fmt::format("rank {} announced {} messages of {} bytes in all, and sent {} of {}", rank,
                                      announced.messages_sent, announced.bytes_sent, sent.messages, sent.bytes));
  }
  if (request_.observed &&
      (announced.collectives != sent.collectives || announced.collective_bytes != sent.collective_bytes)) {
    Fail(Status::kFailed,
         fmt::format("rank {} announced {} collectives with {} bytes, and took part in {} with {}", rank,
                     announced.collectives, announced.collective_bytes, sent.collectives, sent.collective_bytes));
  }
  handed_back.status = outcome_.message.empty() ? Status::kPassed : Status::kSkipped;
  outcome_.ranks.push_back(std::move(handed_back));
}

CaseOutcome ReplayedCase::Run(const std::atomic<bool>* cancel) {
  const int64_t begin_ns = launch::MonotonicNs();
  ranks_.resize(static_cast<size_t>(request_.ranks));
  for (int rank = 0; rank < request_.ranks; ++rank) {
    if (!Begin(rank)) Fail(Status::kCrashed, fmt::format("the program that runs rank {} has gone", rank));
  }
  // The way through this process is longer than the one between the ranks.
  const Deadline deadline(2 * request_.limit_s);
  Deadline end(1e9);
  bool ending = false;
  while (!AllEnded() && !end.Passed()) {
    std::vector<pollfd> entries;
    relay_.AddTo(&entries);
    for (int rank = 0; rank < request_.ranks; ++rank) {
      if (!ranks_[static_cast<size_t>(rank)].end.ended) {
        entries.push_back({hosts_[static_cast<size_t>(rank)]->socket(), POLLIN, 0});
      }
    }
    poll(entries.data(), entries.size(), kReplayDrainMs);
    relay_.Pump();
    for (int rank = 0; rank < request_.ranks; ++rank) Hear(rank);
    Drain();
    if (!relay_.error().empty()) Fail(Status::kFailed, relay_.error());
    if (deadline.Passed()) Fail(Status::kTimeout, fmt::format("not done after {:g} s", 2 * request_.limit_s));
    if (cancel != nullptr && cancel->load()) Fail(Status::kSkipped, "not run: cancelled");
    if (!outcome_.message.empty() && !ending) {
      ending = true;
      end = Deadline(kReplayEndSeconds);
      for (int rank = 0; rank < request_.ranks; ++rank) hosts_[static_cast<size_t>(rank)]->EndCase();
    }
  }
  // What was sent last has not been counted yet, and what was announced last not been read.
  relay_.Pump();
  Drain();
  for (int rank = 0; rank < request_.ranks; ++rank) Finish(rank);
  for (const TimelineEvent& event : matcher_.Events()) outcome_.events.push_back({event.record, event.rank});
  outcome_.seconds = static_cast<double>(launch::MonotonicNs() - begin_ns) / 1e9;
  return std::move(outcome_);
}

}  // namespace

std::string ReplayRunner::StartHosts(size_t ranks) {
  while (hosts_.size() < ranks) {
    hosts_.push_back(std::make_unique<HostProcess>(host_program_, sandbox_));
    keep_(hosts_.back()->pid());
  }
  for (size_t rank = 0; rank < ranks; ++rank) {
    const std::string failure = hosts_[rank]->AwaitReady(startup_limit_s_);
    if (!failure.empty()) return failure;
  }
  return "";
}

CaseOutcome ReplayRunner::Run(const CaseRequest& request, const std::atomic<bool>* cancel) {
  CaseOutcome outcome;
  const std::string failure = StartHosts(static_cast<size_t>(request.ranks));
  if (failure.empty()) {
    outcome = ReplayedCase(request, hosts_).Run(cancel);
  } else {
    outcome.status = Status::kCrashed;
    outcome.message = failure;
    outcome.ranks.resize(static_cast<size_t>(request.ranks));
    outcome.costs.resize(static_cast<size_t>(request.ranks));
  }
  // Hosts that have seen trouble, or hold what a rank left behind, are not used again.
  const bool strays = std::any_of(hosts_.begin(), hosts_.end(), [](const auto& host) { return host->HasStrays(); });
  if (outcome.status != Status::kPassed || strays) hosts_.clear();
  return outcome;
}

}  // namespace shardlab::grade
