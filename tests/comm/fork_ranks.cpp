#include "fork_ranks.hpp"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>

#include <ATen/Parallel.h>
#include <torch/csrc/distributed/c10d/FileStore.hpp>

#include "shardlab/base/errors.hpp"
#include "shardlab/comm/announcing.hpp"
#include "shardlab/comm/gloo.hpp"

namespace shardlab::test {
namespace {

[[noreturn]] void RunRank(int rank, int ranks, const std::string& store_path, int announce_fd, int error_fd,
                          double limit_s, const std::function<void(Communicator&)>& body) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  alarm(static_cast<unsigned>(limit_s) + 1);
  at::set_num_threads(1);
  std::string error;
  try {
    const auto store = c10::make_intrusive<c10d::FileStore>(store_path, ranks);
    GlooOptions options;
    options.limit = std::chrono::milliseconds(static_cast<int64_t>(limit_s * 500));  // before ForkRanks gives up
    std::shared_ptr<Communicator> comm = MakeGlooCommunicator(store, rank, ranks, options);
    const auto announcer = std::make_shared<Announcer>(announce_fd);
    const auto gloo = comm;
    if (announce_fd >= 0) comm = MakeAnnouncing(comm, announcer);
    body(*comm);
    if (announce_fd >= 0) announcer->Return();
    gloo->Barrier();  // nobody closes its connections while another still uses them
  } catch (const std::exception& e) {
    error = Brief(e);
  }
  if (!error.empty() && write(error_fd, error.data(), error.size()) < 0) _exit(2);
  _exit(error.empty() ? 0 : 1);
}

}  // namespace

std::string ForkedRun::AllErrors() const {
  std::string text;
  for (size_t r = 0; r < errors.size(); ++r) {
    if (!errors[r].empty()) text += "rank " + std::to_string(r) + ": " + errors[r] + "\n";
  }
  return text + verdict.Text();
}

ForkedRun ForkRanks(int ranks, const std::function<void(Communicator&)>& body, bool announced, double limit_s) {
  char folder[] = "/tmp/shardlab-test-XXXXXX";
  if (mkdtemp(folder) == nullptr) throw std::runtime_error("mkdtemp failed");
  const std::string store_path = std::string(folder) + "/store";

  ForkedRun run;
  run.errors.resize(static_cast<size_t>(ranks));
  run.matcher = std::make_unique<Matcher>(ranks);
  std::vector<pid_t> pids;
  std::vector<int> announcements, errors;
  for (int rank = 0; rank < ranks; ++rank) {
    int pipe_a[2], pipe_e[2];
    if (pipe(pipe_a) != 0 || pipe(pipe_e) != 0) throw std::runtime_error("pipe failed");
    fcntl(pipe_a[1], F_SETPIPE_SZ, 1 << 20);
    const pid_t pid = fork();
    if (pid == 0) {
      for (const int fd : announcements) close(fd);
      for (const int fd : errors) close(fd);
      RunRank(rank, ranks, store_path, announced ? pipe_a[1] : -1, pipe_e[1], limit_s, body);
    }
    pids.push_back(pid);
    close(pipe_a[1]);
    close(pipe_e[1]);
    fcntl(pipe_a[0], F_SETFL, O_NONBLOCK);
    announcements.push_back(pipe_a[0]);
    errors.push_back(pipe_e[0]);
  }

  const auto start = std::chrono::steady_clock::now();
  std::vector<AnnouncementReader> readers(announcements.begin(), announcements.end());
  std::vector<bool> open(static_cast<size_t>(ranks), true), alive(static_cast<size_t>(ranks), true);
  int left = ranks;
  int64_t last_record_ns = 0;
  const auto drain = [&](size_t r) {
    if (!open[r]) return;
    open[r] = readers[r].Drain([&](const Announcement& announcement) {
      last_record_ns = std::max(last_record_ns, announcement.record.time_ns);
      run.matcher->Feed(static_cast<int>(r), announcement);
    });
  };
  bool ended_by_us = false;
  while (left > 0) {
    usleep(2000);
    for (size_t r = 0; r < pids.size(); ++r) {
      if (!alive[r]) continue;
      int status = 0;
      const bool gone = waitpid(pids[r], &status, WNOHANG) == pids[r];
      drain(r);
      if (!gone) continue;
      alive[r] = false;
      --left;
      char text[4096];
      const ssize_t got = read(errors[r], text, sizeof text);
      if (got > 0) run.errors[r].assign(text, static_cast<size_t>(got));
      if (WIFSIGNALED(status)) run.errors[r] = "signal " + std::to_string(WTERMSIG(status));
      if (status != 0 && run.errors[r].empty()) run.errors[r] = "exit status " + std::to_string(WEXITSTATUS(status));
      if (!run.errors[r].empty() && !ended_by_us) run.matcher->Died(static_cast<int>(r), run.errors[r]);
    }
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    const Verdict verdict = announced && !ended_by_us ? run.matcher->Check() : Verdict{};
    if (verdict || (elapsed.count() > limit_s && !ended_by_us)) {
      run.verdict = verdict;
      timespec now{};
      clock_gettime(CLOCK_MONOTONIC, &now);
      run.seconds_to_verdict = (double(now.tv_sec) * 1e9 + double(now.tv_nsec) - double(last_record_ns)) * 1e-9;
      for (size_t r = 0; r < pids.size(); ++r) {
        if (alive[r]) kill(pids[r], SIGKILL);
      }
      ended_by_us = true;
    }
  }
  if (announced && !ended_by_us) run.verdict = run.matcher->Finish();
  for (const std::string& error : run.errors) run.ok = run.ok && error.empty();
  for (const int fd : announcements) close(fd);
  for (const int fd : errors) close(fd);
  unlink(store_path.c_str());
  rmdir(folder);
  return run;
}

}  // namespace shardlab::test
