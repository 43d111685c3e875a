#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "shardlab/comm/communicator.hpp"
#include "shardlab/comm/matcher.hpp"

namespace shardlab::test {

/// How the ranks of one run ended.
struct ForkedRun {
  std::vector<std::string> errors;  ///< one a rank; empty where its body returned
  bool ok = true;                   ///< every body returned
  Verdict verdict;                  ///< what the matcher says; kNone for a run that was not announced
  double seconds_to_verdict = 0;    ///< from the last record to a deadlock's verdict
  std::unique_ptr<Matcher> matcher;

  std::string AllErrors() const;
};

/// Runs `body` in `ranks` forked processes that talk through Gloo, announced or not. The caller has run no
/// multi-threaded operation. Ranks that are late, and all ranks once the matcher has found something, are ended.
ForkedRun ForkRanks(int ranks, const std::function<void(Communicator&)>& body, bool announced = true,
                    double limit_s = 20);

}  // namespace shardlab::test
