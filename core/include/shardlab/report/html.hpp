#pragma once

#include <map>
#include <string>
#include <vector>

#include "shardlab/grade/learning_curve.hpp"
#include "shardlab/report/score_card.hpp"
#include "shardlab/report/timeline.hpp"

/// \file
/// A grading run as one page for a browser.

namespace shardlab {

/// What the page shows beside the score card.
struct HtmlReport {
  ScoreCard card;                            ///< points, and every case's result
  std::vector<grade::LearningCurve> curves;  ///< shown with their parts
  /// By the part's and the case's id, "communication.ring/values/ranks=3". That of a case that failed is shown with the
  /// case, that of one that passed with its part.
  std::map<std::string, Timeline> timelines;
  std::string next;  ///< what to do next, one line or more; may be empty
};

/// One self-contained page: no script, no file and no network besides itself, and a policy in it that forbids them.
/// Whatever comes from a student's code is escaped, and bytes that are not UTF-8 are replaced. Evidence that is missing
/// or malformed is left out.
/// Cost: linear; the page of all modules passed is below 1 MB. Timelines beyond a budget of 3 MB are left out, and the
/// page says so.
std::string ToHtml(const HtmlReport& report);

}  // namespace shardlab
