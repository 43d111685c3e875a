// What a submission does before main(): its global variables' initialisers run while the host is being loaded. Which
// one, the name of the host program says: the test starts the same program under several names.

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "shardlab/grade/wire.hpp"
#include "take_over.hpp"

namespace {

void DetachFromHost() {
  if (fork() != 0) return;
  setsid();
  if (fork() != 0) _exit(0);
  signal(SIGTERM, SIG_IGN);
  for (;;) usleep(10000);
}

/// Says of every case that it went well, without running it.
[[noreturn]] void Lie() {
  shardlab::grade::SendPacket(3, {{"type", "ready"}});
  for (;; usleep(1000)) {
    nlohmann::json packet = nlohmann::json::object();
    const auto state = shardlab::grade::ReceivePacket(3, &packet);
    if (state == shardlab::grade::PacketState::kClosed) _exit(0);
    if (packet.value("type", "") != "case") continue;
    for (int rank = 0; rank < packet["request"]["ranks"].get<int>(); ++rank) {
      shardlab::grade::SendPacket(3, {{"type", "exit"}, {"nonce", packet["nonce"]}, {"rank", rank}, {"status", 0}});
    }
    shardlab::grade::SendPacket(3, {{"type", "done"}, {"nonce", packet["nonce"]}});
  }
}

/// Talks of a case that is over, without end.
[[noreturn]] void Flood() {
  shardlab::grade::SendPacket(3, {{"type", "ready"}});
  for (;;) shardlab::grade::SendPacket(3, {{"type", "exit"}, {"nonce", 1u}, {"rank", 0}, {"status", 0}});
}

const bool done = [] {
  const std::string name = program_invocation_short_name;
  if (name == "host_exits") std::exit(0);
  if (name == "host_exits_at_once") _exit(0);
  if (name == "host_detaches") DetachFromHost();
  if (name == "host_starts_a_thread") {
    std::thread([] {
      for (;;) pause();
    }).detach();
  }
  if (name == "host_loops") {
    for (;;) pause();
  }
  if (name == "host_writes_garbage") {
    const std::string garbage(1000, '\xff');
    for (int fd = 3; fd < 64; ++fd) send(fd, garbage.data(), garbage.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  if (name == "host_says_nonsense") {
    shardlab::grade::SendPacket(3, {{"type", "ready"}, {"nonce", "none"}, {"rank", nlohmann::json::array()}});
  }
  if (name == "host_kills") kill(getppid(), SIGKILL);
  if (name == "host_lies") Lie();
  if (name == "host_floods") Flood();
  if (name == "host_takes_over") TakeOver();
  return true;
}();

}  // namespace
