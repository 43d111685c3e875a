#include "crew.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "shardlab/base/errors.hpp"
#include "shardlab/grade/wire.hpp"
#include "shardlab/launch/process.hpp"

namespace shardlab::mutants {

using nlohmann::json;

namespace {

struct Worker {
  pid_t pid = -1;
  launch::Fd socket;
  size_t item = 0;
};

void AwaitInput(int socket) {
  pollfd entry{socket, POLLIN, 0};
  while (poll(&entry, 1, -1) < 0 && errno == EINTR) {
  }
}

/// Answers each {"item": i} until the other side has gone.
[[noreturn]] void Serve(int socket, const std::function<json(size_t)>& work) {
  for (;;) {
    AwaitInput(socket);  // its limit is the life of the parent, which the kernel ends this process with
    json asked;
    if (grade::ReceivePacket(socket, &asked) != grade::PacketState::kPacket) _exit(0);
    json answer = work(asked.at("item").get<size_t>());
    if (!grade::SendPacket(socket, answer)) _exit(1);
  }
}

Worker Start(const std::function<json(size_t)>& work, std::vector<Worker>& crew) {
  auto [mine, theirs] = launch::MakeSockets(SOCK_SEQPACKET);
  std::fflush(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) throw EnvironmentError(fmt::format("no process can be started: {}", std::strerror(errno)));
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    mine.Reset();
    crew.clear();  // or this process would keep the others' connections open, and they would never see their end
    Serve(theirs.get(), work);
  }
  return {pid, std::move(mine), 0};
}

}  // namespace

void WorkThrough(size_t count, int workers, const std::function<json(size_t)>& work,
                 const std::function<void(size_t, const json&)>& done) {
  std::vector<Worker> crew;
  size_t next = 0;
  const auto give = [&](Worker& worker) {
    worker.item = next++;
    grade::SendPacket(worker.socket.get(), {{"item", worker.item}});  // of one that has gone, the poll below tells
  };
  while (next < count && crew.size() < static_cast<size_t>(workers)) {
    crew.push_back(Start(work, crew));
    give(crew.back());
  }
  while (!crew.empty()) {
    std::vector<pollfd> entries;
    for (const Worker& worker : crew) entries.push_back({worker.socket.get(), POLLIN, 0});
    if (poll(entries.data(), entries.size(), -1) < 0) continue;
    for (size_t i = crew.size(); i-- > 0;) {
      if (entries[i].revents == 0) continue;
      json answer;
      const grade::PacketState state = grade::ReceivePacket(crew[i].socket.get(), &answer);
      if (state == grade::PacketState::kNothing) continue;
      const size_t item = crew[i].item;
      if (state == grade::PacketState::kClosed) {
        int status = 0;
        waitpid(crew[i].pid, &status, 0);
        answer = {{"died", launch::DescribeWaitStatus(status)}};
        crew.erase(crew.begin() + static_cast<std::ptrdiff_t>(i));
        if (next < count) {
          crew.push_back(Start(work, crew));
          give(crew.back());
        }
      } else if (next < count) {
        give(crew[i]);
      } else {
        crew[i].socket.Reset();
        waitpid(crew[i].pid, nullptr, 0);
        crew.erase(crew.begin() + static_cast<std::ptrdiff_t>(i));
      }
      done(item, answer);
    }
  }
}

}  // namespace shardlab::mutants
