#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace shardlab {

struct Schedule;

/// A schedule that cannot be made, read or run.
///
/// `what()` is one sentence. Where the fault has a place, `rank()` and `step()` say which entry of which list it is
/// (both -1 otherwise), and `table()` shows the lists of all ranks around it with the entry marked: print both.
class ScheduleError : public std::runtime_error {
 public:
  /// See above for what each is.
  explicit ScheduleError(const std::string& what, int rank = -1, int step = -1, std::string table = {})
      : std::runtime_error(what), rank_(rank), step_(step), table_(std::move(table)) {}

  /// Whose list, or -1.
  int rank() const { return rank_; }
  /// Which entry of it, from 0, or -1.
  int step() const { return step_; }
  /// The lists around the fault, or empty.
  const std::string& table() const { return table_; }

 private:
  int rank_;
  int step_;
  std::string table_;
};

/// An entry to point at, and what to say of it.
struct ListMark {
  int rank = 0;           ///< whose list
  int step = 0;           ///< which entry of it; may be one past the end
  std::string note = {};  ///< what is to be said of it
};

/// The lists around the marked entries, a line a rank, the entries in brackets; ranks without a mark are shown around
/// the step of the first mark.
std::string ErrorTable(const Schedule& schedule, const std::vector<ListMark>& marks);

/// The error that a rank's failure becomes: "rank 2 failed at 2F5 (entry 17 of its list): ...", with the table around
/// it.
ScheduleError FailureAt(const Schedule& schedule, int rank, int step, const std::string& cause);

}  // namespace shardlab
