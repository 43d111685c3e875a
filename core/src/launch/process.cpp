#include "shardlab/launch/process.hpp"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <tuple>

#include <fmt/format.h>

#include "program_start.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/base/visible.hpp"
#include "shardlab/launch/filter.hpp"
#include "shardlab/launch/scope.hpp"

extern char** environ;

namespace shardlab::launch {

namespace {

[[noreturn]] void Refuse(const std::string& what) {
  throw EnvironmentError(fmt::format("{}: {}", what, strerror(errno)));
}

std::vector<pid_t> Numbers(const std::string& file) {
  std::ifstream in(file);
  std::vector<pid_t> numbers;
  for (pid_t number; in >> number;) numbers.push_back(number);
  return numbers;
}

/// The numeric entries of a folder under /proc.
std::vector<pid_t> Entries(const std::string& folder) {
  std::vector<pid_t> entries;
  if (DIR* dir = opendir(folder.c_str())) {
    while (const dirent* entry = readdir(dir)) {
      const int number = std::atoi(entry->d_name);
      if (number > 0) entries.push_back(number);
    }
    closedir(dir);
  }
  return entries;
}

pid_t ParentOf(pid_t pid) {
  std::ifstream in(fmt::format("/proc/{}/stat", pid));
  std::string text;
  std::getline(in, text);
  const auto name_end = text.rfind(')');  // the name may contain anything
  pid_t parent = 0;
  if (name_end != std::string::npos) sscanf(text.c_str() + name_end + 1, " %*c %d", &parent);
  return parent;
}

}  // namespace

void Fd::Reset(int fd) {
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

int64_t MonotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

Deadline::Deadline(double seconds) : end_ns_(MonotonicNs() + static_cast<int64_t>(std::min(seconds, 1e9) * 1e9)) {}

double Deadline::seconds() const { return std::max<int64_t>(end_ns_ - MonotonicNs(), 0) / 1e9; }

int Deadline::Milliseconds(int longest) const {
  return static_cast<int>(std::min(std::ceil(seconds() * 1e3), static_cast<double>(longest)));
}

Fd MakeSharedMemory(const char* name, int64_t bytes) {
  Fd memory(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory) Refuse("cannot make shared memory");
  if (ftruncate(memory.get(), bytes) != 0) Refuse(fmt::format("cannot make {} bytes of shared memory", bytes));
  if (fcntl(memory.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
    Refuse("cannot fix the size of shared memory");
  }
  return memory;
}

Fd MakeSealedMemory(const char* name, const std::string& content) {
  Fd memory(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory) Refuse("cannot make shared memory");
  for (size_t done = 0; done < content.size();) {
    const ssize_t n = write(memory.get(), content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) Refuse(fmt::format("cannot fill {} bytes of shared memory", content.size()));
    done += static_cast<size_t>(n);
  }
  if (fcntl(memory.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_SEAL) != 0) {
    Refuse("cannot seal shared memory");
  }
  return memory;
}

std::pair<Fd, Fd> MakePipe(bool non_blocking_read, int capacity) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) Refuse("cannot make a pipe");
  std::pair<Fd, Fd> pipe{Fd(ends[0]), Fd(ends[1])};
  if (non_blocking_read) fcntl(ends[0], F_SETFL, O_NONBLOCK);
  // Beyond the user's quota of pipe memory the kernel says no; the pipe then works with its default size, only slower.
  if (capacity > 0) fcntl(ends[1], F_SETPIPE_SZ, capacity);
  return pipe;
}

std::pair<Fd, Fd> MakeSockets(int type) {
  int ends[2];
  if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0) Refuse("cannot make a socket");
  return {Fd(ends[0]), Fd(ends[1])};
}

