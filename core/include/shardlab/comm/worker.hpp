#pragma once

#include <functional>
#include <memory>

#include "shardlab/comm/communicator.hpp"

namespace shardlab {

/// A helper thread that communicates while the rank's main thread does something else.
///
/// It works off its jobs one after the other, in their order. It takes part (see Matcher) while it has jobs, so that a
/// rank whose main thread waits is not taken for blocked, and a deadlock in which the helper is caught is found.
/// Collectives are matched by their order, so give it a communicator that no other thread uses (a Subgroup).
class Worker {
 public:
  /// `comm` is any communicator of this rank: through it the thread is announced.
  explicit Worker(std::shared_ptr<Communicator> comm);
  /// Waits for the jobs that are left. What they throw is lost: call Wait before.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Adds a job. It starts when those before it are done.
  void Submit(std::function<void()> job);
  /// Returns when all jobs are done. \throws what the first job that failed threw; the jobs after it were not run.
  void Wait();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shardlab
