#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

#include "shardlab/report/terminal.hpp"

/// \file
/// How far a long piece of work is: a bar that is redrawn in place on a terminal, plain lines elsewhere.

namespace shardlab {

/// Shows the progress of one piece of work on a stream, from one thread.
///
///     Progress progress("training", 200);
///     for (int step = 0; step < 200; ++step) {
///       ...
///       progress.Update(step + 1, fmt::format("loss {:.3f}", loss));
///     }                                   // the bar disappears with `progress`
///
/// On a terminal:  training  ━━━━━━━━━━━━━━━━━━━━━━━━━  83/200  4.1 s  loss 1.302
/// Elsewhere a line when a tenth more is done, but at most one a second, and one at the end.
/// An Update() costs a microsecond unless it draws; the bar is drawn at most 20 times a second.
class Progress {
 public:
  /// \param total how many steps there are; 0 where that is not known yet (see SetTotal()).
  /// \param stream where to; must outlive this object.
  Progress(std::string title, int64_t total, std::FILE* stream = stderr);
  /// The same with a terminal that was looked at before.
  Progress(std::string title, int64_t total, std::FILE* stream, const Terminal& terminal);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Erases the bar.
  ~Progress();

  /// Corrects the number of steps.
  void SetTotal(int64_t total) { total_ = total; }

  /// How much of the work is done, 0 to 1, where steps differ in length. The bar shows that from now on.
  void SetShare(double share) { share_ = share; }

  /// `done` steps are done; `what` says where the work is or how it goes.
  void Update(int64_t done, const std::string& what = "");

  /// Takes the bar away so that something can be printed; the next Update() brings it back.
  void Hide();

 private:
  using Clock = std::chrono::steady_clock;

  double Share() const;
  void Draw();
  void PrintLine();

  std::string title_;
  std::string what_;
  int64_t total_;
  int64_t done_ = 0;
  std::optional<double> share_;
  std::FILE* stream_;
  Terminal terminal_;
  Clock::time_point start_;
  Clock::time_point last_;
  bool drawn_ = false;
  int64_t printed_tenths_ = 0;
};

}  // namespace shardlab
