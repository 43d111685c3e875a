#include "shardlab/launch/run_ranks.hpp"

#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <utility>

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "shardlab/base/errors.hpp"
#include "shardlab/comm/failure_news.hpp"
#include "shardlab/comm/gloo.hpp"
#include "shardlab/comm/memory_store.hpp"
#include "shardlab/launch/loopback.hpp"
#include "shardlab/launch/process.hpp"

// A rank's life, seen from the parent:
//
//     fork --- body --- [a letter: returned] --- released when all have returned --- _exit
//               |               |                                                       |
//               |   the rank's own pipe, read until it closes                        waitpid
//               |               |                                                       |
//            throws --- [a letter for the kind of error, when, its message] ---------- _exit
//
// A rank that has returned stays until the others have too: its end closes connections that they may still need.

namespace shardlab {
namespace {

using launch::Deadline;
using launch::Fd;

constexpr double kReapSeconds = 1;  // until a process whose pipe has closed has ended

enum Letter : char { kReturned = 'r', kThrew = 't', kComm = 'c', kStub = 's', kUsage = 'u', kEnvironment = 'e' };

// What a child tells of the exception that ended its body. `ns` is when: the others lose their connections to a rank
// that fails, and may be heard first.
struct Told {
  char letter = 0;  // 0: nothing was thrown
  int64_t ns = 0;
  std::string message;  // of the exception, where there is one
};

Told Catch(const std::function<void()>& body) {
  const auto tell = [](Letter letter, const std::string& message) {
    return Told{letter, launch::MonotonicNs(), message};
  };
  try {
    body();
    return {};
  } catch (const NotImplemented& error) {
    return tell(kStub, Brief(error));
  } catch (const UsageError& error) {
    return tell(kUsage, Brief(error));
  } catch (const ContractError& error) {
    return tell(kUsage, Brief(error));
  } catch (const EnvironmentError& error) {
    return tell(kEnvironment, Brief(error));
  } catch (const CommError& error) {
    return tell(kComm, Brief(error));
  } catch (const std::exception& error) {
    return tell(kThrew, Brief(error));
  } catch (...) {
    return tell(kThrew, "something that is not a std::exception");
  }
}

/// A page that parent and ranks share: whether the ranks may go.
class Gate {
 public:
  Gate() {
    void* page =
        mmap(nullptr, sizeof(std::atomic<uint32_t>), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) throw EnvironmentError(fmt::format("cannot share memory: {}", std::strerror(errno)));
    open_ = new (page) std::atomic<uint32_t>(0);
  }
  ~Gate() { munmap(open_, sizeof *open_); }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  void Open() {
    *open_ = 1;
    syscall(SYS_futex, open_, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  }
  /// A rank's wait; it ends with its parent at the latest.
  void Await() {
    while (*open_ == 0) syscall(SYS_futex, open_, FUTEX_WAIT, 0, nullptr, nullptr, 0);
  }

 private:
  std::atomic<uint32_t>* open_;
};

void WriteAll(const Fd& pipe, const char* bytes, size_t size) {
  while (size > 0) {
    const ssize_t written = write(pipe.get(), bytes, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    bytes += written;
    size -= static_cast<size_t>(written);
  }
}

[[noreturn]] void BeRank(int rank, int ranks, pid_t parent, const StoreMemory& store, const Fd& pipe, Gate& gate,
                         const RunRanksOptions& options,
                         const std::function<void(const std::shared_ptr<Communicator>&)>& body) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);  // it ended before the line above
  // It outlives the body, so that the connections are there until this rank has told.
  std::shared_ptr<Communicator> world;
  const auto news = std::make_shared<FailureNews>(store.Store(), rank);
  Told told = Catch([&] {
    at::set_num_threads(options.threads);
    GlooOptions gloo;
    gloo.limit = std::chrono::milliseconds(static_cast<int64_t>(options.operation_limit_s * 1000));
    gloo.news = news;
    world = MakeGlooCommunicator(store.Store(), rank, ranks, gloo);
    body(world);
  });
  if (told.letter != 0) news->Tell(told.message);
  if (told.letter == kThrew && news->consequence()) told.letter = kComm;
  std::fflush(nullptr);
  if (told.letter == 0) {
    const char returned = kReturned;
    WriteAll(pipe, &returned, sizeof returned);
    gate.Await();
  } else {
    WriteAll(pipe, &told.letter, sizeof told.letter);
    WriteAll(pipe, reinterpret_cast<const char*>(&told.ns), sizeof told.ns);
    WriteAll(pipe, told.message.data(), told.message.size());
  }
  _exit(told.letter == 0 ? 0 : 1);  // no destructors: the parent's atexit handlers are not this process's
}

struct Rank {
  pid_t pid = -1;
  Fd pipe;
  std::string told;

