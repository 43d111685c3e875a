// A global variable that starts a thread: a host with it must refuse to fork.

#include <unistd.h>

#include <thread>

namespace {
const bool started = [] {
  std::thread([] {
    for (;;) sleep(1);
  }).detach();
  return true;
}();
}  // namespace

bool shardlab_test_started() { return started; }
