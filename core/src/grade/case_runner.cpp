#include "shardlab/grade/case_runner.hpp"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <random>
#include <tuple>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "failure.hpp"
#include "host_process.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/comm/matcher.hpp"
#include "shardlab/comm/record.hpp"

namespace shardlab::grade {

using launch::Deadline;
using nlohmann::json;

namespace {

constexpr int kDrainMs = 20;
/// Once a rank has failed, how long the others may take to show a cause that goes deeper.
constexpr double kGraceSeconds = 0.1;
/// For the host to confirm that the ranks are dead.
constexpr double kEndSeconds = 1.0;
/// For ranks that have not come to an end to write down where they are.
constexpr double kStackSeconds = 0.2;
/// Rounds of the loop after which processes and threads are counted in any case.
constexpr int kCountEvery = 25;
/// Ranks whose stacks are named.
constexpr size_t kMostStacks = 16;
constexpr int kPipeBytes = 1 << 20;
constexpr int64_t kPrintedLimit = 64 << 10;
constexpr size_t kMaxEvents = 200'000;

uint64_t DrawNonce() {
  std::random_device random;
  return (uint64_t{random()} << 32) | random();
}

/// Processes and threads of everybody.
int TasksOfMachine() {
  struct sysinfo about {};
  return sysinfo(&about) == 0 ? about.procs : 0;
}

/// One case under way.
class Supervision {
 public:
  Supervision(const CaseRequest& request, HostProcess& host, const std::atomic<bool>* cancel)
      : request_(request),
        host_(host),
        cancel_(cancel),
        matcher_(request.ranks, kMaxEvents),
        ended_(static_cast<size_t>(request.ranks)),
        last_posts_(static_cast<size_t>(request.ranks)) {}

  /// False when the host has to be replaced.
  bool Run(CaseOutcome* outcome);

 private:
  struct Conclusion {
    Status status = Status::kPassed;
    std::string message;
    std::vector<int> culprits = {};  // whose stacks show the place
    std::string after = "";          // what follows the stacks
  };

  void MakeFiles();
  void Drain();
  void RankEnded(int rank, int wait_status);
  std::optional<Conclusion> Decide();
  std::optional<Conclusion> RootFailure();
  std::string FailureText(int rank) const;
  void ReadOutputs(CaseOutcome* outcome);
  std::string StateText(int rank) const;
  std::string ConsequencesText(const std::vector<int>& causes) const;
  void NoteStates();
  StackArea StackOf(int rank) const;
  void AskForStacks();
  std::string NameStacks(const Conclusion& conclusion);
  std::string TooManyText();
  bool AllEnded() const {
    return std::all_of(ended_.begin(), ended_.end(), [](const RankEnd& rank) { return rank.ended; });
  }

