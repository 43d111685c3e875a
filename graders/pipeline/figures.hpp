#pragma once

#include <functional>
#include <string>
#include <vector>

/// \file
/// What the papers' formulas say of each schedule.

namespace shardlab::grade {

/// One list that the student's generators are asked for.
struct AskedSchedule {
  std::string name;
  int ranks = 1;
  int microbatches = 1;
  int chunks = 1;
  int updates = 1;
  bool flush = false;
};

/// What the formulas say of a schedule for a stage with a forward of `tf` and a backward of `tb`.
struct Figures {
  double makespan = 0;        ///< 0: not checked
  std::vector<int> live;      ///< a rank: micro-batches (of its chunks) whose activations are kept; empty: not checked
  std::vector<int> versions;  ///< a chunk: weight versions held; empty: not checked
  std::vector<double> gaps;   ///< a rank: idle time between its first and last computation; empty: not checked
  std::vector<int> live_until_input;  ///< a rank: as `live`, until the gradient of the input; empty: not checked
};
using Formula = std::function<Figures(const AskedSchedule& asked, double tf, double tb)>;

/// \name The formulas
///@{
Figures OfNaive(const AskedSchedule& asked, double tf, double tb);
Figures OfGPipe(const AskedSchedule& asked, double tf, double tb);
Figures OfOneFOneB(const AskedSchedule& asked, double tf, double tb);
Figures OfInterleaved(const AskedSchedule& asked, double tf, double tb);
Figures OfH1(const AskedSchedule& asked, double tf, double tb);
Figures OfH2(const AskedSchedule& asked, double tf, double tb);
Figures OfPipeDream(const AskedSchedule& asked, double tf, double tb);
Figures OfTwoBuffered(const AskedSchedule& asked, double tf, double tb);
Figures OfWPipe(const AskedSchedule& asked, double tf, double tb);
///@}

}  // namespace shardlab::grade
