#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rank_files.hpp"
#include "shardlab/grade/wire.hpp"
#include "shardlab/launch/process.hpp"
#include "shardlab/launch/process_tree.hpp"
#include "shardlab/launch/sandbox.hpp"

namespace shardlab::grade {

/// What stands at the addresses of a stack.
struct NamedStack {
  std::vector<StackFrame> frames;
  std::string library;  ///< in which the innermost address lies; empty: the program's own code
};

/// A host program under way, from the supervisor's side. Whatever goes wrong with it is a value here, never an
/// exception: the host is untrusted, and its end is an ordinary event. With its owner it is killed, and whatever descends
/// from it.
///
/// Packets:
///     host -> supervisor   {"type": "ready"} once, or {"type": "refuse", "why": ...}
///     supervisor -> host   {"type": "case", "request": ..., "first_rank": 0}, then for each rank {"type": "rank"} with
///                          its four descriptors; in a replay the host runs the first rank only, which has a fifth one
///     host -> supervisor   {"type": "exit", "rank": r, "status": wait status} as ranks end, then {"type": "done"},
///                          each with the case's "nonce"
///     supervisor -> host   {"type": "stacks"} to have all ranks write down where they are
///     supervisor -> host   {"type": "end"} to have the ranks killed at once
///     supervisor -> host   after "done", {"type": "name", "stacks": [[address, ...], ...]}
///     host -> supervisor   {"type": "frames", "stacks": [[{"function", "where"}, ...], ...], "libraries": [...]} if it
///                          can name them, and {"type": "named"} once that is over
class HostProcess {
 public:
  /// Starts the program, in `sandbox` if there is one, and returns at once. \throws EnvironmentError when there is no
  /// such program, or the sandbox cannot read it
  explicit HostProcess(const std::string& program, std::shared_ptr<const launch::Sandbox> sandbox = nullptr);
  /// Waits until the host says that it is ready. Empty, or why it is not.
  std::string AwaitReady(double limit_s);
  /// Has it run a case; `ranks` are all of the case, and in a replay `first` is the one that this host runs. False when
  /// it has gone.
  bool StartCase(const CaseRequest& request, uint64_t nonce, std::vector<RankFiles>& ranks, int first = 0);
  /// Has it kill the case's ranks. False when it has gone.
  bool EndCase() { return SendPacket(socket_.get(), {{"type", "end"}}); }
  /// Has every rank write its stack to its StackArea, soon. False when it has gone.
  bool AskForStacks() { return SendPacket(socket_.get(), {{"type", "stacks"}}); }
  /// What stands at these addresses; nothing for stacks that cannot be named, within three seconds.
  std::vector<NamedStack> NameStacks(const std::vector<std::vector<uint64_t>>& stacks);
  /// What it has to say. A packet whose words have other types than above counts as kClosed.
  PacketState Receive(nlohmann::json* packet);
  int socket() const { return socket_.get(); }
  /// The host's process id, or -1 once it is known to have ended.
  pid_t pid() const { return tree_ ? tree_->program() : -1; }

  /// What descends from the host, or did: its ranks, and what they started.
  std::vector<pid_t> Descendants() const { return tree_ ? tree_->Others() : std::vector<pid_t>(); }
  /// Kills what the ranks left behind.
  void KillOrphans() {
    if (tree_) tree_->KillOrphans();
  }
  /// Whether what the ranks started goes on, where only the end of the whole sandbox can end it.
  bool HasStrays() const { return sandbox_ && sandbox_->HasStrays(pid()); }
  /// How the host ended, of one that closed its socket: "was killed by SIGSEGV (invalid memory access)". Kills one
  /// that goes on after that, and all that descends from it.
  std::string HowItEnded();
  /// What the host itself (not its ranks) printed.
  std::string Printed() const;

 private:
  std::string program_;
  std::shared_ptr<const launch::Sandbox> sandbox_;
  launch::Fd socket_;
  launch::Fd printed_;
  std::shared_ptr<const void> held_;  // before the tree: it goes after it
  std::optional<launch::ProcessTree> tree_;
  bool ready_ = false;
};

}  // namespace shardlab::grade
