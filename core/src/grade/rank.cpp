#include "rank.hpp"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <typeinfo>

#include <cxxabi.h>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "relay_communicator.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/comm/announcing.hpp"
#include "shardlab/comm/faulty.hpp"
#include "shardlab/comm/gloo.hpp"
#include "shardlab/comm/point_to_point_only.hpp"
#include "shardlab/grade/wire.hpp"
#include "shardlab/measure/memory.hpp"
#include "stack.hpp"
#include "tensor_frame.hpp"

namespace shardlab::grade {

using launch::Fd;

namespace {

std::map<std::string, BodyFunction>& Bodies() {
  static std::map<std::string, BodyFunction> bodies;
  return bodies;
}

/// The memory in which a rank leaves its outputs and its last words. It is mapped before the body runs and stays usable
/// when the student's code closes descriptors that are not its own.
class OutputArea {
 public:
  explicit OutputArea(const Fd& memory) {
    struct stat about;
    if (fstat(memory.get(), &about) != 0) _exit(1);
    size_ = static_cast<size_t>(about.st_size);
    void* base = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
    if (base == MAP_FAILED) _exit(1);
    base_ = static_cast<uint8_t*>(base);
  }

  OutputHeader& header() { return *reinterpret_cast<OutputHeader*>(base_); }
  StackArea* stack() { return reinterpret_cast<StackArea*>(base_ + kStackAreaOffset); }
  uint8_t* frames() { return base_ + kOutputHeaderBytes; }
  size_t room() const { return size_ - kOutputHeaderBytes; }

  void Set(RankStage stage, const std::string& message = "") {
    const size_t length = std::min(message.size(), sizeof(header().message));
    std::memcpy(header().message, message.data(), length);
    header().message_length = static_cast<uint32_t>(length);
    if (stage != RankStage::kNotStarted && stage != RankStage::kRunning) header().ended_ns = launch::MonotonicNs();
    header().state = static_cast<uint32_t>(stage);
  }

 private:
  uint8_t* base_;
  size_t size_;
};

class Context final : public RankContext {
 public:
  Context(std::shared_ptr<Communicator> comm, Announcer& announcer, nlohmann::json params, Frames inputs,
          OutputArea& area)
      : comm_(std::move(comm)),
        announcer_(announcer),
        params_(std::move(params)),
        inputs_(std::move(inputs)),
        area_(area) {}

  Communicator& comm() override { return *comm_; }
  std::shared_ptr<Communicator> shared_comm() override { return comm_; }

