#include "shardlab/launch/process_tree.hpp"

#include <errno.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "program_start.hpp"

namespace shardlab::launch {

namespace {

constexpr double kKillSeconds = 20;  // what cannot end, on a broken disk, must not hold us up for ever

void Tell(int fd, int word) {
  while (write(fd, &word, sizeof word) < 0 && errno == EINTR) {
  }
}

/// The keeper's life. After a fork of a process with threads only system calls are safe.
[[noreturn]] void Keep(const ProgramStart& start, pid_t parent, int news) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  setpgid(0, 0);
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  const pid_t self = getpid();
  const pid_t program = fork();
  if (program == 0) start.Become(self);
  if (program < 0) {
    start.Fail(errno);
    _exit(127);
  }
  // It holds nothing of its parent's: a socket that is open here would never seem closed to the other side.
  if (dup2(news, 0) < 0) _exit(127);
  close_range(1, ~0U, 0);
  Tell(0, program);
  for (;;) {
    int status = 0;
    const pid_t ended = waitpid(-1, &status, 0);
    if (ended == program) Tell(0, status);
    if (ended < 0 && errno == ECHILD) pause();  // nobody is left who could leave it an orphan
  }
}

/// Kills what `find` finds, until it finds none: what forks while it is being killed is found in the next round, for its orphans become the
/// keeper's children.
template <typename Find>
void KillAll(const Find& find) {
  const Deadline deadline(kKillSeconds);
  for (long pause_ns = 50'000; !deadline.Passed(); pause_ns = std::min(pause_ns * 2, 10'000'000L)) {
    const auto found = find();
    if (found.empty()) return;
    for (const pid_t process : found) kill(process, SIGKILL);
    const timespec pause{0, pause_ns};
    nanosleep(&pause, nullptr);
  }
}

}  // namespace

ProcessTree::ProcessTree(const ProgramSpec& spec) {
  ProgramStart start(spec);
  auto [news_read, news_write] = MakePipe();
  const pid_t parent = getpid();
  keeper_ = fork();
  if (keeper_ < 0) start.Refuse();
  if (keeper_ == 0) Keep(start, parent, news_write.get());
  news_write.Reset();
  news_ = std::move(news_read);
  try {
    start.Await();
  } catch (...) {
    KillTree(keeper_);
    throw;
  }
  int word = -1;
  if (read(news_.get(), &word, sizeof word) == static_cast<ssize_t>(sizeof word)) program_ = word;
}

ProcessTree::~ProcessTree() {
  KillAll([this] { return DescendantsOf(keeper_); });
  KillTree(keeper_);
}

std::vector<pid_t> ProcessTree::Others() const {
  std::vector<pid_t> others = DescendantsOf(keeper_);
  others.erase(std::remove(others.begin(), others.end(), program_), others.end());
  return others;
}

void ProcessTree::KillOrphans() {
  KillAll([this] {
    std::set<pid_t> found;
    for (const pid_t child : ChildrenOf(keeper_)) {
      if (child == program_) continue;
      found.insert(child);
      for (const pid_t descendant : DescendantsOf(child)) found.insert(descendant);
    }
    return found;
  });
}

bool ProcessTree::AwaitEnd(double limit_s, int* wait_status) {
  const Deadline deadline(limit_s);
  while (!ended_) {
    pollfd entry{news_.get(), POLLIN, 0};
    const int n = poll(&entry, 1, deadline.Milliseconds());
    if (n > 0) {
      // The end of a keeper is that of the program, too.
      ended_ = true;
      if (read(news_.get(), &wait_status_, sizeof wait_status_) != static_cast<ssize_t>(sizeof wait_status_)) {
        wait_status_ = SIGKILL;
      }
    } else if (deadline.Passed()) {
      return false;
    }
  }
  *wait_status = wait_status_;
  return true;
}

}  // namespace shardlab::launch
