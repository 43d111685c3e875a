#include "supervised.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include <fmt/format.h>

#include "shardlab/grade/wire.hpp"
#include "shardlab/launch/process.hpp"

using namespace shardlab;
using nlohmann::json;

namespace {

[[noreturn]] void BeSupervisor(const grade::SessionOptions& options, int report) {
  json told = {{"error", ""}, {"results", json::array()}};
  try {
    for (const grade::CaseResult& result : grade::RunGradeSession(options).results) told["results"].push_back(result);
  } catch (const std::exception& error) {
    told["error"] = error.what();
  }
  const std::string text = told.dump(-1, ' ', false, json::error_handler_t::replace);
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = write(report, text.data() + done, text.size() - done);
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  _exit(0);
}

/// Kills all that is left, and counts it. The orphans of what is killed become this process's children.
int KillChildren() {
  int killed = 0;
  for (const launch::Deadline deadline(20.0); !deadline.Passed();) {
    const auto children = launch::ChildrenOf(getpid());
    if (children.empty()) break;
    for (const pid_t descendant : launch::DescendantsOf(getpid())) kill(descendant, SIGKILL);
    for (const pid_t child : children) killed += launch::Reap(child, deadline.seconds()) ? 1 : 0;
  }
  return killed;
}

}  // namespace

Supervised RunSupervised(const grade::SessionOptions& options, double limit_s) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  Supervised session;
  auto [read_end, write_end] = launch::MakePipe(true);
  const int64_t begin_ns = launch::MonotonicNs();
  const pid_t pid = fork();
  if (pid == 0) BeSupervisor(options, write_end.get());
  write_end.Reset();
  std::string text;
  for (const launch::Deadline deadline(limit_s); !deadline.Passed();) {
    pollfd entry{read_end.get(), POLLIN, 0};
    poll(&entry, 1, deadline.Milliseconds(100));
    char buffer[1 << 16];
    const ssize_t n = read(read_end.get(), buffer, sizeof buffer);
    if (n == 0) break;
    if (n > 0) text.append(buffer, static_cast<size_t>(n));
  }
  session.seconds = static_cast<double>(launch::MonotonicNs() - begin_ns) / 1e9;
  if (!launch::Reap(pid, 1, &session.wait_status)) {
    session.error = fmt::format("the session did not end within {:g} s", limit_s);
    launch::KillTree(pid);
  } else if (session.wait_status != 0) {
    session.error = "the supervisor " + launch::DescribeWaitStatus(session.wait_status);
  }
  // What dies with the supervisor takes a moment.
  for (const launch::Deadline moment(1); !moment.Passed() && !launch::ChildrenOf(getpid()).empty(); usleep(10000)) {
    waitpid(-1, nullptr, WNOHANG);
  }
  session.left = KillChildren();
  const json told = json::parse(text, nullptr, false);
  if (!told.is_object()) return session;
  session.error += told.value("error", "");
  for (const json& one : told.at("results")) {
    const auto result = one.get<grade::CaseResult>();
    auto& kept = session.results[result.id.substr(0, result.id.find('/'))];
    if (kept.id.empty() || kept.status == grade::Status::kPassed) kept = result;
  }
  return session;
}
