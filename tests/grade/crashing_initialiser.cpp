// A global variable whose initialiser crashes: the host dies before main().

#include <csignal>
#include <cstdio>

namespace {
const bool crashed = [] {
  std::fputs("about to divide by zero\n", stderr);
  return std::raise(SIGFPE) == 0;
}();
}  // namespace

bool shardlab_test_crashed() { return crashed; }
