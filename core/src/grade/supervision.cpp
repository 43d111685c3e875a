#include "supervision.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <tuple>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/visible.hpp"

namespace shardlab::grade {

using launch::Deadline;
using nlohmann::json;

namespace {

constexpr int kDrainMs = 20;
/// Once a rank has failed, how long the others may take to show a cause that goes deeper.
constexpr double kGraceSeconds = 0.1;
/// For reading what ranks announce, between two looks at the clock: a rank may announce faster than it is read.
constexpr double kDrainSeconds = 0.2;
/// For the same reason: packets of a host, between two looks at the clock.
constexpr int kMostPackets = 1000;
/// Before what is said of a rank that such a division ended.
const std::string kLibTorchDividesByZero =
    "LibTorch divided by zero in its own code, not in yours: where a machine does not tell the sizes of its caches (a "
    "virtual one, often), some convolutions do. `SHARDLAB_NO_ONEDNN=1 ./lab grade ...` computes them otherwise; `./lab "
    "doctor` tries one.\n  ";
/// For the host to confirm that the ranks are dead.
constexpr double kEndSeconds = 1.0;

}  // namespace

uint64_t Supervision::DrawNonce() {
  std::random_device random;
  return (uint64_t{random()} << 32) | random();
}

Supervision::Supervision(const CaseRequest& request, const std::vector<HostProcess*>& hosts,
                         const std::atomic<bool>* cancel)
    : request_(request),
      cancel_(cancel),
      nonce_(DrawNonce()),
      matcher_(request.ranks, kMaxEvents),
      ended_(static_cast<size_t>(request.ranks)),
      last_posts_(static_cast<size_t>(request.ranks)),
      latest_ns_(static_cast<size_t>(request.ranks)),
      crowd_(request.limits, request.ranks, {hosts.begin(), hosts.end()}),
      // The way through this process is longer than the one between the ranks.
      limit_s_(request.replay ? 2 * request.limit_s : request.limit_s) {
  for (HostProcess* host : hosts) hosts_.push_back({host});
  if (request.replay) relay_.emplace(request.ranks);
}

void Supervision::Begin() {
  for (int rank = 0; rank < request_.ranks; ++rank) {
    RankFiles files = MakeRankFiles(request_, rank);
    if (relay_) files.relay = relay_->TakeEnd(rank);
    readers_.emplace_back(files.announcements_read.get());
    files_.push_back(std::move(files));
  }
  deadline_ = Deadline(limit_s_);
  for (size_t i = 0; i < hosts_.size(); ++i) {
    hosts_[i].alive = hosts_[i].process->StartCase(request_, nonce_, files_, static_cast<int>(i));
  }
}

void Supervision::WaitForNews(int longest_ms) {
  std::vector<pollfd> entries;
  for (const Host& host : hosts_) {
    if (host.running()) entries.push_back({host.process->socket(), POLLIN, 0});
  }
  if (relay_) relay_->AddTo(&entries);
  poll(entries.data(), entries.size(), longest_ms);
}

void Supervision::Hear(size_t index) {
  Host& host = hosts_[index];
  for (int packets = 0; host.alive && packets < kMostPackets; ++packets) {
    json said;
    const PacketState state = host.process->Receive(&said);
    if (state == PacketState::kNothing) return;
    if (state == PacketState::kClosed) {
      host.alive = false;
      return;
    }
    // What was said, or forged, of an earlier case means nothing any more.
    if (said.value("nonce", uint64_t{0}) != nonce_) continue;
    const std::string type = said.value("type", "");
    if (type == "exit") {
      const int rank = said.value("rank", -1);
      const bool own = rank >= 0 && rank < request_.ranks && HostOf(rank) == index;
      if (own && !ended_[static_cast<size_t>(rank)].ended) RankEnded(rank, said.value("status", 0));
    } else if (type == "done") {
      host.done = true;
    } else if (type == "refuse") {
      if (!refusal_) {
        refusal_ = Conclusion{Status::kCrashed, said.value("why", "the host refused to run the case")};
      }
      host.done = true;
    }
  }
}

void Supervision::Drain() {
  const Deadline deadline(kDrainSeconds);
  behind_ = false;
  for (int i = 0; i < request_.ranks; ++i) {
    const int rank = (first_drained_ + i) % request_.ranks;
    if (deadline.Passed()) {
      behind_ = true;
      first_drained_ = rank;
      return;
    }
    Drain(rank);
  }
}

void Supervision::Drain(int rank) {
  if (bad_announcement_) return;
  try {
    readers_[static_cast<size_t>(rank)].Drain([&](Announcement announcement) {
      // A rank may claim any time for what it says; it says one thing after the other, and nothing before its time.
      int64_t& latest_ns = latest_ns_[static_cast<size_t>(rank)];
      latest_ns = std::clamp(announcement.record.time_ns, latest_ns, std::max(latest_ns, launch::MonotonicNs()));
      announcement.record.time_ns = latest_ns;
      if (announcement.record.kind == RecordKind::kPost) last_posts_[static_cast<size_t>(rank)] = announcement.record;
      matcher_.Feed(rank, announcement);
    });
  } catch (const CommError& error) {
    bad_announcement_ = Conclusion{Status::kCrashed, fmt::format("rank {}: {}", rank, error.what())};
  }
}

void Supervision::RankEnded(int rank, int wait_status) {
  RankEnd& ended = ended_[static_cast<size_t>(rank)];
  ended.ended = true;
  ended.wait_status = wait_status;
  ended.time_ns = launch::MonotonicNs();
  const OutputHeader& header = ended.header = ReadHeader(files_[static_cast<size_t>(rank)], nonce_);
  ended.begun = header.nonce == nonce_;
  ended.stack = StackOf(rank);
  const bool exited_0 = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
  ended.clean = exited_0 && header.state == static_cast<uint32_t>(RankStage::kReturned);
  // An exception's time is that of the throw, if the rank's word can be so; a crash has only that of its discovery.
  if (header.ended_ns > 0) ended.time_ns = std::min(ended.time_ns, header.ended_ns);
  if (!ended.clean && first_failure_ns_ == 0) first_failure_ns_ = launch::MonotonicNs();
  // What was written before its end is in the pipes, and counts: its own all, however late it is.
  Drain();
  Drain(rank);
  if (!ended.clean) matcher_.Died(rank, FailureText(rank));
}

std::optional<Supervision::Conclusion> Supervision::Decide() {
  if (refusal_) return refusal_;
  const bool all_ended = AllEnded();
  const Verdict verdict = relay_ ? Verdict() : all_ended ? matcher_.Finish() : matcher_.Check();
  if (verdict.kind == VerdictKind::kMismatch || verdict.kind == VerdictKind::kMisuse) {
    return Conclusion{Status::kFailed, verdict.Text()};
  }
  if (first_failure_ns_ != 0) {
    const bool waited = static_cast<double>(launch::MonotonicNs() - first_failure_ns_) > kGraceSeconds * 1e9;
    if (waited || all_ended) return RootFailure();
    return std::nullopt;
  }
  if (bad_announcement_) return bad_announcement_;
  if (relay_ && (all_ended || !relay_->error().empty())) return CompareWithRelay();
  if (all_ended && verdict) return Conclusion{Status::kFailed, verdict.Text()};
  if (all_ended) return ForbiddenCollective().value_or(Conclusion{});
  if (verdict.kind == VerdictKind::kDeadlock && !behind_) {
    // A moment's patience, so that the end of a rank that has just died while it was blocked can arrive and be the
    // cause.
    const int64_t now_ns = launch::MonotonicNs();
    if (deadlock_since_ns_ == 0) deadlock_since_ns_ = now_ns;
    if (now_ns - deadlock_since_ns_ > kDrainMs * 1'000'000 / 2) {
      waits_ = WaitsOf(verdict);
      return Conclusion{Status::kDeadlock, verdict.Text()};
    }
  } else {
    deadlock_since_ns_ = 0;
  }
  const std::string too_many = crowd_.TooManyText();
  if (!too_many.empty()) {
    crowd_.Freeze();
    return Conclusion{Status::kCrashed, too_many};
  }
  if (deadline_.Passed()) {
    NoteStates();
    return Conclusion{Status::kTimeout, fmt::format("not done after {:g} s", limit_s_)};
  }
  if (cancel_ != nullptr && cancel_->load()) return Conclusion{Status::kSkipped, "not run: cancelled"};
  return std::nullopt;
}

std::optional<Supervision::Conclusion> Supervision::CompareWithRelay() const {
  if (!relay_->error().empty()) return Conclusion{Status::kFailed, relay_->error()};
  if (const auto forbidden = ForbiddenCollective()) return forbidden;
  for (int rank = 0; rank < request_.ranks && request_.observed; ++rank) {
    const RankStatistics announced = matcher_.Statistics(rank);
    const RelayCount& sent = relay_->Count(rank);
    if (announced.messages_sent != sent.messages || announced.bytes_sent != sent.bytes) {
      return Conclusion{Status::kFailed,
                        fmt::format("rank {} announced {} messages of {} bytes in all, and sent {} of {}", rank,
                                    announced.messages_sent, announced.bytes_sent, sent.messages, sent.bytes)};
    }
    if (announced.collectives != sent.collectives || announced.collective_bytes != sent.collective_bytes) {
      return Conclusion{
          Status::kFailed,
          fmt::format("rank {} announced {} collectives with {} bytes, and took part in {} with {}", rank,
                      announced.collectives, announced.collective_bytes, sent.collectives, sent.collective_bytes)};
    }
  }
  return Conclusion{};
}

/// A rank's communicator refuses collectives where there are to be none; what lies behind it may have been reached.
std::optional<Supervision::Conclusion> Supervision::ForbiddenCollective() const {
  for (int rank = 0; rank < request_.ranks && request_.point_to_point_only; ++rank) {
    const int64_t collectives = CostOf(rank).collectives;
    if (collectives == 0) continue;
    return Conclusion{Status::kFailed,
                      fmt::format("rank {} took part in {} of the communicator's own collectives; this "
                                  "part is built from sends and receives (ISend, IRecv, Send, Recv)",
                                  rank, collectives)};
  }
  return std::nullopt;
}

std::optional<Supervision::Conclusion> Supervision::LostHost() {
  for (size_t i = 0; i < hosts_.size(); ++i) {
    Host& host = hosts_[i];
    if (host.running()) continue;
    const std::string who = "the program that runs " + (relay_ ? fmt::format("rank {}", i) : "the ranks");
    if (!host.done) {
      const std::string how = host.process->HowItEnded(), printed = host.process->Printed();
      return Conclusion{Status::kCrashed, fmt::format("{} {}{}{}", who, how, printed.empty() ? "" : "; it printed:\n",
                                                      LastLines(printed, 20))};
    }
    // It says that its ranks have ended, but perhaps did not say of each that it has.
    for (int rank = 0; rank < request_.ranks; ++rank) {
      if (HostOf(rank) != i || ended_[static_cast<size_t>(rank)].ended) continue;
      const auto failure = RootFailure();
      return failure ? failure
                     : Conclusion{Status::kCrashed, who + (relay_ ? " lost track of it" : " lost track of them")};
    }
  }
  return std::nullopt;
}

void Supervision::EndCase() {
  for (Host& host : hosts_) {
    if (host.running()) host.alive = host.process->EndCase();
  }
}

RankCost Supervision::CostOf(int rank) const {
  const RankStatistics announced = matcher_.Statistics(rank);
  if (!relay_) {
    return {announced.messages_sent, announced.bytes_sent, announced.rounds, announced.collectives,
            announced.collective_bytes};
  }
  const RelayCount& sent = relay_->Count(rank);
  return {sent.messages, sent.bytes, announced.rounds, sent.collectives, sent.collective_bytes};
}

void Supervision::ReadOutputs(CaseOutcome* outcome) {
  for (int rank = 0; rank < request_.ranks; ++rank) {
    const RankFiles& files = files_[static_cast<size_t>(rank)];
    const RankEnd& ended = ended_[static_cast<size_t>(rank)];
    RankOutcome mine;
    mine.printed = launch::PrintedTo(files.printed, kRankPrintedLimit);
    if (ended.ended && ended.clean) {
      try {
        mine.outputs = ReadFrames(files, ended.header, request_.output_limit_bytes);
      } catch (const FrameError& error) {
        mine.status = Status::kCrashed;
        mine.message =
            fmt::format("what it handed back is damaged ({}): the student's code wrote over it", Visible(error.what()));
        if (outcome->status == Status::kPassed) {
          outcome->status = Status::kCrashed;
          outcome->message = fmt::format("rank {}: {}", rank, mine.message);
        }
      }
    } else if (ended.ended && first_failure_ns_ != 0 &&
               ended.time_ns <= first_failure_ns_ + int64_t(kGraceSeconds * 1e9) &&
               !(WIFSIGNALED(ended.wait_status) && WTERMSIG(ended.wait_status) == SIGKILL)) {
      const auto state = static_cast<RankStage>(ended.header.state);
      mine.status = state == RankStage::kNotImplemented                                 ? Status::kNotImplemented
                    : state == RankStage::kThrew || state == RankStage::kThrewCommError ? Status::kFailed
                                                                                        : Status::kCrashed;
      mine.message = FailureText(rank);
    } else {
      // Ended by us: the case's own status where the rank is part of the cause, else it is only a consequence.
      const bool part = outcome->status == Status::kDeadlock || outcome->status == Status::kTimeout;
      mine.status = part ? outcome->status : Status::kSkipped;
      mine.message = "was ended; " + StateText(rank);
    }
    outcome->ranks.push_back(std::move(mine));
  }
}

bool Supervision::Run(CaseOutcome* outcome) {
  const int64_t begin_ns = launch::MonotonicNs();
  Begin();
  std::optional<Conclusion> conclusion;
  std::optional<Deadline> end_deadline;
  for (;;) {
    if (!conclusion) conclusion = LostHost();
    if (conclusion && !end_deadline && AnyRunning()) {
      if (conclusion->status == Status::kTimeout) AskForStacks();
      EndCase();
      end_deadline = Deadline(kEndSeconds);
    }
    if (!AnyRunning() || (end_deadline && end_deadline->Passed())) break;
    WaitForNews((end_deadline ? *end_deadline : deadline_).Milliseconds(kDrainMs));
    if (relay_) relay_->Pump();
    // All ends that are known are taken in before any conclusion is drawn.
    for (size_t i = 0; i < hosts_.size(); ++i) Hear(i);
    Drain();
    if (!conclusion) conclusion = Decide();
  }
  if (conclusion->status == Status::kTimeout && states_.empty()) NoteStates();
  const std::string stacks = NameStacks(*conclusion);
  outcome->status = conclusion->status;
  outcome->message = conclusion->message + stacks + conclusion->after;
  if (libtorch_divides_by_zero_) outcome->message = kLibTorchDividesByZero + outcome->message;
  outcome->waits = waits_;
  outcome->stacks = stacks_;
  ReadOutputs(outcome);
  for (int rank = 0; rank < request_.ranks; ++rank) outcome->costs.push_back(CostOf(rank));
  for (const TimelineEvent& event : matcher_.Events()) outcome->events.push_back({event.record, event.rank});
  outcome->seconds = static_cast<double>(launch::MonotonicNs() - begin_ns) / 1e9;
  return std::all_of(hosts_.begin(), hosts_.end(), [](const Host& host) { return host.alive && host.done; });
}

}  // namespace shardlab::grade
