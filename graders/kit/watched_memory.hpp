#pragma once

#include <cstddef>

namespace shardlab::grade {

/// Memory that knows which thread was the first to touch each of its blocks.
///
/// Shares of time say little of how a copy was divided: load, page faults and the filling of new memory change them. So
/// the memory is closed to every access, a fault says who touches a block, and opens it:
///
///     thread 0   |##......|########|                (1)  ahead of all others by more than an eighth of the blocks:
///     thread 1            |########|######..|            it waits in its fault until they follow
///
/// (1) is what makes the answer the same on a loaded machine. Threads that take piece by piece (a dynamic schedule)
/// would otherwise leave all of it to the one that happens to run. Nobody waits as long as no thread has been started
/// since the object was made, and nobody any more once some seconds passed in vain.
///
/// One object at a time watches in a process.
class WatchedMemory {
 public:
  /// `blocks` blocks of kBlockBytes bytes, which are zero.
  explicit WatchedMemory(size_t blocks);
  ~WatchedMemory();
  WatchedMemory(const WatchedMemory&) = delete;
  WatchedMemory& operator=(const WatchedMemory&) = delete;

  static constexpr size_t kBlockBytes = 64 << 10;

  void* data() const { return data_; }
  size_t blocks() const { return blocks_; }

  /// Forgets who came, and closes the memory.
  void Watch();
  /// Opens it. \returns the share of the blocks that threads other than the busiest one were the first to touch.
  double ShareOfOthers();

 private:
  void* data_;
  size_t blocks_;
  size_t threads_;  ///< of the process, when this was made
};

}  // namespace shardlab::grade