  at::Tensor Input(const std::string& name) const override {
    const auto found = inputs_.find(name);
    if (found == inputs_.end()) {
      std::vector<std::string> names;
      for (const auto& [other, frame] : inputs_) names.push_back(other);
      throw ContractError(fmt::format("this rank has no input '{}'; it has {}", name,
                                      names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "))));
    }
    return TensorFrom(found->second);
  }
  bool HasInput(const std::string& name) const override { return inputs_.count(name) != 0; }
  const nlohmann::json& params() const override { return params_; }

  void Output(const std::string& name, const at::Tensor& value) override {
    if (!value.defined()) return;
    if (!names_.insert(name).second) throw ContractError(fmt::format("the output '{}' was handed back twice", name));
    const at::Tensor flat = value.detach().to(at::kCPU).resolve_conj().resolve_neg().contiguous();
    used_ += EncodeFrame(name, static_cast<uint8_t>(flat.scalar_type()), flat.sizes().vec(), flat.data_ptr(),
                         static_cast<size_t>(flat.numel()) * flat.element_size(), area_.frames() + used_,
                         area_.room() - used_);
    area_.header().used = used_;
  }
  void Number(const std::string& name, double value) override {
    if (!names_.insert(name).second) throw ContractError(fmt::format("the output '{}' was handed back twice", name));
    used_ += EncodeFrame(name, static_cast<uint8_t>(at::kDouble), {}, &value, sizeof value, area_.frames() + used_,
                         area_.room() - used_);
    area_.header().used = used_;
  }
  void Mark(const std::string& name) override { announcer_.Mark(name); }

 private:
  std::shared_ptr<Communicator> comm_;
  Announcer& announcer_;
  const nlohmann::json params_;
  const Frames inputs_;
  OutputArea& area_;
  std::set<std::string> names_;
  size_t used_ = 0;
};

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

/// exit() in the middle of the body ends here, before any destructor of the student's or of LibTorch's can hang.
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
  const Limits& limits = spec.limits;
  SetMemoryCap(limits.memory_bytes);
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
  const auto seconds = static_cast<uint64_t>(spec.limit_s * 2 * spec.threads) + 10;
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

/// What the case asked for, above the announcements: a lost message is not announced, a refused one neither.
std::shared_ptr<Communicator> WithTrouble(std::shared_ptr<Communicator> comm, const RankSpec& spec) {
  if (spec.faults.delay_s > 0 || spec.faults.jitter_s > 0) {
    FaultOptions faults;
    faults.delay_s = spec.faults.delay_s;
    faults.delay_ops = spec.faults.delay_ops;
    faults.serial_link = spec.faults.serial_link;
    faults.jitter_s = spec.faults.jitter_s;
    faults.seed = spec.faults.seed;
    comm = MakeFaulty(std::move(comm), faults);
  }
  if (spec.point_to_point_only) comm = MakePointToPointOnly(std::move(comm));
  return comm;
}

[[noreturn]] void End(OutputArea& area, RankStage stage, const std::string& message) {
  area.Set(stage, message);
  Flush();
  _exit(stage == RankStage::kReturned ? 0 : 1);
}

}  // namespace

BodyRegistration::BodyRegistration(const char* name, BodyFunction body) {
  if (!Bodies().emplace(name, body).second) {
    std::fprintf(stderr, "two bodies of this host are called %s: names are unique within a module\n", name);
    std::abort();
  }
}

BodyFunction FindBody(const std::string& name) {
  const auto found = Bodies().find(name);
  return found == Bodies().end() ? nullptr : found->second;
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
  at::set_num_threads(spec.threads);

  std::shared_ptr<Announcer> announcer;
  std::unique_ptr<Context> context;
  try {
    const std::string given = ReadAll(input);
    input.Reset();
    uint64_t length = 0;
    std::memcpy(&length, given.data(), sizeof length);
    const size_t frames = (sizeof length + length + 7) / 8 * 8;
    nlohmann::json params = nlohmann::json::parse(given.substr(sizeof length, length));
    Frames inputs = DecodeFrames(given.data() + frames, given.size() - frames);

    announcer = std::make_shared<Announcer>(announcements);
    GlooOptions gloo;
    gloo.limit = std::chrono::milliseconds(static_cast<int64_t>((spec.limit_s + 5) * 1000));
    auto comm = replay ? MakeRelayCommunicator(std::move(relay), spec.rank, spec.size, gloo.limit)
                       : MakeGlooCommunicator(spec.store->Store(), spec.rank, spec.size, gloo);
    if (spec.observed) comm = MakeAnnouncing(std::move(comm), announcer);
    comm = WithTrouble(std::move(comm), spec);
    context = std::make_unique<Context>(std::move(comm), *announcer, std::move(params), std::move(inputs), area);
  } catch (const CommError& error) {
    // Perhaps another rank, quicker than this one, has crashed meanwhile.
    End(area, RankStage::kThrewCommError, "before the body began: " + Words(error));
  } catch (const std::exception& error) {
    End(area, RankStage::kThrew, "before the body began: " + Words(error));
  }

  // A rank that ends at once would break the connections that a slower one is still making.
  if (!replay) AwaitOthers(*spec.connected, static_cast<uint32_t>(spec.size));
  FillNewMemory();
  ApplyLimits(spec);
  area.Set(RankStage::kRunning);
  try {
    FindBody(spec.body)(*context);
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
  if (!replay) AwaitOthers(*spec.returned, static_cast<uint32_t>(spec.size));
  _exit(0);
}

}  // namespace shardlab::grade
