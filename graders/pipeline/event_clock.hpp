#pragma once

#include <string>

#include "shardlab/grade/referee.hpp"

/// \file
/// How long a step takes by the order of what its ranks did, in a time in which only what is said takes any: the same on
/// an idle machine and on a busy one.

namespace shardlab::grade {

/// What takes time.
struct EventCosts {
  double forward = 1;        ///< each mark "forward" of the probes
  double half_backward = 1;  ///< each mark "half backward": the gradient of a layer's input, or of its weights
  double receive_delay = 0;  ///< a receive is done at least so long after it was posted
};

/// From the marks `from` to the marks `to`, which a barrier precedes each: a rank does one thing after the other; a
/// receive is done when its message was sent, a send when its receive was posted, a collective when all are in it.
/// 0 when the order of the events makes no sense.
double StepTime(const Run& run, const std::string& from, const std::string& to, const EventCosts& costs = {});

}  // namespace shardlab::grade