  const CaseRequest& request_;
  HostProcess& host_;
  const std::atomic<bool>* cancel_;
  const uint64_t nonce_ = DrawNonce();
  std::vector<RankFiles> files_;
  std::vector<AnnouncementReader> readers_;
  Matcher matcher_;
  std::vector<RankEnd> ended_;
  std::vector<Record> last_posts_;
  std::optional<Conclusion> bad_announcement_;
  std::vector<Waiting> waits_;
  std::vector<std::string> states_;  // what each rank was doing at the time limit
  std::vector<RankStack> stacks_;
  int tasks_before_ = 0;  // on the whole machine
  int rounds_uncounted_ = 0;
  int processes_before_ = 0;
  int64_t first_failure_ns_ = 0;
  int64_t deadlock_since_ns_ = 0;
  Deadline deadline_{0};
};

void Supervision::MakeFiles() {
  const std::string params = request_.params.dump(-1, ' ', false, json::error_handler_t::replace);
  for (int rank = 0; rank < request_.ranks; ++rank) {
    RankFiles files;
    std::tie(files.announcements_read, files.announcements_write) = launch::MakePipe(true, kPipeBytes);
    const uint64_t length = params.size();
    std::string input(sizeof length, '\0');
    std::memcpy(input.data(), &length, sizeof length);
    input += params;
    input.resize((input.size() + 7) / 8 * 8);
    if (!request_.inputs.empty()) input += EncodeFrames(request_.inputs[static_cast<size_t>(rank)]);
    files.input = launch::MakeSealedMemory("shardlab-input", input);
    files.output = launch::MakeSharedMemory("shardlab-output",
                                            static_cast<int64_t>(kOutputHeaderBytes) + request_.output_limit_bytes);
    // A page more than is kept shows that there was more; less than a page of sealed memory takes nothing at all.
    files.printed = launch::MakeSharedMemory("shardlab-printed", kPrintedLimit + 4096);
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
  OutputHeader& header = ended.header;
  if (pread(files_[static_cast<size_t>(rank)].output.get(), &header, sizeof header, 0) != sizeof header ||
      header.nonce != nonce_ || header.state > static_cast<uint32_t>(RankStage::kTerminated)) {
    header = OutputHeader();
  }
  ended.begun = header.nonce == nonce_;
  ended.stack = StackOf(rank);
  header.message_length = std::min<uint32_t>(header.message_length, sizeof header.message);
  const bool exited_0 = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
  ended.clean = exited_0 && header.state == static_cast<uint32_t>(RankStage::kReturned);
  // An exception's time is that of the throw, if the rank's word can be so; a crash has only that of its discovery.
  if (header.ended_ns > 0) ended.time_ns = std::min(ended.time_ns, header.ended_ns);
  if (!ended.clean && first_failure_ns_ == 0) first_failure_ns_ = launch::MonotonicNs();
  // What it wrote before its end is in the pipe, and counts.
  Drain();
  if (!ended.clean) matcher_.Died(rank, FailureText(rank));
}

std::string Supervision::FailureText(int rank) const {
  bool crash = false;
  const std::string text = EndText(ended_[static_cast<size_t>(rank)], request_.limits, &crash);
  return crash ? text + "; " + StateText(rank) : text;
}

StackArea Supervision::StackOf(int rank) const {
  StackArea stack;
  const int memory = files_[static_cast<size_t>(rank)].output.get();
  if (pread(memory, &stack, sizeof stack, kStackAreaOffset) != sizeof stack || stack.count > StackArea::kMost)
    return {};
  return stack;
}

std::optional<Supervision::Conclusion> Supervision::RootFailure() {
  // Not implemented, then what a rank did on its own, then errors of communication, which may only be echoes.
  const auto order = [&](int rank) {
    const RankEnd& ended = ended_[static_cast<size_t>(rank)];
    const auto state = static_cast<RankStage>(ended.header.state);
    const int depth = state == RankStage::kNotImplemented ? 0 : state == RankStage::kThrewCommError ? 2 : 1;
    return std::make_pair(depth, ended.time_ns);
  };
  int root = -1;
  for (int rank = 0; rank < request_.ranks; ++rank) {
    const RankEnd& ended = ended_[static_cast<size_t>(rank)];
    if (ended.ended && !ended.clean && (root < 0 || order(rank) < order(root))) root = rank;
  }
  if (root < 0) return std::nullopt;
  const std::string text = FailureText(root);
  std::vector<int> same;
  for (int rank = 0; rank < request_.ranks; ++rank) {
    const RankEnd& ended = ended_[static_cast<size_t>(rank)];
    if (ended.ended && !ended.clean && FailureText(rank) == text) same.push_back(rank);
  }
  const RankStage stage = ended_[static_cast<size_t>(root)].stage();
  if (stage == RankStage::kNotImplemented) return Conclusion{Status::kNotImplemented, text};
  Conclusion conclusion{Status::kFailed, RanksText(same, request_.ranks) + " " + text, same};
  conclusion.after = ConsequencesText(same);
  if (stage == RankStage::kThrew || stage == RankStage::kThrewCommError) return conclusion;
  conclusion.status = Status::kCrashed;
  const std::string last = LastLines(launch::PrintedTo(files_[static_cast<size_t>(root)].printed, kPrintedLimit), 4);
  if (!last.empty()) conclusion.after += "\nthe last that it printed:\n" + last;
  return conclusion;
}

std::string Supervision::ConsequencesText(const std::vector<int>& causes) const {
  std::vector<std::string> lines;
  for (int rank = 0; rank < request_.ranks; ++rank) {
    const RankEnd& ended = ended_[static_cast<size_t>(rank)];
    if (!ended.ended || ended.clean || std::count(causes.begin(), causes.end(), rank) > 0) continue;
    const char* relation = ended.stage() == RankStage::kThrewCommError ? "in consequence" : "then";
    lines.push_back(fmt::format("\n  {} rank {} {}", relation, rank, FirstLine(FailureText(rank), 160)));
  }
  constexpr size_t kMost = 3;
  std::string text = fmt::format("{}", fmt::join(lines.begin(), lines.begin() + std::min(lines.size(), kMost), ""));
  if (lines.size() > kMost) text += fmt::format("\n  and {} more ranks", lines.size() - kMost);
  return text;
}

std::string Supervision::StateText(int rank) const {
  const RankState state = matcher_.State(rank);
  if (state.kind == RankState::Kind::kReturned) return "has returned";
  if (state.kind == RankState::Kind::kBlocked && !state.operations.empty()) {
    return "waits in " + Describe(state.operations[0], state.groups.empty() ? "" : state.groups[0]);
  }
  const Record& last = last_posts_[static_cast<size_t>(rank)];
  if (last.kind != RecordKind::kPost) return "has not called the communicator yet";
  return "its last operation: " + Describe(last, "");
}

void Supervision::NoteStates() {
  for (int rank = 0; rank < request_.ranks; ++rank) {
    const RankEnd& ended = ended_[static_cast<size_t>(rank)];
    states_.push_back(ended.ended && ended.clean ? "has returned" : StateText(rank));
  }
}

void Supervision::AskForStacks() {
  if (!host_.AskForStacks()) return;
  const auto written = [&] {
    for (int rank = 0; rank < request_.ranks; ++rank) {
      if (!ended_[static_cast<size_t>(rank)].ended && StackOf(rank).signal != kStackSignal) return false;
    }
    return true;
  };
  for (const Deadline deadline(kStackSeconds); !written() && !deadline.Passed();) {
    Drain();  // a rank whose pipe is full does not get to it
    usleep(2000);
  }
}

std::string Supervision::NameStacks(const Conclusion& conclusion) {
  std::vector<int> ranks;
  std::vector<std::vector<uint64_t>> addresses;
  const bool late = conclusion.status == Status::kTimeout;
  for (int rank = 0; rank < request_.ranks && ranks.size() < kMostStacks; ++rank) {
    const StackArea stack = StackOf(rank);
    const bool culprit = std::count(conclusion.culprits.begin(), conclusion.culprits.end(), rank) > 0;
    if (stack.count == 0 || !(late ? stack.signal == kStackSignal : culprit)) continue;
    ranks.push_back(rank);
    addresses.emplace_back(stack.addresses, stack.addresses + stack.count);
  }
  if (!ranks.empty()) {
    const auto named = host_.NameStacks(addresses);
    for (size_t i = 0; i < ranks.size(); ++i) {
      if (named[i].empty()) continue;
      const std::string why = late ? "still running" : WhyText(ended_[static_cast<size_t>(ranks[i])]);
      stacks_.push_back({ranks[i], why, named[i]});
    }
  }
  if (!late) return stacks_.empty() ? "" : FramesText(stacks_[0].frames, "    ");
  std::string text;
  for (int rank = 0; rank < request_.ranks; ++rank) {
    text += fmt::format("\n  rank {}: {}", rank, states_[static_cast<size_t>(rank)]);
    for (const RankStack& stack : stacks_) {
      if (stack.rank == rank) text += FramesText(stack.frames, "      ");
    }
  }
  return text;
}

std::string Supervision::TooManyText() {
  const Limits& limits = request_.limits;
  // One call tells how many tasks the machine has. Ours are counted when there are more than before; and now and then,
  // for others may have ended meanwhile.
  const bool more = TasksOfMachine() > tasks_before_ + std::min(limits.processes, limits.threads) + request_.ranks;
  if (!more && ++rounds_uncounted_ < kCountEvery) return "";
  rounds_uncounted_ = 0;
  const std::vector<pid_t> all = launch::DescendantsOf(host_.pid());
  const int processes = static_cast<int>(launch::DescendantsOf(getpid()).size()) - processes_before_ - request_.ranks;
  if (processes > limits.processes) {
    return fmt::format(
        "the ranks have started {} processes, and {} are the most: something forks again and again (a rank starts "
        "none; "
        "work that goes on beside it is a thread)",
        processes, limits.processes);
  }
  int threads = 0;
  for (const pid_t process : all) threads += launch::ThreadCount(process);
  if (threads <= limits.threads * request_.ranks) return "";
  return fmt::format("{} ranks have {} threads, and {} for each are the most: something starts threads again and again",
                     request_.ranks, threads, limits.threads);
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
  const std::string too_many = TooManyText();
  if (!too_many.empty()) return Conclusion{Status::kCrashed, too_many};
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
    mine.printed = launch::PrintedTo(files.printed, kPrintedLimit);
    if (ended.ended && ended.clean) {
      try {
        if (ended.header.used > static_cast<uint64_t>(request_.output_limit_bytes)) {
          throw FrameError(fmt::format("{} bytes were announced", ended.header.used));
        }
        // A copy is taken first: nobody can change it between the checks and the use.
        std::string bytes(ended.header.used, '\0');
        for (size_t done = 0; done < bytes.size();) {
          const ssize_t n = pread(files.output.get(), bytes.data() + done, bytes.size() - done,
                                  static_cast<off_t>(kOutputHeaderBytes + done));
          if (n <= 0) throw FrameError("it could not be read");
          done += static_cast<size_t>(n);
        }
        mine.outputs = DecodeFrames(bytes.data(), bytes.size());
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
  tasks_before_ = TasksOfMachine();
  processes_before_ = static_cast<int>(launch::DescendantsOf(getpid()).size());
  const json packet = {{"type", "case"},
                       {"body", request_.body},
                       {"ranks", request_.ranks},
                       {"threads", request_.threads},
                       {"nonce", nonce_},
                       {"limit_s", request_.limit_s},
                       {"point_to_point_only", request_.point_to_point_only},
                       {"observed", request_.observed},
                       {"faults", request_.faults},
                       {"limits", request_.limits}};
  bool host_alive = host_.StartCase(packet, files_);
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
