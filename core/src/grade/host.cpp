#include "shardlab/grade/host.hpp"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "rank.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/grade/wire.hpp"
#include "shardlab/launch/process.hpp"
#include "stack.hpp"

namespace shardlab::grade {

using launch::Deadline;
using launch::Fd;
using nlohmann::json;

namespace {

/// What one rank is given: its ends of what the supervisor made.
struct Given {
  Fd announcements;
  Fd input;
  Fd output;
  Fd printed;
  Fd relay;  ///< in a replay
};

class Host {
 public:
  explicit Host(int socket) : socket_(socket) {}
  int Run();

 private:
  void Say(const json& packet) {
    // Without a supervisor there is nothing left to do; the ranks die with this process.
    if (!SendPacket(socket_, packet)) _exit(1);
  }
  /// Waits for the next packet; without a supervisor the process ends.
  json Hear(std::vector<Fd>* fds, double limit_s);
  void RunCase(const json& packet);
  std::string WhyNot(const std::string& body) const;
  pid_t Fork(const RankSpec& spec, std::vector<Given>& given);
  void NameStacks(const json& packet);
  void ReapRanks(std::vector<pid_t>& pids);

  int socket_;
  uint64_t nonce_ = 0;  // of the case under way, in all that is said about it
  Fd child_signals_;
};

json Host::Hear(std::vector<Fd>* fds, double limit_s) {
  pollfd entry{socket_, POLLIN, 0};
  const Deadline deadline(limit_s);
  while (poll(&entry, 1, deadline.Milliseconds()) <= 0) {
    if (deadline.Passed()) _exit(1);
  }
  json packet;
  if (ReceivePacket(socket_, &packet, fds) != PacketState::kPacket) _exit(0);
  return packet;
}

std::string Host::WhyNot(const std::string& body) const {
  if (FindBody(body) == nullptr) {
    const std::vector<std::string> names = BodyNames();
    return fmt::format("this host has no body '{}'; it has {}", body,
                       names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", ")));
  }
  const int threads = launch::ThreadCount();
  if (threads != 1) {
    return fmt::format(
        "the host has {} threads where one is expected, so its ranks cannot be forked: something starts a thread "
        "before "
        "any body runs, perhaps a global variable's initialiser in the exercises",
        threads);
  }
  return "";
}

pid_t Host::Fork(const RankSpec& spec, std::vector<Given>& given) {
  const pid_t host = getpid();
  const pid_t pid = fork();
  if (pid != 0) return pid;

  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != host) _exit(1);
  setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  // A rank holds nothing of the host and of other ranks.
  close(socket_);
  child_signals_.Reset();
  Given mine = std::move(given[static_cast<size_t>(spec.rank)]);
  given.clear();
  dup2(mine.printed.get(), 1);
  dup2(mine.printed.get(), 2);
  mine.printed.Reset();
  RunRank(spec, mine.announcements.Release(), std::move(mine.input), std::move(mine.output), std::move(mine.relay));
}

void Host::ReapRanks(std::vector<pid_t>& pids) {
  for (size_t rank = 0; rank < pids.size(); ++rank) {
    int status = 0;
    if (pids[rank] > 0 && waitpid(pids[rank], &status, WNOHANG) == pids[rank]) {
      pids[rank] = 0;
      Say({{"type", "exit"}, {"nonce", nonce_}, {"rank", rank}, {"status", status}});
    }
  }
}

