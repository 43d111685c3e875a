#pragma once

#include <string>
#include <vector>

#include "shardlab/report/score_card.hpp"
#include "shardlab/report/terminal.hpp"

/// \file
/// The score card as a person reads it.

namespace shardlab {

/// What to show beside the card's content.
struct CardTextOptions {
  /// A line for the end that says what to do next; empty: RenderScoreCard() says it itself, from the first part that is
  /// not passed.
  std::string next;
  /// Lines that the first entry of a part may take; the rest is left out and counted.
  size_t reason_lines = 20;
  /// The same of its other entries.
  size_t further_reason_lines = 8;
};

/// A line a part with its mark, points and status. Below a part that is not passed: an entry a broken function, as
/// FindBroken() gives them; those that are not written yet in one line; the names of the cases that fail besides; then what
/// each kind of case is worth that does not pass yet. Below every part: its costs beside their targets. At the end the
/// sums, the seed, the time, and the one next thing to do. Lines are at most `terminal.width` columns wide, but for words
/// that are wider.
std::string RenderScoreCard(const ScoreCard& card, const Terminal& terminal, const CardTextOptions& options = {});

/// What the next points of a part are given for: a line for each kind of case that does not pass yet, with its points.
/// Until all value cases pass, one line for these. Empty for a part that passed, did not compile or did not run.
std::vector<std::string> MissingPoints(const PartScore& part);

/// The part to work on next: the first that is neither passed nor waits for another one, bonus parts last; nullptr if
/// there is none.
const PartScore* NextPart(const ScoreCard& card);

/// The sign of a status: a tick, a cross, a circle, a dot; one ASCII letter where there is no Unicode.
std::string Mark(grade::Status status, const Terminal& terminal);

/// The tone of a status: good, bad, a warning, or quiet.
Tone ToneOf(grade::Status status);

/// "2.5 of 5" or, with bonus points, "2.5 of 5, bonus 0 of 2".
std::string PointsText(double score, double max, double bonus, double bonus_max);

}  // namespace shardlab
