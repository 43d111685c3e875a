#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "shardlab/plan/schedule.hpp"
#include "shardlab/plan/simulate.hpp"

/// \file
/// Pictures of a simulated schedule: a line or a row a rank, time from left to right.

namespace shardlab {

/// "4 ranks, 8 micro-batches" or "4 ranks of 2 chunks (looped), 8 micro-batches", as titles have it.
std::string DescribeSize(const Schedule& schedule);

/// What the terminal can show.
struct TextDrawing {
  size_t width = 100;    ///< Columns to use, at least 40.
  bool colour = false;   ///< Escape sequences for 256 colours are understood and wanted.
  bool unicode = false;  ///< The character set is UTF-8.
  /// Where positive, the time that takes all of the width: what was measured is drawn whole, whatever room that leaves
  /// for labels, and two pictures of one scale can be held against each other. Otherwise the scale is chosen so that
  /// labels fit.
  double whole = 0;
};

/// The schedule for a terminal. Every action is as wide as it is long; idle time is dotted. What is too long for the
/// width loses its middle: the beginning and the end of a schedule are where the bubbles are.
///
///     rank 0   F0 F1 F2 ............B0--- F3 B1--- ...B2--- ...B3---
///     rank 1   ...F0 F1 ......B0--- F2 B1--- F3 B2--- ...B3--- ......
///     rank 2   ......F0 B0--- F1 B1--- F2 B2--- F3 B3--- ............
///
/// Where ranks have several chunks the label says which (`2F0`), or small letters stand for every second chunk of a
/// rank. In colour the kind is the colour and the label is the micro-batch; every second chunk of a rank is paler.
/// Where there is no room for labels, letters (in colour: last digits) are left of them.
std::string DrawText(const Schedule& schedule, const Simulation& simulation, const TextDrawing& options = {});

/// The schedule as self-contained SVG, on a light or a dark ground as the reader's system prefers. Below every rank's
/// row: how many micro-batches it keeps alive. Steps are diamonds; messages that take time are lines. Pointing at an
/// action shows what it is and when.
std::string DrawSvg(const Schedule& schedule, const Simulation& simulation);

/// What one process of a trace shows: a schedule as it was simulated, or as it ran.
struct TracedRun {
  std::string title;             ///< "plan", "run"; empty: the schedule's name alone
  const Schedule& schedule;      ///< has to live until the trace is written
  const Simulation& simulation;  ///< when its actions began and ended
};

/// Runs in the trace-event format that Perfetto (ui.perfetto.dev) and chrome://tracing open, one below the other: each
/// a process with a thread a rank, slices for actions, marks for those that take no time, arrows from the computation
/// that made a tensor to the one on another rank that needs it, and a counter of live micro-batches a rank.
/// \param microseconds how long a unit of the simulations' time is.
std::string ToChromeTrace(const std::vector<TracedRun>& runs, double microseconds);

/// One schedule alone.
std::string ToChromeTrace(const Schedule& schedule, const Simulation& simulation, double microseconds = 1000);

}  // namespace shardlab
