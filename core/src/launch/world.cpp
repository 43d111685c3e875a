#include "shardlab/launch/world.hpp"

#include <unistd.h>

#include <array>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "shardlab/base/errors.hpp"
#include "shardlab/comm/failure_news.hpp"
#include "shardlab/comm/gloo.hpp"

namespace shardlab {
namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

int NumberIn(const char* name) {
  const std::string text = Environment(name);
  int number = -1;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || stop != text.data() + text.size() || number < 0) {
    throw UsageError(fmt::format("the environment variable {} is '{}'; a launcher puts a number there", name, text));
  }
  return number;
}

// Who starts ranks, and where it says which rank a process is. `also` must be there too: SLURM_PROCID is set in a batch
// script, which is no rank.
struct Launcher {
  const char* name;
  const char* rank;
  const char* ranks;
  const char* also;
};
constexpr std::array<Launcher, 4> kLaunchers = {
    {{"torchrun", "RANK", "WORLD_SIZE", "WORLD_SIZE"},
     {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_SIZE"},
     {"mpirun", "PMI_RANK", "PMI_SIZE", "PMI_SIZE"},
     {"srun", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_ID"}}};

// What distinguishes this job from every other on the machine; empty where the launcher does not say.
std::string JobName(const std::string& launcher) {
  std::string job = Environment("PMIX_NAMESPACE");
  if (job.empty()) job = Environment("OMPI_MCA_ess_base_jobid");
  if (job.empty() && launcher == "srun") job = Environment("SLURM_JOB_ID") + "." + Environment("SLURM_STEP_ID");
  for (char& letter : job) {
    if (letter == '/') letter = '_';
  }
  return job;
}

}  // namespace

std::optional<LaunchedRank> FindLauncher() {
  for (const Launcher& launcher : kLaunchers) {
    if (Environment(launcher.rank).empty() || Environment(launcher.also).empty()) continue;
    const LaunchedRank launched{NumberIn(launcher.rank), NumberIn(launcher.ranks), launcher.name};
    if (launched.rank >= launched.ranks) {
      throw UsageError(fmt::format("the environment says that this is rank {} of {} ({}, {})", launched.rank,
                                   launched.ranks, launcher.rank, launcher.ranks));
    }
    return launched;
  }
  return std::nullopt;
}

namespace {

// \param news filled in, and used by the communicator, unless null.
std::shared_ptr<Communicator> Join(const LaunchedRank& launched, double limit_s, std::shared_ptr<FailureNews>* news) {
  GlooOptions options;
  options.limit = std::chrono::milliseconds(static_cast<int64_t>(limit_s * 1000));
  const std::string host = Environment("MASTER_ADDR");
  const std::string meeting_file = Environment("SHARDLAB_MEETING_FILE");
  c10::intrusive_ptr<c10d::Store> store;
  if (!meeting_file.empty()) {  // from SpawnRanks
    store = c10::make_intrusive<c10d::FileStore>(meeting_file, launched.ranks);
  } else if (!host.empty() && !Environment("MASTER_PORT").empty()) {
    c10d::TCPStoreOptions tcp;
    tcp.port = static_cast<std::uint16_t>(NumberIn("MASTER_PORT"));
    // torchrun's own process keeps a store there already.
    tcp.isServer = launched.rank == 0 && Environment("TORCHELASTIC_USE_AGENT_STORE") != "True";
    tcp.numWorkers = launched.ranks;
    tcp.waitWorkers = false;
    tcp.timeout = options.limit;
    if (host != "localhost" && host.compare(0, 4, "127.") != 0) {
      std::array<char, 256> name{};
      gethostname(name.data(), name.size() - 1);
      options.address = name.data();
    }
    try {
      // A restarted run must not find the addresses of the one before.
      store = c10::make_intrusive<c10d::PrefixStore>("shardlab/" + Environment("TORCHELASTIC_RESTART_COUNT"),
                                                     c10::make_intrusive<c10d::TCPStore>(host, tcp));
    } catch (const std::exception& error) {
      throw EnvironmentError(fmt::format("the ranks cannot meet at MASTER_ADDR={}, MASTER_PORT={}: {}", host,
                                         Environment("MASTER_PORT"), Brief(error)));
    }
  } else {
    const std::string job = JobName(launched.launcher);
    if (job.empty()) {
      throw EnvironmentError(
          "the ranks do not know where to meet: set MASTER_ADDR to the first rank's machine and MASTER_PORT to a free "
          "port");
    }
    const auto file = std::filesystem::temp_directory_path() / fmt::format("shardlab-{}-{}", getuid(), job);
    store = c10::make_intrusive<c10d::FileStore>(file.string(), launched.ranks);
  }
  if (news != nullptr) options.news = *news = std::make_shared<FailureNews>(store, launched.rank);
  return MakeGlooCommunicator(store, launched.rank, launched.ranks, options);
}

}  // namespace

std::shared_ptr<Communicator> JoinWorld(const LaunchedRank& launched, double limit_s) {
  return Join(launched, limit_s, nullptr);
}

void RunInWorld(const LaunchedRank& launched, double limit_s,
                const std::function<void(const std::shared_ptr<Communicator>&)>& body) {
  std::shared_ptr<FailureNews> news;
  const std::shared_ptr<Communicator> world = Join(launched, limit_s, &news);
  try {
    body(world);
  } catch (const std::exception& error) {
    news->Tell(Brief(error));  // before the connections close
    throw;
  }
}

}  // namespace shardlab