void Host::RunCase(const json& packet) {
  RankSpec spec;
  packet.at("request").get_to(spec.request);
  spec.nonce = nonce_ = packet.at("nonce").get<uint64_t>();
  const bool replay = spec.request.replay;
  const int ranks = spec.request.ranks;
  const int first = packet.at("first_rank").get<int>();
  const int end = replay ? first + 1 : ranks;
  std::vector<Given> given(static_cast<size_t>(ranks));
  for (int rank = first; rank < end; ++rank) {
    std::vector<Fd> fds;
    Hear(&fds, 5.0);
    if (fds.size() != (replay ? 5 : 4)) _exit(1);
    given[static_cast<size_t>(rank)] = {std::move(fds[0]), std::move(fds[1]), std::move(fds[2]), std::move(fds[3]),
                                        replay ? std::move(fds[4]) : Fd()};
  }
  const std::string why_not = WhyNot(spec.request.body);
  if (!why_not.empty()) {
    given.clear();
    Say({{"type", "refuse"}, {"nonce", nonce_}, {"why", why_not}});
    return;
  }
  try {
    spec.shared = FindBody(spec.request.body)->Share();
  } catch (const EnvironmentError& error) {
    given.clear();
    Say({{"type", "refuse"}, {"nonce", nonce_}, {"why", error.what()}});
    return;
  }
  // A page that only the ranks share: how far they all are.
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) {
    Say({{"type", "refuse"},
         {"nonce", nonce_},
         {"why", fmt::format("the host is out of resources: {}", strerror(errno))}});
    return;
  }
  spec.connected = static_cast<std::atomic<uint32_t>*>(page);
  spec.returned = spec.connected + 1;

  std::fflush(nullptr);
  std::cout.flush();
  std::vector<pid_t> pids(static_cast<size_t>(ranks), 0);
  const auto signal_all = [&](int signal) {
    for (const pid_t pid : pids) {
      if (pid > 0) kill(pid, signal);
    }
  };
  for (spec.rank = first; spec.rank < end; ++spec.rank) {
    const pid_t pid = Fork(spec, given);
    if (pid < 0) {
      const std::string why = fmt::format("the host cannot fork rank {}: {}", spec.rank, strerror(errno));
      signal_all(SIGKILL);
      for (const pid_t started : pids) {
        if (started > 0) waitpid(started, nullptr, 0);
      }
      munmap(page, 4096);
      Say({{"type", "refuse"}, {"nonce", nonce_}, {"why", why}});
      return;
    }
    pids[static_cast<size_t>(spec.rank)] = pid;
  }
  given.clear();

  const auto alive = [&] { return std::any_of(pids.begin(), pids.end(), [](pid_t pid) { return pid > 0; }); };
  while (alive()) {
    pollfd entries[2] = {{socket_, POLLIN, 0}, {child_signals_.get(), POLLIN, 0}};
    poll(entries, 2, 1000);
    signalfd_siginfo ignored;
    while (read(child_signals_.get(), &ignored, sizeof ignored) > 0) {
    }
    ReapRanks(pids);
    if (entries[0].revents != 0) {
      json said;
      const PacketState state = ReceivePacket(socket_, &said);
      if (state == PacketState::kClosed) _exit(0);
      if (state == PacketState::kPacket && said.value("type", "") == "end") signal_all(SIGKILL);
      if (state == PacketState::kPacket && said.value("type", "") == "stacks") signal_all(kStackSignal);
    }
  }
  munmap(page, 4096);
  Say({{"type", "done"}, {"nonce", nonce_}});
}

/// A child does it, in which everything stands where it stood in the ranks; it opens files and takes memory, and the
/// host must stay as it is.
void Host::NameStacks(const json& packet) {
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(3);
    json stacks = json::array(), libraries = json::array();
    try {
      for (const json& stack : packet.at("stacks")) {
        json frames = json::array();
        for (const StackFrame& frame : NameFrames(stack.get<std::vector<uint64_t>>())) {
          frames.push_back({{"function", frame.function}, {"where", frame.where}});
        }
        stacks.push_back(std::move(frames));
        libraries.push_back(LibraryOf(stack.get<std::vector<uint64_t>>()));
      }
      Say({{"type", "frames"}, {"stacks", std::move(stacks)}, {"libraries", std::move(libraries)}});
    } catch (...) {
      _exit(1);
    }
    _exit(0);
  }
  if (pid > 0) waitpid(pid, nullptr, 0);
  Say({{"type", "named"}});
}

int Host::Run() {
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  sigprocmask(SIG_BLOCK, &children, nullptr);
  child_signals_.Reset(signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK));
  Say({{"type", "ready"}});
  for (;;) {
    const json packet = Hear(nullptr, 1e9);
    // An "end" that crossed the last rank's own end means nothing any more.
    if (packet.value("type", "") == "case") RunCase(packet);
    if (packet.value("type", "") == "name") NameStacks(packet);
  }
}

}  // namespace

int HostMain(int argc, char** argv) {
  int socket = -1;
  for (int i = 1; i < argc; ++i) {
    if (std::sscanf(argv[i], "--supervisor-fd=%d", &socket) == 1) continue;
    socket = -1;
    break;
  }
  struct stat about;
  if (socket < 0 || fstat(socket, &about) != 0 || !S_ISSOCK(about.st_mode)) {
    std::cerr << "This program runs the exercises for `lab grade`, which starts it; it is of no use by itself.\n";
    return 2;
  }
  return Host(socket).Run();
}

}  // namespace shardlab::grade
