#include "world.hpp"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "shardlab/base/errors.hpp"
#include "shardlab/comm/gloo.hpp"

namespace shardlab::train {
namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

int Number(const char* name) {
  const std::string text = Environment(name);
  char* end = nullptr;
  const long value = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || value < 0 || value > 1000000) {
    throw UsageError(fmt::format("the environment variable {} is '{}'; a launcher puts a number there", name, text));
  }
  return static_cast<int>(value);
}

// The exit status of a rank says which kind of error its message is.
enum ExitStatus { kDone = 0, kFailed = 1, kUsage = 2, kEnvironment = 3 };

GlooOptions Options(double limit_s) {
  GlooOptions options;
  options.limit = std::chrono::milliseconds(static_cast<int64_t>(limit_s * 1000));
  return options;
}

// A folder that is gone with its owner.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    path_ = (std::filesystem::temp_directory_path() / "shardlab-train-XXXXXX").string();
    if (mkdtemp(path_.data()) == nullptr) {
      throw EnvironmentError(fmt::format("no folder can be made in {}: set TMPDIR to a folder that can be written",
                                         std::filesystem::temp_directory_path().string()));
    }
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

int RunRank(int rank, int ranks, const std::string& folder, double limit_s, const RankBody& body, int message_pipe) {
  std::string message;
  int status = kDone;
  try {
    // The parent used no OpenMP, and this rank must not wait for threads that the fork did not copy.
    at::set_num_threads(1);
    const auto store = c10::make_intrusive<c10d::FileStore>(folder + "/store", ranks);
    body(MakeGlooCommunicator(store, rank, ranks, Options(limit_s)));
  } catch (const UsageError& error) {
    message = error.what();
    status = kUsage;
  } catch (const EnvironmentError& error) {
    message = error.what();
    status = kEnvironment;
  } catch (const NotImplemented& error) {
    message = error.what();
    status = kFailed;
  } catch (const std::exception& error) {
    message = fmt::format("rank {}: {}", rank, Brief(error));
    status = kFailed;
  }
  if (!message.empty()) {
    message.resize(std::min<size_t>(message.size(), 4000));
    if (write(message_pipe, message.data(), message.size()) < 0) status = kFailed;
  }
  return status;
}

}  // namespace

std::optional<LaunchedRank> FindLauncher() {
  LaunchedRank launched;
  if (!Environment("RANK").empty() && !Environment("WORLD_SIZE").empty()) {
    launched = {Number("RANK"), Number("WORLD_SIZE"), "torchrun"};
  } else if (!Environment("OMPI_COMM_WORLD_RANK").empty()) {
    launched = {Number("OMPI_COMM_WORLD_RANK"), Number("OMPI_COMM_WORLD_SIZE"), "mpirun"};
  } else if (!Environment("PMI_RANK").empty()) {
    launched = {Number("PMI_RANK"), Number("PMI_SIZE"), "mpirun"};
  } else if (!Environment("SLURM_PROCID").empty() && !Environment("SLURM_STEP_ID").empty()) {
    launched = {Number("SLURM_PROCID"), Number("SLURM_NTASKS"), "srun"};
  } else {
    return std::nullopt;
  }
  if (launched.rank >= launched.ranks) {
    throw UsageError(fmt::format("the environment says that this is rank {} of {}", launched.rank, launched.ranks));
  }
  return launched;
}

