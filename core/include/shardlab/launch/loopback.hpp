#pragma once

#include <string>

namespace shardlab::launch {

/// Why processes of this machine cannot reach each other through the loopback interface, which Gloo needs, as a sentence
/// with what helps; empty when they can. A connection is made and closed: some 0.1 ms.
std::string WhyNoLoopback();

}  // namespace shardlab::launch
