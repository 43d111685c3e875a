// The program behind `lab test fuzz`: gives every reader of bytes inputs that are nearly right, for minutes.
//
//     this process --- fork ---> a worker, without rights       corpus: what the program itself writes
//          |                        |                              |
//          |   the input that it is about to read,             mutate one ---> read it ---> a branch that is new:
//          |   in memory that both share                                                    it joins the corpus
//          |
//     the worker dies, is too slow, or reports: the input is written to a file
//
// A worker that reads what it should not is ended by AddressSanitizer or UndefinedBehaviorSanitizer, with which the readers
// are compiled. g++ has no libFuzzer, and shardlab needs no other compiler: branches are counted by coverage.cpp.
#include <grp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <new>
#include <random>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "coverage.hpp"
#include "mutate.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/base/suggest.hpp"
#include "shardlab/launch/process.hpp"
#include "shardlab/report/files.hpp"
#include "shardlab/report/progress.hpp"
#include "target.hpp"

// No leaks: what a worker has when it is ended is none. An input may ask for much memory; then it must be refused.
extern "C" const char* __asan_default_options() {
  return "detect_leaks=0:allocator_may_return_null=0:max_allocation_size_mb=2048:hard_rss_limit_mb=3072:abort_on_error="
         "1:"
         "alloc_dealloc_mismatch=0:detect_stack_use_after_return=0";
}
extern "C" const char* __ubsan_default_options() { return "print_stacktrace=1:halt_on_error=1:abort_on_error=1"; }

