#pragma once

#include <array>
#include <cstddef>

#include "shardlab/plan/action.hpp"
#include "shardlab/plan/layout.hpp"

/// \file
/// What has to come before what: the one statement of it, on which validation, simulation, the communication pass and
/// the drawings stand.
///
///                      chunk c-1              chunk c               chunk c+1
///
///     micro-batch i    F ----------(1)------> F ------------------> F
///                                             |(2)                  |
///                      B <------------------- B <------(3)--------- B, or I
///                                             I --(4)--> W
///
/// (1) a forward needs the output of the previous chunk; (2) a backward needs its own forward; (3) and the gradient
/// from the next chunk, which its B or its I yields; (4) the weight half needs the input half. Besides: whatever runs
/// on weight version k > 0 needs the STEP that makes it, a send needs what it sends, a receive the send, and a
/// REDUCE_GRAD needs every rank with the same weights to take part in it. A rank that holds both copies of a stage adds
/// them by itself, at the later of their two REDUCE_GRADs; so the STEP of either comes behind both.

namespace shardlab {

/// How what an action needs reaches it.
enum class Via {
  kMemory,      ///< It is left in this rank's memory by an earlier action of this rank.
  kMessage,     ///< It comes from another rank.
  kCollective,  ///< The other rank has to enter the same collective; neither is first.
};

/// At most `kMost` values, in place: a long schedule asks for the dependencies of millions of actions.
template <typename T, size_t kMost>
class Few {
 public:
  /// Adds a value behind the last. \throws std::out_of_range when there are `kMost` already.
  void push_back(const T& value) { values_.at(size_++) = value; }
  /// How many there are.
  size_t size() const { return size_; }
  /// Whether there is none.
  bool empty() const { return size_ == 0; }
  /// One of those that there are.
  const T& operator[](size_t index) const { return values_[index]; }
  /// The first, which there is.
  const T& front() const { return values_[0]; }
  /// The first, to go through all.
  const T* begin() const { return values_.data(); }
  /// Behind the last.
  const T* end() const { return values_.data() + size_; }

 private:
  std::array<T, kMost> values_{};
  size_t size_ = 0;
};

/// Something that an action needs: one of `any_of`, all of which are on the same chunk.
struct Dependency {
  Few<Action, 2> any_of;   ///< One of these will do.
  Via via = Via::kMemory;  ///< How it gets here.
};

/// All that `action` needs.
///
/// Actions in `any_of` carry the version only where it is part of what they are (REDUCE_GRAD and STEP). For an F, B or
/// I whose input is on another rank the dependency is the computation there, over Via::kMessage; `ReceiveOf` names the
/// receive that brings it.
/// \throws ScheduleError when the layout has no such chunk.
Few<Dependency, 3> Dependencies(const Layout& layout, const Action& action);

/// The receive that brings what a computation needs from another rank: RECV_F for F, RECV_B for B and I. Meaningful
/// only where Dependencies has a Via::kMessage for it.
Action ReceiveOf(const Action& action);

/// The send that a receive waits for: `3RECV_F1` gives `2SEND_F1` on a linear layout.
Action SendOf(const Layout& layout, const Action& receive);

/// The receive that a send goes to. The inverse of SendOf.
/// \throws ScheduleError when the chunk has no neighbour in that direction.
Action ReceiverOf(const Layout& layout, const Action& send);

}  // namespace shardlab
