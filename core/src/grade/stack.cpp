#include "stack.hpp"

#include <cxxabi.h>
#include <execinfo.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <typeinfo>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"

namespace shardlab::grade {
namespace {

StackArea* area = nullptr;
void (*tell_terminated)(const std::string&) = nullptr;

/// A recursion without end leaves no room on its own stack for the handler.
constexpr size_t kHandlerStack = 256 << 10;
/// An access so near the top of the stack that cannot be done means that the stack is full.
constexpr uint64_t kNearTop = 64 << 10;

void Write(int signal, uint64_t from, uint64_t fault, bool overflow) {
  void* addresses[StackArea::kMost + 16];
  const int found = backtrace(addresses, static_cast<int>(std::size(addresses)));
  // What lies inside of `from` is the handler itself.
  int first = 0;
  for (int i = 0; from != 0 && i < found; ++i) {
    if (reinterpret_cast<uint64_t>(addresses[i]) == from) first = i;
  }
  const auto count = static_cast<uint32_t>(std::min<int>(found - first, StackArea::kMost));
  area->count = 0;
  for (uint32_t i = 0; i < count; ++i) area->addresses[i] = reinterpret_cast<uint64_t>(addresses[first + int(i)]);
  area->signal = signal;
  area->main_thread = gettid() == getpid() ? 1 : 0;
  area->fault = fault;
  area->overflow = overflow ? 1 : 0;
  std::atomic_thread_fence(std::memory_order_release);
  area->count = count;
}

uint64_t Register(const void* context, bool stack_pointer) {
  const auto& machine = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  return static_cast<uint64_t>(machine.gregs[stack_pointer ? REG_RSP : REG_RIP]);
#elif defined(__aarch64__)
  return stack_pointer ? machine.sp : machine.pc;
#else
  return 0;
#endif
}

void OnSignal(int signal, siginfo_t* info, void* context) {
  const bool asked = signal == kStackSignal;
  // A handler may run while another thread of the rank is in one; the first crash is the one that matters.
  static std::atomic<bool> crashed{false};
  if (asked || !crashed.exchange(true)) {
    const bool faulty = signal == SIGSEGV || signal == SIGBUS;
    // The kernel knows no address where the instruction's operand was no address at all.
    const bool known = faulty && info->si_code > 0 && info->si_code != SI_KERNEL;
    const uint64_t fault = known ? reinterpret_cast<uint64_t>(info->si_addr) : UINT64_MAX;
    const uint64_t top = Register(context, /*stack_pointer=*/true);
    const bool overflow = signal == SIGSEGV && known && fault + kNearTop > top && fault < top + kNearTop;
    Write(signal, Register(context, /*stack_pointer=*/false), fault, overflow);
  }
  if (asked) return;
  ::signal(signal, SIG_DFL);
  raise(signal);  // comes when this handler returns
}

[[noreturn]] void OnTerminate() {
  std::string what;
  try {
    if (std::current_exception()) throw;
  } catch (const std::exception& error) {
    int status = 0;
    char* name = abi::__cxa_demangle(typeid(error).name(), nullptr, nullptr, &status);
    what = fmt::format("{}: {}", status == 0 ? name : typeid(error).name(), Brief(error));
  } catch (...) {
    what = "something that is not a std::exception";
  }
  tell_terminated(what);
  std::abort();
}

}  // namespace

void WriteStacksTo(StackArea* to, void (*terminated)(const std::string& what)) {
  area = to;
  tell_terminated = terminated;
  std::set_terminate(OnTerminate);
  // The unwinder loads and allocates on its first use, which a handler must not.
  void* warm[4];
  backtrace(warm, 4);

  void* room = mmap(nullptr, kHandlerStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room != MAP_FAILED) {
    const stack_t stack{room, 0, kHandlerStack};
    sigaltstack(&stack, nullptr);
  }
  struct sigaction action {};
  action.sa_sigaction = OnSignal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGXCPU, SIGXFSZ, kStackSignal}) {
    sigaction(signal, &action, nullptr);
  }
}

void NoteThrow() {
  // Whoever throws while handling an exception hands it on with other words; the place is where the first was thrown.
  if (area == nullptr || abi::__cxa_current_exception_type() != nullptr) return;
  Write(0, 0, 0, false);
}

}  // namespace shardlab::grade
