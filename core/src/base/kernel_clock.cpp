#include "shardlab/base/kernel_clock.hpp"

#include <sys/syscall.h>
#include <time.h>

namespace shardlab {

int64_t KernelNs() {
  timespec now{};
#if defined(__x86_64__)
  int64_t result = SYS_clock_gettime;
  asm volatile("syscall" : "+a"(result) : "D"(CLOCK_MONOTONIC), "S"(&now) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
  register int64_t call asm("x8") = SYS_clock_gettime;
  register int64_t first asm("x0") = CLOCK_MONOTONIC;
  register timespec* second asm("x1") = &now;
  asm volatile("svc 0" : "+r"(first) : "r"(call), "r"(second) : "memory");
#else
  clock_gettime(CLOCK_MONOTONIC, &now);
#endif
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace shardlab