std::string PrintedTo(const Fd& memory, int64_t limit) {
  std::string text(static_cast<size_t>(limit) + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t n = pread(memory.get(), text.data() + size, text.size() - size, static_cast<off_t>(size));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    size += static_cast<size_t>(n);
  }
  text.resize(size);
  // What nobody wrote to reads as zeros.
  const auto last = text.find_last_not_of('\0');
  text.resize(last == std::string::npos ? 0 : last + 1);
  const bool more = static_cast<int64_t>(text.size()) > limit;
  if (more) text.resize(static_cast<size_t>(limit));
  text = Visible(text);
  if (more) text += fmt::format("\n... (only the first {} KiB are kept)\n", limit >> 10);
  return text;
}

std::string SignalName(int signal) {
  const char* meaning = nullptr;
  switch (signal) {
    case SIGSEGV:
      meaning = "invalid memory access";
      break;
    case SIGBUS:
      meaning = "invalid memory access, beyond the end of a mapped file";
      break;
    case SIGFPE:
      meaning = "invalid arithmetic, such as an integer division by zero";
      break;
    case SIGABRT:
      meaning = "abort(), also by an uncaught exception or a failed assertion";
      break;
    case SIGILL:
      meaning = "illegal instruction; often a function without a return statement";
      break;
    case SIGKILL:
      meaning = "killed from outside, perhaps for want of memory";
      break;
    case SIGPIPE:
      meaning = "write to a closed pipe";
      break;
    case SIGTERM:
      meaning = "asked to end";
      break;
    case SIGXCPU:
      meaning = "too much processor time";
      break;
    case SIGXFSZ:
      meaning = "a file larger than allowed";
      break;
    default:
      break;
  }
  const char* abbreviation = sigabbrev_np(signal);
  const std::string name = abbreviation ? fmt::format("SIG{}", abbreviation) : fmt::format("signal {}", signal);
  return meaning ? fmt::format("{} ({})", name, meaning) : name;
}

std::string DescribeWaitStatus(int wait_status) {
  if (WIFSIGNALED(wait_status)) return "was killed by " + SignalName(WTERMSIG(wait_status));
  return fmt::format("ended with exit status {}", WEXITSTATUS(wait_status));
}

int ThreadCount() { return ThreadCount(getpid()); }
int ThreadCount(pid_t pid) { return static_cast<int>(Entries(fmt::format("/proc/{}/task", pid)).size()); }

std::map<std::string, std::string> OneThreadEnvironment() {
  return {{"OPENBLAS_NUM_THREADS", "1"}, {"OMP_NUM_THREADS", "1"}, {"MKL_NUM_THREADS", "1"}};
}

std::string FindProgram(const std::string& name) {
  if (name.find('/') != std::string::npos) return access(name.c_str(), X_OK) == 0 ? name : "";
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string candidate = folder + "/" + name;
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return "";
}

ProgramStart::ProgramStart(const ProgramSpec& spec) : spec_(spec), words_{spec.program} {
  words_.insert(words_.end(), spec.arguments.begin(), spec.arguments.end());
  for (std::string& word : words_) argv_.push_back(word.data());
  argv_.push_back(nullptr);
  for (char** setting = environ; spec.inherit_environment && *setting != nullptr; ++setting) {
    const std::string text = *setting;
    if (spec.environment.count(text.substr(0, text.find('='))) == 0) settings_.push_back(text);
  }
  for (const auto& [name, value] : spec.environment) settings_.push_back(name + "=" + value);
  for (std::string& setting : settings_) envp_.push_back(setting.data());
  envp_.push_back(nullptr);
  std::tie(failure_read_, failure_write_) = MakePipe();
}

