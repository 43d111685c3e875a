#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "shardlab/grade/case_runner.hpp"
#include "shardlab/grade/session.hpp"
#include "shardlab/grade/wire.hpp"
#include "shardlab/launch/process.hpp"

namespace shardlab::grade {

/// The referee program, killed with its owner.
class RefereeProcess {
 public:
  RefereeProcess(const SessionOptions& options, const std::string& program);
  ~RefereeProcess() { launch::KillTree(pid_); }
  RefereeProcess(const RefereeProcess&) = delete;
  RefereeProcess& operator=(const RefereeProcess&) = delete;

  Channel& channel() { return *channel_; }

  /// \throws EnvironmentError that says `what` the referee did, and the last that it printed.
  [[noreturn]] void Blame(const std::string& what) const;

 private:
  std::string program_;
  std::unique_ptr<Channel> channel_;
  launch::Fd printed_;
  pid_t pid_ = -1;
};

/// What a referee means to judge, and what it could.
struct CaseList {
  std::vector<ListedCase> cases;
  std::vector<std::string> parts;  // that it has cases of
  std::vector<std::string> names;  // of the cases in the parts that were asked for, without their ranks
  std::vector<int> rank_counts;    // on which it has cases
  std::string libtorch;
};

/// One of a session's pairs of programs, with its share of the cases.
class Grader {
 public:
  /// Begins to start both programs.
  Grader(const SessionOptions& options, const GraderPrograms& programs, SessionResult* session)
      : options_(options),
        session_(*session),
        runner_(programs.host, options.startup_limit_s, options.sandbox),
        referee_(options, programs.referee) {}

  /// The referee's cases; nothing when the session was cancelled.
  std::optional<CaseList> AwaitCaseList();
  /// Has its cases judged, which are those of the session from the `first`th on. `replayed`: which of the session's
  /// cases are to be run again.
  void Run(size_t first, const std::vector<bool>& replayed);

 private:
  bool Cancelled() const { return options_.cancel != nullptr && options_.cancel->load(); }
  /// The referee's next message; nothing when the session was cancelled.
  std::optional<Message> Next(double limit_s);
  void Answer(const Message& message);
  void Start(int index);
  Message RunBody(Message message);
  void Handle(Message message);
  void Finish(CaseResult result);
  [[noreturn]] void BlameFor(const nlohmann::json::exception& error);

  const SessionOptions& options_;
  SessionResult& session_;
  CaseRunner runner_;
  RefereeProcess referee_;
  size_t first_ = 0;
  std::vector<bool> judged_;  // of its own cases
  std::vector<bool> replayed_;
  int current_ = -1;                                    // of its own cases
  nlohmann::json evidence_ = nlohmann::json::object();  // what the runner saw of the current case
};

}  // namespace shardlab::grade
