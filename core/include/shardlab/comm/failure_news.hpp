#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include <c10/util/intrusive_ptr.h>

namespace c10d {
class Store;
}

namespace shardlab {

/// How the ranks of a world learn that one of them has failed, and why.
///
/// A rank that ends closes its connections, which tells whoever waits for it, and only those, and not why:
///
///     rank 3   throws "the loss is on strike", and ends
///     rank 2   computes for a minute
///     rank 1   waits for rank 2, and would wait for a minute
///
/// So the first rank to fail leaves a note in the store in which the ranks have met, and each rank looks there from
/// time to time: what it waits for it then gives up, and says what the note says.
class FailureNews {
 public:
  /// \param store where the ranks of the world have met.
  /// \param rank this one, in the world.
  FailureNews(c10::intrusive_ptr<c10d::Store> store, int rank);
  ~FailureNews();
  FailureNews(const FailureNews&) = delete;
  FailureNews& operator=(const FailureNews&) = delete;

  /// Leaves the note that rank `rank` has failed, unless another is there already.
  /// \param message why, of which the first line counts: "rank 3 failed at ..." as it is, all else behind "rank 3: ".
  static void Tell(c10d::Store& store, int rank, const std::string& message) noexcept;
  /// The same of this rank, unless it failed because another had: that one's is the news.
  void Tell(const std::string& message) noexcept;

  /// What the first rank to fail has told; empty when none has. Looks in the store.
  std::string Heard() noexcept;
  /// As Heard; waits for up to `limit_s` until there is something.
  std::string Await(double limit_s) noexcept;

  /// Whether Heard is known to have something: costs nothing.
  bool known() const { return known_; }

  /// Runs `wait`. As soon as another rank has failed, and again and again until `wait` returns, calls `give_up` from
  /// another thread.
  void Wait(const std::function<void()>& wait, const std::function<void()>& give_up);

  /// An operation of this rank has failed because another rank had.
  void MarkConsequence() { consequence_ = true; }
  /// Whether one has: then what this rank throws is no news.
  bool consequence() const { return consequence_; }

 private:
  void Watch();

  const c10::intrusive_ptr<c10d::Store> store_;
  const int rank_;
  std::atomic<bool> known_{false};
  std::atomic<bool> consequence_{false};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::string heard_;
  std::map<int, std::function<void()>> waiting_;  // how each is given up
  int next_ = 0;
  bool ends_ = false;
  std::thread watcher_;  // from the first Wait on
};

}  // namespace shardlab