void RunAsLaunched(const LaunchedRank& launched, double limit_s, const RankBody& body) {
  at::set_num_threads(1);
  GlooOptions options = Options(limit_s);
  c10::intrusive_ptr<c10d::Store> store;
  if (!Environment("MASTER_ADDR").empty() && !Environment("MASTER_PORT").empty()) {
    c10d::TCPStoreOptions tcp;
    tcp.port = static_cast<uint16_t>(Number("MASTER_PORT"));
    // torchrun's own process keeps a store there already.
    tcp.isServer = launched.rank == 0 && Environment("TORCHELASTIC_USE_AGENT_STORE") != "True";
    tcp.numWorkers = launched.ranks;
    tcp.waitWorkers = false;
    tcp.timeout = options.limit;
    const std::string host = Environment("MASTER_ADDR");
    if (host != "localhost" && host != "127.0.0.1") {
      char name[256] = "";
      gethostname(name, sizeof(name) - 1);
      options.address = name;
    }
    try {
      store = c10::make_intrusive<c10d::PrefixStore>("shardlab/" + Environment("TORCHELASTIC_RESTART_COUNT"),
                                                     c10::make_intrusive<c10d::TCPStore>(host, tcp));
    } catch (const std::exception& error) {
      throw EnvironmentError(fmt::format("the ranks cannot meet at MASTER_ADDR={}, MASTER_PORT={}: {}", host,
                                         Environment("MASTER_PORT"), Brief(error)));
    }
  } else {
    std::string job = Environment("PMIX_NAMESPACE");
    if (job.empty()) job = Environment("OMPI_MCA_ess_base_jobid");
    if (job.empty() && launched.launcher == "srun")
      job = Environment("SLURM_JOB_ID") + "." + Environment("SLURM_STEP_ID");
    if (job.empty()) {
      throw EnvironmentError(
          "the ranks do not know where to meet: set MASTER_ADDR to the first rank's machine and MASTER_PORT to a free "
          "port");
    }
    for (char& letter : job) {
      if (letter == '/') letter = '_';
    }
    const auto file = std::filesystem::temp_directory_path() / fmt::format("shardlab-train-{}-{}", getuid(), job);
    store = c10::make_intrusive<c10d::FileStore>(file.string(), launched.ranks);
  }
  body(MakeGlooCommunicator(store, launched.rank, launched.ranks, options));
}

void StartRanks(int ranks, double limit_s, const RankBody& body) {
  const TemporaryFolder folder;
  struct Child {
    pid_t pid;
    int messages;
  };
  std::vector<Child> children;
  const auto end_all = [&] {
    for (Child& child : children) {
      if (child.pid > 0) kill(child.pid, SIGKILL);
    }
    for (Child& child : children) {
      if (child.pid > 0) waitpid(child.pid, nullptr, 0);
      child.pid = 0;
      close(child.messages);
    }
  };

  const pid_t parent = getpid();
  std::fflush(nullptr);
  for (int rank = 0; rank < ranks; ++rank) {
    int ends[2];
    if (pipe(ends) != 0) {
      end_all();
      throw EnvironmentError("no pipe can be made: too many open files");
    }
    const pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(kFailed);
      const int status = RunRank(rank, ranks, folder.path(), limit_s, body, ends[1]);
      std::fflush(nullptr);
      // Not exit: what LibTorch and Gloo would tear down belongs to the parent, or waits for other ranks.
      _exit(status);
    }
    close(ends[1]);
    if (pid < 0) {
      close(ends[0]);
      end_all();
      throw EnvironmentError(
          fmt::format("rank {} of {} cannot be started: the limit of processes is reached", rank, ranks));
    }
    children.push_back({pid, ends[0]});
  }

  for (size_t running = children.size(); running > 0; --running) {
    int wait_status = 0;
    pid_t ended = 0;
    do {
      ended = waitpid(-1, &wait_status, 0);
    } while (ended < 0 && errno == EINTR);
    for (size_t rank = 0; rank < children.size(); ++rank) {
      if (children[rank].pid != ended) continue;
      children[rank].pid = 0;
      if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == kDone) continue;

      // The first to end is the cause; the others only wait for it.
      char text[4096];
      const ssize_t length = read(children[rank].messages, text, sizeof(text));
      std::string message(text, length > 0 ? static_cast<size_t>(length) : 0);
      if (message.empty()) {
        message = WIFSIGNALED(wait_status) ? fmt::format("rank {} was killed by signal {} ({})", rank,
                                                         WTERMSIG(wait_status), strsignal(WTERMSIG(wait_status)))
                                           : fmt::format("rank {} ended with status {} in the middle of its work", rank,
                                                         WEXITSTATUS(wait_status));
      }
      end_all();
      if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == kUsage) throw UsageError(message);
      if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == kEnvironment) throw EnvironmentError(message);
      throw std::runtime_error(message);
    }
  }
  end_all();
}

}  // namespace shardlab::train
