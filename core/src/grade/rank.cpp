#include "rank.hpp"

#include <linux/futex.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <typeinfo>
#include <utility>

#include <cxxabi.h>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/grade/wire.hpp"
#include "stack.hpp"

namespace shardlab::grade {

using launch::Fd;

namespace {

std::map<std::string, std::unique_ptr<Body>>& Bodies() {
  static std::map<std::string, std::unique_ptr<Body>> bodies;
  return bodies;
}

std::string ReadAll(const Fd& memory) {
  struct stat about;
  if (fstat(memory.get(), &about) != 0) throw EnvironmentError("a rank cannot read its inputs");
  std::string text(static_cast<size_t>(about.st_size), '\0');
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = pread(memory.get(), text.data() + done, text.size() - done, static_cast<off_t>(done));
    if (n <= 0) throw EnvironmentError("a rank cannot read its inputs");
    done += static_cast<size_t>(n);
  }
  return text;
}

std::string TypeName(const std::exception& error) {
  int status = 0;
  char* name = abi::__cxa_demangle(typeid(error).name(), nullptr, nullptr, &status);
  const std::string text = status == 0 ? name : typeid(error).name();
  std::free(name);
  return text;
}

/// What it threw, for a person: the type only where it says something.
std::string Words(const std::exception& error) {
  const std::string type = TypeName(error);
  const std::string message =
      dynamic_cast<const std::bad_alloc*>(&error) != nullptr
          ? "no memory left: a rank may use what its tensors may take, and 1 GiB more for all else"
          : Brief(error);
  return message.empty() ? type : fmt::format("{}: {}", type, message);
}

OutputArea* exit_area = nullptr;

/// exit() in the middle of the body ends here, before any destructor of the student's or of a library's can hang.
void AtExit(int status, void*) {
  std::fflush(nullptr);
  if (exit_area->header().state == static_cast<uint32_t>(RankStage::kRunning) ||
      exit_area->header().state == static_cast<uint32_t>(RankStage::kNotStarted)) {
    exit_area->header().exit_code = static_cast<uint32_t>(status);
    exit_area->Set(RankStage::kExited);
  }
  _exit(status);
}

/// std::terminate, in any thread. The abort() that follows is only its form.
void OnTerminated(const std::string& what) {
  const bool main_thread = gettid() == getpid();
  const std::string who = main_thread ? "" : ", in a thread beside the rank's main one";
  exit_area->Set(RankStage::kTerminated, (what.empty() ? "no exception" : "nobody caught " + what) + who);
}

void Limit(int resource, uint64_t bound, uint64_t hard) {
  const rlimit both{bound, hard};
  setrlimit(resource, &both);
}

/// Whoever wants more than that is told so, and takes nothing from the machine.
void ApplyLimits(const RankSpec& spec) {
  const Limits& limits = spec.request.limits;
  // Not the address space, of which LibTorch's libraries reserve far more than they use.
  rlimit data{};
  uint64_t pages = 0;
  if (std::FILE* statm = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(statm, "%*u %*u %*u %*u %*u %lu", &pages) != 1) pages = 0;
    std::fclose(statm);
  }
  const uint64_t used = pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  data.rlim_cur = used + static_cast<uint64_t>(limits.memory_bytes) + (uint64_t{1} << 30);
  Limit(RLIMIT_DATA, data.rlim_cur, data.rlim_cur);
  Limit(RLIMIT_FSIZE, static_cast<uint64_t>(limits.file_bytes), static_cast<uint64_t>(limits.file_bytes));
  Limit(RLIMIT_NOFILE, static_cast<uint64_t>(limits.open_files), static_cast<uint64_t>(limits.open_files));
  // The supervisor's clock comes first; this one holds for what gets away from it.
  const auto seconds = static_cast<uint64_t>(spec.request.limit_s * 2 * spec.request.threads) + 10;
  Limit(RLIMIT_CPU, seconds, seconds + 5);
}

void Flush() {
  std::cout.flush();
  std::cerr.flush();
  std::fflush(nullptr);
}

/// Waits until every rank has come here.
void AwaitOthers(std::atomic<uint32_t>& here, uint32_t size) {
  if (here.fetch_add(1) + 1 == size) {
    syscall(SYS_futex, &here, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
    return;
  }
  for (uint32_t seen = here.load(); seen < size; seen = here.load()) {
    syscall(SYS_futex, &here, FUTEX_WAIT, seen, nullptr, nullptr, 0);
  }
}

[[noreturn]] void End(OutputArea& area, RankStage stage, const std::string& message) {
  area.Set(stage, message);
  Flush();
  _exit(stage == RankStage::kReturned ? 0 : 1);
}

}  // namespace

void RegisterBody(const char* name, std::unique_ptr<Body> body) {
  if (!Bodies().emplace(name, std::move(body)).second) {
    std::fprintf(stderr, "two bodies of this host are called %s: names are unique within a module\n", name);
    std::abort();
  }
}

Body* FindBody(const std::string& name) {
  const auto found = Bodies().find(name);
  return found == Bodies().end() ? nullptr : found->second.get();
}

std::vector<std::string> BodyNames() {
  std::vector<std::string> names;
  for (const auto& [name, body] : Bodies()) names.push_back(name);
  return names;
}

void RunRank(const RankSpec& spec, int announcements, Fd input, Fd output, Fd relay) {
  const bool replay = static_cast<bool>(relay);
  OutputArea area(output);
  output.Reset();
  area.header().nonce = spec.nonce;
  exit_area = &area;
  WriteStacksTo(area.stack(), OnTerminated);
  on_exit(AtExit, nullptr);

  Body& body = *FindBody(spec.request.body);
  std::shared_ptr<Announcer> announcer;
  try {
    const std::string given = ReadAll(input);
    input.Reset();
    uint64_t length = 0;
    std::memcpy(&length, given.data(), sizeof length);
    const size_t frames = (sizeof length + length + 7) / 8 * 8;
    nlohmann::json params = nlohmann::json::parse(given.substr(sizeof length, length));
    Frames inputs = DecodeFrames(given.data() + frames, given.size() - frames);

    announcer = std::make_shared<Announcer>(announcements);
    body.Prepare({spec, std::move(params), std::move(inputs), area, announcer, std::move(relay)});
  } catch (const CommError& error) {
    // Perhaps another rank, quicker than this one, has crashed meanwhile.
    End(area, RankStage::kThrewCommError, "before the body began: " + Words(error));
  } catch (const std::exception& error) {
    End(area, RankStage::kThrew, "before the body began: " + Words(error));
  }

  // A rank that ends at once would break the connections that a slower one is still making.
  if (!replay) AwaitOthers(*spec.connected, static_cast<uint32_t>(spec.request.ranks));
  ApplyLimits(spec);
  area.Set(RankStage::kRunning);
  try {
    body.Run();
  } catch (const NotImplemented& error) {
    End(area, RankStage::kNotImplemented, error.what());
  } catch (const CommError& error) {
    End(area, RankStage::kThrewCommError, Words(error));
  } catch (const std::exception& error) {
    End(area, RankStage::kThrew, Words(error));
  } catch (...) {
    End(area, RankStage::kThrew, "something that is not a std::exception");
  }
  announcer->Return();
  Flush();
  area.Set(RankStage::kReturned);
  // The end of a process closes its connections, which the others may still need; what went to a relay arrives anyway.
  if (!replay) AwaitOthers(*spec.returned, static_cast<uint32_t>(spec.request.ranks));
  _exit(0);
}

}  // namespace shardlab::grade