  bool Alive() const { return pid > 0 && pipe; }
  bool Returned() const { return told.size() == 1 && told[0] == kReturned; }
};

struct Failure {
  RankFailure what;
  bool echo = false;  // an error of communication, perhaps only because another rank has gone
  int64_t ns = 0;
};

Failure Describe(int rank, const Rank& one, int wait_status) {
  Failure failure;
  failure.what.rank = rank;
  failure.ns = launch::MonotonicNs();
  constexpr size_t kHead = sizeof(char) + sizeof failure.ns;
  if (one.told.size() < kHead) {
    failure.what.message =
        launch::DescribeWaitStatus(wait_status) + (one.Returned() ? " after its body had returned" : "");
    return failure;
  }
  std::memcpy(&failure.ns, one.told.data() + 1, sizeof failure.ns);
  failure.what.message = one.told.substr(kHead);
  failure.echo = one.told[0] == kComm;
  if (one.told[0] == kComm || one.told[0] == kThrew) failure.what.message.insert(0, "threw ");
  failure.what.not_implemented = one.told[0] == kStub;
  failure.what.usage = one.told[0] == kUsage;
  failure.what.environment = one.told[0] == kEnvironment;
  return failure;
}

}  // namespace

std::vector<RankFailure> RunRanks(int ranks, const std::function<void(const std::shared_ptr<Communicator>&)>& body,
                                  const RunRanksOptions& options) {
  if (ranks < 1) throw ContractError(fmt::format("RunRanks: {} ranks; there is at least 1", ranks));
  if (const int threads = launch::ThreadCount(); threads != 1) {
    throw ContractError(
        fmt::format("RunRanks: this process has {} threads, of which a fork copies one; start the ranks before any "
                    "tensor operation, "
                    "with OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1",
                    threads));
  }
  if (const std::string why = ranks > 1 ? launch::WhyNoLoopback() : ""; !why.empty()) throw EnvironmentError(why);
  const StoreMemory store;
  Gate gate;
  std::fflush(nullptr);  // else every child prints what is buffered here

  std::vector<Rank> all(static_cast<size_t>(ranks));
  const pid_t parent = getpid();
  std::string fork_error;
  for (int rank = 0; rank < ranks && fork_error.empty(); ++rank) {
    auto [read_end, write_end] = launch::MakePipe();
    const pid_t pid = fork();
    if (pid == 0) BeRank(rank, ranks, parent, store, write_end, gate, options, body);
    if (pid < 0) fork_error = std::strerror(errno);
    all[static_cast<size_t>(rank)].pid = pid;
    all[static_cast<size_t>(rank)].pipe = std::move(read_end);
  }

  std::vector<Failure> found;
  const Deadline limit(options.limit_s > 0 ? options.limit_s : 1e9);
  Deadline grace(1e9);
  bool ending = false;
  const auto end_all = [&] {
    for (const Rank& one : all) {
      if (one.Alive()) kill(one.pid, SIGKILL);
    }
    ending = true;
  };
  if (!fork_error.empty()) end_all();

  for (;;) {
    std::vector<pollfd> waiting;
    std::vector<int> who;
    for (int rank = 0; rank < ranks; ++rank) {
      const Rank& one = all[static_cast<size_t>(rank)];
      if (!one.Alive()) continue;
      waiting.push_back({one.pipe.get(), POLLIN, 0});
      who.push_back(rank);
    }
    if (waiting.empty()) break;
    if (std::all_of(who.begin(), who.end(), [&](int rank) { return all[static_cast<size_t>(rank)].Returned(); })) {
      gate.Open();
    }
    const int wait_ms = ending ? 1000 : std::min(limit.Milliseconds(), grace.Milliseconds());
    poll(waiting.data(), waiting.size(), wait_ms);

    for (size_t i = 0; i < waiting.size(); ++i) {
      if (waiting[i].revents == 0) continue;
      Rank& one = all[static_cast<size_t>(who[i])];
      char text[4096];
      const ssize_t got = read(one.pipe.get(), text, sizeof text);
      if (got > 0) one.told.append(text, static_cast<size_t>(got));
      if (got > 0 || (got < 0 && errno == EINTR)) continue;
      one.pipe.Reset();
      int wait_status = 0;
      launch::Reap(one.pid, kReapSeconds, &wait_status);
      if (one.Returned() && (wait_status == 0 || ending)) continue;
      Failure failure = Describe(who[i], one, wait_status);
      if (ending && one.told.empty()) {
        failure.what.message = "was ended because another rank had failed";
        failure.echo = true;
      } else if (one.told.empty()) {
        FailureNews::Tell(*store.Store(), who[i], failure.what.message);  // it could not do so itself
      }
      if (found.empty()) grace = Deadline(options.grace_s);
      found.push_back(std::move(failure));
    }
    if (ending) continue;
    if (limit.Passed()) {
      for (int rank : who) {
        if (!all[static_cast<size_t>(rank)].pipe || all[static_cast<size_t>(rank)].Returned()) continue;
        Failure failure;
        failure.what.rank = rank;
        failure.what.message = fmt::format("did not return within {:g} s", options.limit_s);
        failure.ns = launch::MonotonicNs();
        found.push_back(std::move(failure));
      }
      for (Rank& one : all) {
        if (!one.Alive()) continue;
        kill(one.pid, SIGKILL);
        launch::Reap(one.pid, kReapSeconds);
        one.pipe.Reset();
      }
    } else if (grace.Passed()) {
      end_all();
    }
  }
  if (!fork_error.empty()) throw EnvironmentError(fmt::format("cannot start {} ranks: {}", ranks, fork_error));

  // The time of a throw is that of the throw, of a crash that of its discovery: a connection that a crash has cut may
  // be complained of earlier.
  std::stable_sort(found.begin(), found.end(), [](const Failure& a, const Failure& b) {
    return std::make_pair(a.echo, a.ns) < std::make_pair(b.echo, b.ns);
  });
  std::vector<RankFailure> failures;
  for (Failure& failure : found) {
    failure.what.consequence = !failures.empty();
    failures.push_back(std::move(failure.what));
  }
  return failures;
}

}  // namespace shardlab
