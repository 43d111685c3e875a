#pragma once

#include <string>
#include <vector>

#include "shardlab/grade/case.hpp"

namespace shardlab {

/// The wait-for graph of a deadlock as inline SVG for the report's page (its colours are the page's classes
/// `wg-...`): ranks on a circle, an arrow from who waits to whom it waits for, the cycle's arrows heavy and red; a rank
/// that is waited for and does not wait itself is dashed. Of more than 16 ranks, those of the cycle come first and the
/// rest is left out and counted.
/// \param waits as in CaseOutcome::waits; what makes no sense (a rank below 0) is left out.
std::string WaitGraphSvg(const std::vector<grade::Waiting>& waits);

}  // namespace shardlab
