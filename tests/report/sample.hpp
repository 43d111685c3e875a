#pragma once

#include <string>

#include "shardlab/grade/case.hpp"
#include "shardlab/report/html.hpp"

namespace shardlab::sample {

/// The events of a ring step on `ranks` ranks: each posts a receive, sends, waits for the receive, returns; the body
/// marks its beginning. With `stuck`, the last rank never sends, so that rank 0 waits forever.
grade::CaseOutcome RingRun(int ranks, bool stuck = false);

/// What a hostile student's code would like a browser to run, and bytes that are no text.
std::string Hostile();

/// A report with everything that a page can show: a deadlock with its wait-for graph, wrong tensors of one, two and
/// four dimensions, a crash with stacks, a cost that is missed, curves, parts that are skipped, not written and do not
/// compile, very long words, and Hostile() in every place that a student's code can reach.
HtmlReport EverythingReport();

}  // namespace shardlab::sample