void ProgramStart::Become(pid_t parent) const {
  prctl(PR_SET_PDEATHSIG, spec_.end_signal);
  if (getppid() != parent) _exit(127);
  setpgid(0, 0);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  // Clear of 0 .. 3, which the next lines write to.
  const int failure = fcntl(failure_write_.get(), F_DUPFD_CLOEXEC, 10);
  const int channel = spec_.channel >= 0 ? fcntl(spec_.channel, F_DUPFD_CLOEXEC, 10) : -1;
  const int output = spec_.output >= 0 ? fcntl(spec_.output, F_DUPFD_CLOEXEC, 10) : -1;
  const int filter = spec_.filter_channel >= 0 ? fcntl(spec_.filter_channel, F_DUPFD_CLOEXEC, 10) : -1;
  const int input = open("/dev/null", O_RDONLY);
  if (input > 0) dup2(input, 0);
  if (output >= 0) {
    dup2(output, 1);
    dup2(output, 2);
  }
  if (channel >= 0) dup2(channel, 3);
  if (filter >= 0) dup2(filter, 4);
  if (!spec_.folder.empty() && chdir(spec_.folder.c_str()) != 0) _exit(127);
  if (spec_.scoped) EnterOwnScope();
  // Whatever else is open here is none of its business: a folder that a shell left open leads out of any sandbox.
  if (channel < 0) close_range(3, 3, CLOSE_RANGE_CLOEXEC);
  close_range(filter >= 0 ? 5 : 4, ~0U, CLOSE_RANGE_CLOEXEC);
  if (spec_.filter.empty() || EnterFilter(spec_.filter)) execve(spec_.program.c_str(), argv_.data(), envp_.data());
  const int why = errno;
  [[maybe_unused]] const ssize_t n = write(failure, &why, sizeof why);
  _exit(127);
}

void ProgramStart::Fail(int error) const {
  [[maybe_unused]] const ssize_t n = write(failure_write_.get(), &error, sizeof error);
}

void ProgramStart::Await() {
  failure_write_.Reset();
  int why = 0;
  if (read(failure_read_.get(), &why, sizeof why) != static_cast<ssize_t>(sizeof why)) return;
  errno = why;
  Refuse();
}

void ProgramStart::Refuse() const { launch::Refuse(fmt::format("cannot start {}", spec_.program)); }

pid_t StartProgram(const ProgramSpec& spec) {
  ProgramStart start(spec);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) start.Refuse();
  if (pid == 0) start.Become(parent);
  try {
    start.Await();
  } catch (...) {
    waitpid(pid, nullptr, 0);
    throw;
  }
  return pid;
}

bool Reap(pid_t pid, double limit_s, int* wait_status) {
  // A child that is about to end does so within microseconds; the pauses grow only for one that does not.
  const Deadline deadline(limit_s);
  for (long pause_ns = 50'000;; pause_ns = std::min(pause_ns * 2, 10'000'000L)) {
    int status = 0;
    const pid_t got = waitpid(pid, &status, WNOHANG);
    if (got == pid) {
      if (wait_status != nullptr) *wait_status = status;
      return true;
    }
    if (got < 0 && errno == ECHILD) return true;
    if (deadline.Passed()) return false;
    const timespec pause{0, pause_ns};
    nanosleep(&pause, nullptr);
  }
}

std::vector<pid_t> ChildrenOf(pid_t pid) {
  static const bool kernel_lists_children = access("/proc/thread-self/children", R_OK) == 0;
  std::vector<pid_t> children;
  if (!kernel_lists_children) {
    for (const pid_t other : Entries("/proc")) {
      if (ParentOf(other) == pid) children.push_back(other);
    }
    return children;
  }
  const std::string tasks = fmt::format("/proc/{}/task", pid);
  for (const pid_t task : Entries(tasks)) {
    const auto more = Numbers(fmt::format("{}/{}/children", tasks, task));
    children.insert(children.end(), more.begin(), more.end());
  }
  return children;
}

std::vector<pid_t> DescendantsOf(pid_t pid) {
  std::vector<pid_t> all = ChildrenOf(pid);
  for (size_t next = 0; next < all.size(); ++next) {
    for (const pid_t child : ChildrenOf(all[next])) {
      if (std::find(all.begin(), all.end(), child) == all.end()) all.push_back(child);
    }
  }
  return all;
}

void KillTree(pid_t pid) {
  const auto descendants = DescendantsOf(pid);
  kill(pid, SIGKILL);
  kill(-pid, SIGKILL);
  for (const pid_t descendant : descendants) kill(descendant, SIGKILL);
  Reap(pid, 2.0);
}

}  // namespace shardlab::launch
