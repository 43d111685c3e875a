#include "host_process.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>

#include <fmt/format.h>

#include "shardlab/base/visible.hpp"

namespace shardlab::grade {

namespace {
constexpr int64_t kHostPrintedLimit = 64 << 10;
}

HostProcess::HostProcess(const std::string& program, std::shared_ptr<const launch::Sandbox> sandbox)
    : program_(program), sandbox_(std::move(sandbox)) {
  auto [mine, theirs] = launch::MakeSockets(SOCK_SEQPACKET);
  socket_ = std::move(mine);
  printed_ = launch::MakeSharedMemory("shardlab-host-printed", kHostPrintedLimit + 4096);
  launch::ProgramSpec spec;
  spec.program = program;
  spec.arguments = {"--supervisor-fd=3"};
  spec.environment = launch::OneThreadEnvironment();
  spec.channel = theirs.get();
  spec.output = printed_.get();
  spec.scoped = true;
  if (sandbox_) spec = sandbox_->Inside(spec);
  held_ = spec.held;
  tree_.emplace(spec);
}

std::string HostProcess::AwaitReady(double limit_s) {
  if (ready_) return "";
  pollfd entry{socket_.get(), POLLIN, 0};
  const launch::Deadline deadline(limit_s);
  while (poll(&entry, 1, deadline.Milliseconds()) <= 0) {
    if (deadline.Passed()) return fmt::format("{} did not start within {:g} s", program_, limit_s);
  }
  nlohmann::json packet;
  if (Receive(&packet) != PacketState::kPacket) {
    const std::string how = HowItEnded();
    const std::string printed = Printed();
    return fmt::format("{} {} before it could run anything{}{}", program_, how,
                       printed.empty() ? " (it printed nothing)" : "; it printed:\n", printed);
  }
  const std::string type = packet.value("type", "");
  if (type == "ready") {
    ready_ = true;
    return "";
  }
  return packet.contains("why") && packet["why"].is_string() ? packet["why"].get<std::string>()
                                                             : fmt::format("{} did not say that it is ready", program_);
}

PacketState HostProcess::Receive(nlohmann::json* packet) {
  const PacketState state = ReceivePacket(socket_.get(), packet);
  if (state != PacketState::kPacket) return state;
  const auto is = [&](const char* key, bool (nlohmann::json::*type)() const noexcept) {
    const auto found = packet->find(key);
    return found == packet->end() || ((*found).*type)();
  };
  const bool sane = is("type", &nlohmann::json::is_string) && is("why", &nlohmann::json::is_string) &&
                    is("nonce", &nlohmann::json::is_number_unsigned) &&
                    is("rank", &nlohmann::json::is_number_integer) && is("status", &nlohmann::json::is_number_integer);
  if (!sane) return PacketState::kClosed;
  const auto why = packet->find("why");
  if (why != packet->end()) *why = Visible(why->get<std::string>());
  return state;
}

bool HostProcess::StartCase(const CaseRequest& request, uint64_t nonce, std::vector<RankFiles>& ranks, int first) {
  const size_t begin = static_cast<size_t>(first), end = request.replay ? begin + 1 : ranks.size();
  if (!SendPacket(socket_.get(), {{"type", "case"}, {"nonce", nonce}, {"request", request}, {"first_rank", first}})) {
    return false;
  }
  for (size_t rank = begin; rank < end; ++rank) {
    RankFiles& files = ranks[rank];
    std::vector<int> fds = {files.announcements_write.get(), files.input.get(), files.output.get(),
                            files.printed.get()};
    if (files.relay) fds.push_back(files.relay.get());
    if (!SendPacket(socket_.get(), {{"type", "rank"}}, fds)) return false;
    files.announcements_write.Reset();
    files.input.Reset();
    files.relay.Reset();
  }
  return true;
}

std::vector<NamedStack> HostProcess::NameStacks(const std::vector<std::vector<uint64_t>>& stacks) {
  std::vector<NamedStack> named(stacks.size());
  if (!SendPacket(socket_.get(), {{"type", "name"}, {"stacks", stacks}})) return named;
  const launch::Deadline deadline(4.0);
  pollfd entry{socket_.get(), POLLIN, 0};
  nlohmann::json told = nlohmann::json::array(), libraries = nlohmann::json::array();
  for (;;) {
    if (deadline.Passed()) return named;
    poll(&entry, 1, deadline.Milliseconds());
    nlohmann::json packet;
    if (Receive(&packet) == PacketState::kClosed) return named;
    if (packet.value("type", "") == "frames") {
      told = packet["stacks"];
      libraries = packet["libraries"];
    }
    if (packet.value("type", "") == "named") break;
  }
  // The host is not trusted: whatever has another form than this is left out.
  for (size_t i = 0; told.is_array() && i < std::min(named.size(), told.size()); ++i) {
    if (!told[i].is_array()) continue;
    if (libraries.is_array() && i < libraries.size() && libraries[i].is_string()) {
      named[i].library = Visible(libraries[i].get<std::string>().substr(0, 100));
    }
    for (const nlohmann::json& frame : told[i]) {
      if (!frame.is_object() || named[i].frames.size() >= 8) continue;
      const auto text = [&](const char* key) {
        const auto found = frame.find(key);
        return found != frame.end() && found->is_string() ? Visible(found->get<std::string>().substr(0, 200))
                                                          : std::string();
      };
      named[i].frames.push_back({text("function"), text("where")});
    }
  }
  return named;
}

std::string HostProcess::HowItEnded() {
  if (!tree_) return "has ended";
  int status = 0;
  const bool ended = tree_->AwaitEnd(1.0, &status);
  tree_.reset();
  if (!ended) return "closed its connection";
  return launch::DescribeWaitStatus(sandbox_ ? sandbox_->ProgramsWaitStatus(status) : status);
}

std::string HostProcess::Printed() const { return launch::PrintedTo(printed_, kHostPrintedLimit); }

}  // namespace shardlab::grade
