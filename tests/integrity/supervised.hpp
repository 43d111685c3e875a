#pragma once

#include <map>
#include <string>

#include "shardlab/grade/session.hpp"

/// How a session went that ran in a process of its own, so that an attack on the supervisor does not end the tests.
struct Supervised {
  std::map<std::string, shardlab::grade::CaseResult>
      results;          ///< by the case's id without its ranks; of several the first that did not pass
  std::string error;    ///< what RunGradeSession threw, or how its process ended
  int wait_status = 0;  ///< of the process
  double seconds = 0;   ///< wall-clock time
  int left = 0;         ///< processes that were still there when the session had ended
};

/// Runs the session in a forked process and waits for at most `limit_s`. Whatever the session leaves is counted, and
/// killed.
Supervised RunSupervised(const shardlab::grade::SessionOptions& options, double limit_s);
