#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "shardlab/base/where.hpp"
#include "shardlab/comm/record.hpp"

namespace shardlab {

/// "ring.cpp" of "/somewhere/ring.cpp": what a record calls a file.
const char* LastPart(const char* path);

/// While it lives, what this thread waits for is said to be waited for at `where`, and not at the line that started it.
/// For what starts operations in one call and waits for them in another.
class WaitsAt {
 public:
  /// Until it is destroyed; then the one before counts again.
  explicit WaitsAt(Where where);
  ~WaitsAt();
  WaitsAt(const WaitsAt&) = delete;
  WaitsAt& operator=(const WaitsAt&) = delete;

 private:
  Where before_;
};

/// One rank's mouth: writes records to a file descriptor, in an order that is the order of what happens.
///
/// All communicators of a rank (the world's and its sub-groups') share one announcer. Its functions may be called from
/// several threads. When nobody reads any more (a closed pipe), it falls silent and the rank goes on; for that, the
/// constructor makes the process ignore SIGPIPE.
class Announcer {
 public:
  /// Does not own `fd`, whose writing end may block.
  explicit Announcer(int fd);
  Announcer(const Announcer&) = delete;
  Announcer& operator=(const Announcer&) = delete;

  /// Announces an operation that is about to be started and returns its number. Fills in size, kind, thread, time, id.
  uint64_t Post(Record record, const std::vector<RecordPart>& parts = {});
  /// This thread is about to wait for operation `id`.
  void Block(uint64_t id);
  /// Operation `id` is complete, or (`failed`) ended with an error. `checksum`: see Record.
  void Unblock(uint64_t id, bool failed = false, uint64_t checksum = 0);
  /// What operation `id` returned is destroyed, and nobody has waited for it.
  void Drop(uint64_t id);
  /// This rank is number `rank` in the group.
  void Group(uint64_t id, const std::string& name, int rank, const std::vector<int>& world_ranks);
  /// A moment that somebody wants to see in the order of events.
  void Mark(const std::string& name);
  /// The rank's body returned.
  void Return();

  /// \name Helper threads
  /// A rank is blocked only when all threads that take part are. ThreadStarts is announced by whoever gives the helper
  /// its work, before the helper gets it: otherwise the rank could look blocked for a moment. Worker does all this.
  ///@{
  /// A number for a new helper thread: 1, 2, ...
  uint16_t NewThread();
  /// Says that the calling thread is helper `thread`; its records carry that number.
  static void SetThread(uint16_t thread);
  /// The calling thread gives helper `thread` something to do.
  void ThreadStarts(uint16_t thread);
  /// Helper `thread` has nothing left to do.
  void ThreadEnds(uint16_t thread);
  /// This thread is about to wait until helper `thread` is done; ends with Unblock(0).
  void Join(uint16_t thread);
  ///@}

 private:
  void Write(Record& record, size_t size, const std::vector<RecordPart>& parts = {});

  int fd_;
  std::mutex mutex_;
  uint64_t last_id_ = 0;
  uint16_t last_thread_ = 0;
  bool silent_ = false;
};

}  // namespace shardlab
