#include "supervision.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <tuple>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"

namespace shardlab::grade {

using launch::Deadline;
using nlohmann::json;

namespace {

constexpr int kDrainMs = 20;
/// Once a rank has failed, how long the others may take to show a cause that goes deeper.
constexpr double kGraceSeconds = 0.1;
/// For the host to confirm that the ranks are dead.
constexpr double kEndSeconds = 1.0;

}  // namespace

uint64_t Supervision::DrawNonce() {
  std::random_device random;
  return (uint64_t{random()} << 32) | random();
}

void Supervision::MakeFiles() {
  for (int rank = 0; rank < request_.ranks; ++rank) {
    RankFiles files = MakeRankFiles(request_, rank);
    readers_.emplace_back(files.announcements_read.get());
    files_.push_back(std::move(files));
  }
}

void Supervision::Drain() {
  for (int rank = 0; rank < request_.ranks; ++rank) {
    if (bad_announcement_) return;
    try {
      readers_[static_cast<size_t>(rank)].Drain([&](const Announcement& announcement) {
        if (announcement.record.kind == RecordKind::kPost) last_posts_[static_cast<size_t>(rank)] = announcement.record;
        matcher_.Feed(rank, announcement);
      });
    } catch (const CommError& error) {
      bad_announcement_ = Conclusion{Status::kCrashed, fmt::format("rank {}: {}", rank, error.what())};
    }
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
  // What it wrote before its end is in the pipe, and counts.
  Drain();
  if (!ended.clean) matcher_.Died(rank, FailureText(rank));
}

std::optional<Supervision::Conclusion> Supervision::Decide() {
  const bool all_ended = AllEnded();
  const Verdict verdict = all_ended ? matcher_.Finish() : matcher_.Check();
  if (verdict.kind == VerdictKind::kMismatch || verdict.kind == VerdictKind::kMisuse) {
    return Conclusion{Status::kFailed, verdict.Text()};
  }
  if (first_failure_ns_ != 0) {
    const bool waited = static_cast<double>(launch::MonotonicNs() - first_failure_ns_) > kGraceSeconds * 1e9;
    if (waited || all_ended) return RootFailure();
    return std::nullopt;
  }
  if (bad_announcement_) return bad_announcement_;
  if (all_ended) return verdict ? Conclusion{Status::kFailed, verdict.Text()} : Conclusion{};
  if (verdict.kind == VerdictKind::kDeadlock) {
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
  const std::string too_many = crowd_.TooManyText(host_.pid());
  if (!too_many.empty()) {
    Crowd::Freeze(host_.pid());
    return Conclusion{Status::kCrashed, too_many};
  }
  if (deadline_.Passed()) {
    NoteStates();
    return Conclusion{Status::kTimeout, fmt::format("not done after {:g} s", request_.limit_s)};
  }
  if (cancel_ != nullptr && cancel_->load()) return Conclusion{Status::kSkipped, "not run: cancelled"};
  return std::nullopt;
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
            fmt::format("what it handed back is damaged ({}): the student's code wrote over it", error.what());
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
  MakeFiles();
  const int64_t begin_ns = launch::MonotonicNs();
  deadline_ = Deadline(request_.limit_s);
  bool host_alive = host_.StartCase(CasePacket(request_, nonce_), files_);
  bool host_done = false;
  std::optional<Conclusion> conclusion;
  std::optional<Deadline> end_deadline;

  while (host_alive && !host_done) {
    pollfd entry{host_.socket(), POLLIN, 0};
    const int wait_ms = end_deadline ? end_deadline->Milliseconds(kDrainMs) : deadline_.Milliseconds(kDrainMs);
    poll(&entry, 1, wait_ms);

    // All ends that are known are taken in before any conclusion is drawn.
    for (;;) {
      json said;
      const PacketState state = host_.Receive(&said);
      if (state == PacketState::kNothing) break;
      if (state == PacketState::kClosed) {
        host_alive = false;
        break;
      }
      // What was said, or forged, of an earlier case means nothing any more.
      if (said.value("nonce", uint64_t{0}) != nonce_) continue;
      const std::string type = said.value("type", "");
      if (type == "exit") {
        const int rank = said.value("rank", -1);
        if (rank >= 0 && rank < request_.ranks && !ended_[static_cast<size_t>(rank)].ended) {
          RankEnded(rank, said.value("status", 0));
        }
      } else if (type == "done") {
        host_done = true;
      } else if (type == "refuse" && !conclusion) {
        conclusion = Conclusion{Status::kCrashed, said.value("why", "the host refused to run the case")};
        host_done = true;
      }
    }
    Drain();
    if (!conclusion) {
      conclusion = Decide();
      if (conclusion && host_alive && !host_done) {
        if (conclusion->status == Status::kTimeout) AskForStacks();
        host_alive = host_.EndCase();
        end_deadline = Deadline(kEndSeconds);
      }
    }
    if (end_deadline && end_deadline->Passed()) break;
  }
  if (!conclusion && host_done) {
    // The host says that all ranks have ended, but did not say of each that it has.
    conclusion = RootFailure();
    if (!conclusion) conclusion = Conclusion{Status::kCrashed, "the program that runs the ranks lost track of them"};
  }
  if (!conclusion) {
    const std::string printed = host_.Printed();
    conclusion =
        Conclusion{Status::kCrashed, fmt::format("the program that runs the ranks {}{}{}", host_.HowItEnded(),
                                                 printed.empty() ? "" : "; it printed:\n", LastLines(printed, 20))};
  }
  if (conclusion->status == Status::kTimeout && states_.empty()) NoteStates();
  const std::string stacks = host_alive && host_done ? NameStacks(*conclusion) : "";
  outcome->status = conclusion->status;
  outcome->message = conclusion->message + stacks + conclusion->after;
  outcome->waits = waits_;
  outcome->stacks = stacks_;
  ReadOutputs(outcome);
  for (int rank = 0; rank < request_.ranks; ++rank) {
    const RankStatistics figures = matcher_.Statistics(rank);
    outcome->costs.push_back(
        {figures.messages_sent, figures.bytes_sent, figures.rounds, figures.collectives, figures.collective_bytes});
  }
  for (const TimelineEvent& event : matcher_.Events()) outcome->events.push_back({event.record, event.rank});
  outcome->seconds = static_cast<double>(launch::MonotonicNs() - begin_ns) / 1e9;
  return host_alive && host_done;
}

}  // namespace shardlab::grade
