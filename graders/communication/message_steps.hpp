#pragma once

#include <cstdint>

#include "shardlab/grade/case.hpp"

/// \file
/// The time that a program takes when every rank sends and receives one message at a time.

namespace shardlab::grade {

/// How many steps a run's messages take when every rank sends at most one message and receives at most one message in
/// a step, and sends nothing before what it received ahead of that has arrived. In a broadcast in which the root sends
/// to everybody, that is T - 1, although no message waits for another.
int64_t OneAtATimeSteps(const CaseOutcome& outcome);

/// ceil(log2 n), for n >= 1.
int64_t CeilLog2(int64_t n);

}  // namespace shardlab::grade
