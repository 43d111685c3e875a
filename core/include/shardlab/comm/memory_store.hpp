#pragma once

#include <cstddef>
#include <memory>

#include <c10/util/intrusive_ptr.h>

namespace c10d {
class Store;
}

namespace shardlab {

/// Where forked processes tell each other how they can be reached: a c10d::Store in memory that they share, without a
/// file and without a server. LibTorch's FileStore asks its file again every 10 ms, which is most of the time that two
/// processes take to connect; here a waiting process is woken.
///
///     parent     StoreMemory memory;  fork, fork, fork
///     each child MakeGlooCommunicator(memory.Store(), rank, size)
///
/// Entries are appended to a log that is never rewritten: the addresses of 128 ranks and of all their groups are far
/// below its 16 MiB, of which only what is used takes memory. A child that dies while it writes leaves the others
/// able to go on.
class StoreMemory {
 public:
  /// \throws EnvironmentError when there is no memory to share.
  StoreMemory();
  ~StoreMemory();
  StoreMemory(const StoreMemory&) = delete;
  StoreMemory& operator=(const StoreMemory&) = delete;

  /// This process's access. It stays usable after the StoreMemory is gone.
  c10::intrusive_ptr<c10d::Store> Store() const;

 private:
  class Log;
  class LogStore;
  std::shared_ptr<Log> log_;
};

}  // namespace shardlab
