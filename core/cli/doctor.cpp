// lab doctor: what this machine has and lacks, and what to do about it.
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include <fmt/format.h>

#include "build.hpp"
#include "commands.hpp"
#include "run_program.hpp"
#include "shardlab/launch/confine.hpp"
#include "shardlab/launch/loopback.hpp"
#include "shardlab/launch/sandbox.hpp"

namespace shardlab::cli {
namespace {

namespace fs = std::filesystem;

enum class Health { kGood, kNote, kBad };

struct Finding {
  std::string what;
  Health health = Health::kGood;
  std::string found;
  std::string advice;  ///< where something is lacking
};

bool Exists(const std::string& path) {
  std::error_code error;
  return !path.empty() && fs::exists(path, error);
}

/// The first line that a command prints, "" if it cannot be run or fails.
std::string FirstLine(const std::vector<std::string>& command) {
  std::string first;
  RunOptions options;
  options.on_line = [&](const std::string& line) {
    if (first.empty()) first = line;
  };
  return RunProgram(command, options) == 0 ? first : "";
}

/// A value of the build's CMakeCache.txt, "" if it is not there.
std::string Cached(const Context& context, const std::string& key) {
  std::ifstream cache(context.InBuild("CMakeCache.txt"));
  for (std::string line; std::getline(cache, line);) {
    if (line.compare(0, key.size() + 1, key + ":") != 0) continue;
    const std::string value = line.substr(line.find('=') + 1);
    return value.find("-NOTFOUND") == std::string::npos ? value : "";
  }
  return "";
}

double GiB(double bytes) { return bytes / (1024.0 * 1024 * 1024); }

/// Bytes of memory that can be had: what is free, and no more than a container's limit.
double AvailableMemory() {
  double available = 0;
  std::ifstream info("/proc/meminfo");
  std::string key;
  double kib = 0;
  std::string rest;
  while (info >> key >> kib && std::getline(info, rest)) {
    if (key == "MemAvailable:") available = kib * 1024;
  }
  double limit = 0, used = 0;
  if (std::ifstream("/sys/fs/cgroup/memory.max") >> limit && std::ifstream("/sys/fs/cgroup/memory.current") >> used) {
    available = std::min(available, std::max(limit - used, 0.0));
  }
  return available;
}

Finding Compiler(const Context& context) {
  std::string compiler = Cached(context, "CMAKE_CXX_COMPILER");
  if (compiler.empty()) compiler = launch::FindProgram("g++");
  const std::string version = compiler.empty() ? "" : FirstLine({compiler, "--version"});
  if (version.empty()) return {"compiler", Health::kBad, "none", "apt-get install g++"};
  if (version.find("clang") != std::string::npos) {
    return {"compiler", Health::kNote, version, "use g++: clang brings a second OpenMP beside LibTorch's"};
  }
  return {"compiler", Health::kGood, version, ""};
}

Finding Tool(const std::string& what, const std::string& program, const std::string& package) {
  const std::string version = FirstLine({program, "--version"});
  if (version.empty()) return {what, Health::kBad, "none", "apt-get install " + package};
  return {what, Health::kGood, version.find(program) == std::string::npos ? program + " " + version : version, ""};
}

Finding Linker() {
  for (const char* linker : {"ld.lld", "ld.gold"}) {
    if (!launch::FindProgram(linker).empty()) return {"linker", Health::kGood, linker, ""};
  }
  return {"linker", Health::kNote, "ld.bfd", "apt-get install lld links an exercise in 0.2 s instead of 1.2 s"};
}

Finding LibTorch(const Context& context) {
  const std::string folder = Cached(context, "Torch_DIR");
  std::string version;
  std::ifstream config(folder + "/TorchConfigVersion.cmake");
  for (std::string line; std::getline(config, line);) {
    const std::string key = "set(PACKAGE_VERSION \"";
    const size_t at = line.find(key);
    if (at != std::string::npos)
      version = line.substr(at + key.size(), line.find('"', at + key.size()) - at - key.size());
  }
  const std::string package = FirstLine({"dpkg-query", "-W", "-f", "${Version}\n", "libtorch-dev"});
  if (folder.empty() && package.empty()) {
    return {"LibTorch", Health::kBad, "none",
            "apt-get install libtorch-dev, or ./lab with CMAKE_PREFIX_PATH=/path/to/libtorch"};
  }
  std::string found = version.empty() ? package : version;
  if (!package.empty()) found += fmt::format(" (Debian's libtorch-dev {})", package);
  if (!folder.empty()) found += " in " + folder;
  return {"LibTorch", Health::kGood, found, ""};
}

Finding Gloo(const Context& context) {
  std::string folder = Cached(context, "SHARDLAB_GLOO_HEADER");
  if (folder.empty() && Exists("/usr/include/gloo/algorithm.h")) folder = "/usr/include";
  if (!Exists(folder + "/gloo/algorithm.h")) {
    return {"Gloo headers", Health::kBad, "none",
            "apt-get install libgloo-dev, or name a folder with -DSHARDLAB_GLOO_INCLUDE"};
  }
  return {"Gloo headers", Health::kGood, folder + "/gloo", ""};
}

/// Debian chooses libblas.so.3 by alternatives; a LibTorch of one's own brings its BLAS.
Finding Blas(const Context& context) {
  const std::string torch = Cached(context, "Torch_DIR");
  if (!torch.empty() && torch.compare(0, 5, "/usr/") != 0)
    return {"BLAS", Health::kGood, "the one inside LibTorch", ""};
  std::string library;
  RunOptions options;
  options.on_line = [&](const std::string& line) {
    if (library.empty() && line.find("libblas.so.3 ") != std::string::npos) library = line.substr(line.find("=> ") + 3);
  };
  if (RunProgram({"/sbin/ldconfig", "-p"}, options) != 0 || library.empty()) {
    return {"BLAS", Health::kNote, "not found", "apt-get install libopenblas0-openmp"};
  }
  std::error_code error;
  const fs::path real = fs::canonical(library, error);
  const std::string found = error ? library : real.string();
  if (found.find("openblas-openmp") != std::string::npos || found.find("mkl") != std::string::npos ||
      found.find("blis-openmp") != std::string::npos) {
    return {"BLAS", Health::kGood, found, ""};
  }
  if (found.find("openblas") != std::string::npos || found.find("blis") != std::string::npos ||
      found.find("atlas") != std::string::npos) {
    return {"BLAS", Health::kNote, found,
            "apt-get install libopenblas0-openmp: this one starts threads when it is loaded"};
  }
  return {"BLAS", Health::kNote, found + ", the slow reference", "apt-get install libopenblas0-openmp"};
}

Finding Memory() {
  const double available = AvailableMemory();
  const std::string found = fmt::format("{:.1f} GiB available", GiB(available));
  if (GiB(available) >= 2) return {"memory", Health::kGood, found, ""};
  return {"memory", Health::kNote, found, "a file that uses LibTorch takes 1 GB to compile: LAB_JOBS=1 ./lab ..."};
}

Finding Cores() {
  const unsigned cores = std::thread::hardware_concurrency();
  return {"cores", Health::kGood, fmt::format("{}", cores), ""};
}

Finding Disk(const Context& context) {
  struct statvfs info {};
  if (statvfs(context.build.c_str(), &info) != 0) {
    return {"disk", Health::kBad, fmt::format("{} cannot be looked at", context.build),
            "name another folder with LAB_BUILD"};
  }
  const double free = static_cast<double>(info.f_bavail) * static_cast<double>(info.f_frsize);
  const std::string found = fmt::format("{:.1f} GiB free for {}", GiB(free), context.build);
  if (access(context.build.c_str(), W_OK) != 0) {
    return {"disk", Health::kBad, fmt::format("{} cannot be written", context.build),
            "name another folder with LAB_BUILD"};
  }
  if (GiB(free) >= 3) return {"disk", Health::kGood, found, ""};
  const Health health = GiB(free) < 0.5 ? Health::kBad : Health::kNote;
  return {"disk", health, found, "a build takes 2 GB: free some space, or name another folder with LAB_BUILD"};
}

Finding Sandbox() {
  const std::string why = launch::Sandbox::WhyNoNamespaces();
  if (why.empty() && !launch::CanConfine()) {
    return {"sandbox", Health::kNote, "bubblewrap, with namespaces; no Landlock",
            "only for grading strangers' code: the compiler reads what you may read on kernels before Linux 5.13"};
  }
  if (why.empty()) return {"sandbox", Health::kGood, "bubblewrap, with namespaces", ""};
  if (launch::FindProgram("bwrap").empty()) {
    return {"sandbox", Health::kNote, why, "only for grading strangers' code: apt-get install bubblewrap"};
  }
  return {"sandbox", Health::kNote, "no namespaces: " + why,
          getuid() == 0 ? "--sandbox uses another user with limits here; a machine or container that allows namespaces "
                          "would also close the network"
                        : "only for grading strangers' code: as root, sysctl kernel.unprivileged_userns_clone=1 and "
                          "kernel.apparmor_restrict_unprivileged_userns=0; or run lab grade --sandbox as root"};
}

/// oneDNN, with which LibTorch computes convolutions, divides by zero on some machines.
Finding Convolutions(const Context& context) {
  const std::string what = "convolutions", name = "try_convolution";
  const Finding not_yet{what, Health::kNote, "not tried yet", "./lab doctor tries some after the first ./lab grade"};
  // Building it from nothing would take minutes.
  if (!Exists(context.InBuild("lib/libshardlab_core.so"))) return not_yet;
  try {
    if (!BuildQuietly(context, {name}, {})) return not_yet;
  } catch (const EnvironmentError&) {
    return not_yet;
  }
  RunOptions options;
  options.on_line = [](const std::string&) {};
  options.environment = launch::OneThreadEnvironment();
  const int status = RunProgram({context.InBuild("bin/" + name)}, options);
  if (status == 0) return {what, Health::kGood, "LibTorch computes them", ""};
  options.environment["SHARDLAB_NO_ONEDNN"] = "1";
  const bool helps = RunProgram({context.InBuild("bin/" + name)}, options) == 0;
  const std::string found = status > 128 ? "LibTorch is killed by " + launch::SignalName(status - 128)
                                         : fmt::format("LibTorch fails with exit status {}", status);
  return {what, helps ? Health::kNote : Health::kBad, found,
          helps ? "tried: export SHARDLAB_NO_ONEDNN=1 helps; everything then computes them without oneDNN"
                : "also without oneDNN: another LibTorch, or another machine, is needed"};
}

Finding Loopback() {
  const std::string why = launch::WhyNoLoopback();
  if (why.empty()) return {"loopback", Health::kGood, "works", ""};
  return {"loopback", Health::kBad, "does not work", why};
}

Finding Cuda() {
  std::error_code error;
  int devices = 0;
  for (const auto& entry : fs::directory_iterator("/proc/driver/nvidia/gpus", error)) devices += entry.exists() ? 1 : 0;
  if (devices > 0) return {"CUDA devices", Health::kGood, fmt::format("{}", devices), ""};
  return {"CUDA devices", Health::kNote, "none", "none is needed: everything runs on the CPU"};
}

Finding Gnuplot() {
  const std::string version = FirstLine({"gnuplot", "--version"});
  if (!version.empty()) return {"gnuplot", Health::kGood, version, ""};
  return {"gnuplot", Health::kNote, "none", "only for plots of your own: apt-get install gnuplot-nox"};
}

Finding Cifar(const Context& context) {
  const std::string folder = context.InRoot("data");
  std::string found;
  for (const char* name : {"cifar-10-batches-bin", "cifar-100-binary"}) {
    if (Exists(folder + "/" + name)) found += (found.empty() ? "" : ", ") + std::string(name);
  }
  if (!found.empty()) return {"CIFAR", Health::kGood, fmt::format("{} in {}", found, folder), ""};
  return {"CIFAR", Health::kNote, "not here",
          "the synthetic data set takes its place; ./lab data cifar10 downloads the real one"};
}

}  // namespace

int Doctor(const Context& context) {
  const std::vector<Finding> findings = {Compiler(context),
                                         Tool("cmake", "cmake", "cmake"),
                                         Tool("ninja", "ninja", "ninja-build"),
                                         Linker(),
                                         LibTorch(context),
                                         Gloo(context),
                                         Blas(context),
                                         Memory(),
                                         Cores(),
                                         Disk(context),
                                         Convolutions(context),
                                         Loopback(),
                                         Sandbox(),
                                         Cuda(),
                                         Gnuplot(),
                                         Cifar(context)};
  const Terminal& out = context.out;
  int bad = 0;
  for (const Finding& finding : findings) {
    const bool is_good = finding.health == Health::kGood, is_bad = finding.health == Health::kBad;
    bad += is_bad ? 1 : 0;
    const Tone tone = is_good ? Tone::kGood : is_bad ? Tone::kBad : Tone::kWarning;
    const std::string mark = out.unicode ? (is_good ? "✔" : is_bad ? "✘" : "○") : (is_good ? "+" : is_bad ? "x" : "o");
    fmt::print("{} {}  {}\n", Paint(mark, tone, out), PadRight(finding.what, 14), finding.found);
    if (!finding.advice.empty())
      fmt::print("  {}  {}\n", std::string(14, ' '), Paint(finding.advice, Tone::kQuiet, out));
  }
  if (bad > 0) {
    fmt::print("\n{} thing{} must be mended before anything can be built.\n", bad, bad == 1 ? "" : "s");
    return kEnvironment;
  }
  fmt::print("\nThis machine has what is needed.\n");
  return kAllPassed;
}

}  // namespace shardlab::cli
