#include "shardlab/launch/loopback.hpp"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include <fmt/format.h>

#include "shardlab/launch/process.hpp"

namespace shardlab::launch {

std::string WhyNoLoopback() {
  const Fd server(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const Fd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  const bool reached = server && client && bind(server.get(), any, size) == 0 && listen(server.get(), 1) == 0 &&
                       getsockname(server.get(), any, &size) == 0 &&
                       (connect(client.get(), any, size) == 0 || errno == EINPROGRESS);
  if (reached) return "";
  return fmt::format(
      "ranks talk to each other through the loopback interface, and it does not work here ({}): bring it up (as root: "
      "ip "
      "link set lo up), or use a container with a network of its own",
      strerror(errno));
}

}  // namespace shardlab::launch