namespace shardlab::fuzz {

namespace {

namespace fs = std::filesystem;

constexpr double kSecondsAnInput = 10;       // of processor time, under sanitizers
constexpr double kSecondsWithoutWork = 300;  // of the clock: somebody waits for ever
constexpr size_t kLongestRefusal = 1000;     // characters
constexpr size_t kSmallCorpus = 4096;        // inputs

std::vector<Target>& AllTargets() {
  static std::vector<Target> all;
  return all;
}

struct Shared {
  std::atomic<uint64_t> tried{0};
  std::atomic<uint64_t> kept{0};
  std::atomic<uint64_t> branches{0};
  std::atomic<int64_t> began_ns{0};  // of the worker's processor time
  std::atomic<size_t> size{0};
  char input[Mutator::kLongest + 1];
  std::atomic<size_t> said_size{0};
  char said[4000];
};

int64_t ProcessorNs(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return int64_t{1'000'000'000} * time.tv_sec + time.tv_nsec;
}

/// Reads the input; what is wrong with how it was read, or nothing.
std::string Complaint(const Target& target, const std::string& input) {
  try {
    try {
      target.run(input);
    } catch (const UsageError& error) {
      CheckRefusal(error.what());
    } catch (const ContractError& error) {
      CheckRefusal(error.what());
    } catch (const EnvironmentError& error) {
      CheckRefusal(error.what());
    } catch (const CommError& error) {
      CheckRefusal(error.what());
    }
  } catch (const std::exception& error) {
    return fmt::format("threw {}: {}", typeid(error).name(), error.what());
  } catch (...) {
    return "threw something that is not a std::exception";
  }
  return "";
}

void Try(const Target& target, const std::string& input, Shared& shared) {
  std::memcpy(shared.input, input.data(), input.size());
  shared.size = input.size();
  shared.began_ns = ProcessorNs(CLOCK_PROCESS_CPUTIME_ID);
  ++shared.tried;
  ForgetBranches();
  const std::string complaint = Complaint(target, input);
  if (complaint.empty()) return;
  shared.said_size = std::min(complaint.size(), sizeof shared.said);
  std::memcpy(shared.said, complaint.data(), shared.said_size);
  _exit(1);
}

/// An input may name files to be written: none of importance, and nothing outlives the folder.
void GiveUpRights(const std::string& folder) {
  const rlimit no_cores{0, 0};
  setrlimit(RLIMIT_CORE, &no_cores);
  if (chdir(folder.c_str()) != 0) _exit(2);
  if (geteuid() != 0) return;
  constexpr uid_t kNobody = 65534;
  if (chown(folder.c_str(), kNobody, kNobody) != 0 || setgroups(0, nullptr) != 0 || setgid(kNobody) != 0 ||
      setuid(kNobody) != 0) {
    _exit(2);
  }
}

[[noreturn]] void Work(const Target& target, uint64_t seed, Shared& shared) {
  std::vector<std::string> corpus = target.seeds();
  if (corpus.empty()) corpus.emplace_back();
  for (const std::string& input : corpus) {
    Try(target, input, shared);
    FoundNewBranches();
  }
  Mutator mutator(seed, target.words);
  for (;;) {
    const std::string input = mutator.Mutate(corpus[mutator.Below(corpus.size())], corpus);
    Try(target, input, shared);
    if (!FoundNewBranches()) continue;
    if (corpus.size() < kSmallCorpus) {
      corpus.push_back(input);
    } else {
      corpus[mutator.Below(corpus.size())] = input;
    }
    shared.kept = corpus.size();
    shared.branches = KnownBranches();
  }
}

class Worker {
 public:
  explicit Worker(const std::function<void(Shared&)>& work) {
    void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw EnvironmentError(fmt::format("cannot share memory: {}", std::strerror(errno)));
    shared_ = new (memory) Shared;
    folder_ = fs::temp_directory_path() / fmt::format("shardlab-fuzz-{}", getpid());
    fs::create_directories(folder_);
    std::fflush(nullptr);
    pid_ = fork();
    if (pid_ < 0) throw EnvironmentError(fmt::format("cannot start a process: {}", std::strerror(errno)));
    if (pid_ > 0) return;
    GiveUpRights(folder_.string());
    work(*shared_);
    _exit(0);
  }
  ~Worker() {
    if (!ended_) {
      kill(pid_, SIGKILL);
      launch::Reap(pid_, 10);
    }
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
    munmap(shared_, sizeof *shared_);
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Waits up to `seconds`. \returns what is wrong, empty while nothing is.
  std::string Watch(double seconds) {
    int status = 0;
    if (launch::Reap(pid_, seconds, &status)) {
      ended_ = true;
      if (status == 0) return "";
      if (shared_->said_size > 0) return std::string(shared_->said, shared_->said_size);
      return launch::DescribeWaitStatus(status);
    }
    if (shared_->tried != last_tried_) {
      last_tried_ = shared_->tried;
      quiet_ = launch::Deadline(kSecondsWithoutWork);
    }
    clockid_t clock;
    if (clock_getcpuclockid(pid_, &clock) == 0 && shared_->began_ns > 0 &&
        static_cast<double>(ProcessorNs(clock) - shared_->began_ns) > 1e9 * kSecondsAnInput) {
      return fmt::format("takes more than {} s of processor time", kSecondsAnInput);
    }
    return quiet_.Passed() ? fmt::format("has not been read within {} s", kSecondsWithoutWork) : "";
  }
  bool ended() const { return ended_; }
  const Shared& shared() const { return *shared_; }
  std::string Input() const { return {shared_->input, shared_->size}; }

 private:
  Shared* shared_ = nullptr;
  fs::path folder_;
  pid_t pid_ = -1;
  bool ended_ = false;
  uint64_t last_tried_ = 0;
  launch::Deadline quiet_{kSecondsWithoutWork};
};

struct Options {
  std::vector<std::string> names;
  double minutes = 10;
  uint64_t seed = std::random_device()() % 1000000;
  std::string input;
};

const Target& Named(const std::string& name) {
  std::vector<std::string> names;
  for (const Target& target : Targets()) {
    if (target.name == name) return target;
    names.push_back(target.name);
  }
  throw UsageError(UnknownName("reader", name, names));
}

bool Fuzz(const Target& target, const Options& options) {
  const auto seconds = static_cast<int64_t>(60 * options.minutes);
  const launch::Deadline end(60 * options.minutes);
  Progress progress(target.name, std::max<int64_t>(seconds, 1));
  Worker worker([&](Shared& shared) { Work(target, options.seed, shared); });
  const Shared& shared = worker.shared();
  const auto figures = [&] {
    return fmt::format("{} inputs, {} kept, {} branches", shared.tried.load(), shared.kept.load(),
                       shared.branches.load());
  };
  std::string wrong;
  while (wrong.empty() && !end.Passed()) {
    wrong = worker.Watch(0.2);
    progress.Update(seconds - static_cast<int64_t>(end.seconds()), figures());
  }
  progress.Hide();
  if (wrong.empty()) {
    fmt::print("{:<12} {}: {}\n", target.name, target.subject, figures());
    std::fflush(stdout);
    return true;
  }
  const std::string file = fmt::format("fuzz-{}.input", target.name);
  WriteFileSafely(file, worker.Input());
  fmt::print(
      "{0:<12} {1}: after {2} inputs, of seed {3}, one of {4} bytes {5}\n{0:<12} lab test fuzz {0} --input {6}\n",
      target.name, target.subject, shared.tried.load(), options.seed, worker.Input().size(), wrong, file);
  std::fflush(stdout);
  return false;
}

/// Reads one input once.
bool Repeat(const Target& target, const std::string& file) {
  const std::string input = ReadFile(file);
  if (input.size() > Mutator::kLongest) throw UsageError(fmt::format("--input {}: longer than inputs are", file));
  Worker worker([&](Shared& shared) { Try(target, input, shared); });
  std::string wrong;
  while (wrong.empty() && !worker.ended()) wrong = worker.Watch(0.1);
  fmt::print("{:<12} {}: {}\n", target.name, file, wrong.empty() ? "read or refused, as it should be" : wrong);
  return wrong.empty();
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Gives every reader of bytes inputs that are nearly right, under AddressSanitizer and UBSan.",
               "lab test fuzz");
  std::string names;
  for (const Target& target : Targets()) names += fmt::format("\n  {:<12} {}", target.name, target.subject);
  app.footer(
      "The readers:" + names +
      "\n\nExit status: 0 all inputs were read or refused in one line, 1 one was not (it is written to a file), 2 "
      "wrong usage, 3 this machine cannot.");
  app.set_help_flag("-h,--help", "this text");
  app.add_option("name", options.names, "which readers; nothing: all, one after the other")->type_name("");
  app.add_option("--minutes", options.minutes, "for each (10)")->type_name("N")->check(CLI::Range(0.01, 10000.0));
  app.add_option("--seed", options.seed, "what inputs follow from; drawn and printed otherwise")->type_name("N");
  app.add_option("--input", options.input, "read this one input, once")->type_name("FILE");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    throw UsageError(fmt::format("{} (lab test fuzz --help says more)", error.what()));
  }
  if (!options.input.empty() && options.names.size() != 1) throw UsageError("--input: name the one reader it is for");
  std::vector<const Target*> wanted;
  for (const std::string& name : options.names) wanted.push_back(&Named(name));
  for (const Target& target : Targets()) {
    if (options.names.empty()) wanted.push_back(&target);
  }
  bool good = true;
  for (const Target* target : wanted) {
    good &= options.input.empty() ? Fuzz(*target, options) : Repeat(*target, options.input);
  }
  if (options.input.empty()) fmt::print("seed {}\n", options.seed);
  return good ? 0 : 1;
}

}  // namespace

void CheckRefusal(const std::string& message) {
  if (message.empty()) throw std::logic_error("a refusal without a word");
  if (message.size() > kLongestRefusal) {
    throw std::logic_error(fmt::format("a refusal of {} characters: {}...", message.size(), message.substr(0, 200)));
  }
  if (message.find('\n') != std::string::npos) throw std::logic_error("a refusal of several lines: " + message);
}

Registered::Registered(Target target) { AllTargets().push_back(std::move(target)); }

const std::vector<Target>& Targets() {
  static const std::vector<Target> sorted = [] {
    std::vector<Target> all = AllTargets();
    std::sort(all.begin(), all.end(), [](const Target& a, const Target& b) { return a.name < b.name; });
    return all;
  }();
  return sorted;
}

}  // namespace shardlab::fuzz

int main(int argc, char** argv) {
  using namespace shardlab;
  try {
    return fuzz::Main(argc, argv);
  } catch (const UsageError& error) {
    fmt::print(stderr, "lab test fuzz: {}\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "lab test fuzz: {}\n", Brief(error));
    return 3;
  }
}
