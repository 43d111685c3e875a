#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shardlab/base/split.hpp"

/// \file
/// Which part of a tensor each rank holds, and the messages that change it.
///
/// A *box* is a half-open range a dimension. A *distribution* is a box a rank. `Moves(from, to)` lists what travels when
/// the ranks hold `from` and need `to`. With two tiles and a halo one column wide:
///
///              from (tiles)    to (tiles with halo)    Moves(from, to)
///     rank 0   [0:4, 0:4]      [0:4, 0:5]              0 -> 0 [0:4, 0:4]   1 -> 0 [0:4, 4:5]
///     rank 1   [0:4, 4:8]      [0:4, 3:8]              1 -> 1 [0:4, 4:8]   0 -> 1 [0:4, 3:4]
///
/// The same function says how tiles become a whole image again, and which part of a checkpoint a rank reads. The
/// backward of such an exchange is the same list reversed: what arrives is added to what is there.

namespace shardlab {

/// A half-open range a dimension, in the indices of the full tensor. A scalar's box has no dimension and one element;
/// where some ranks hold a scalar and others do not, give it a dimension of size 1.
struct Box {
  std::vector<Range> ranges;  ///< by dimension; begin <= end

  /// How many dimensions.
  int64_t dims() const { return static_cast<int64_t>(ranges.size()); }
  /// How many elements.
  int64_t volume() const;
  /// Whether there is no element in it.
  bool empty() const;

  /// Equal boxes have equal ranges, empty ones too.
  friend bool operator==(const Box& a, const Box& b) { return a.ranges == b.ranges; }
  /// Not equal.
  friend bool operator!=(const Box& a, const Box& b) { return !(a == b); }
};

/// A box a rank. The boxes may overlap, as replicas and halos do, and some may be empty.
using Distribution = std::vector<Box>;

/// Some elements that one rank gives to another, or, with from == to, copies from what it holds to what it needs.
struct Move {
  int from = 0;  ///< who gives
  int to = 0;    ///< who gets
  Box box;       ///< what, in the indices of the full tensor; never empty

  /// Equal moves carry the same elements between the same ranks.
  friend bool operator==(const Move& a, const Move& b) { return a.from == b.from && a.to == b.to && a.box == b.box; }
};

/// The box of a whole tensor: [0:sizes[0], 0:sizes[1], ...].
/// \throws ContractError when a size is negative.
Box WholeBox(const std::vector<int64_t>& sizes);

/// The size of each dimension: the shape of the tensor that holds the box's elements.
std::vector<int64_t> Sizes(const Box& box);

/// What `a` and `b` have in common; empty where they do not meet.
/// \throws ContractError unless both have the same number of dimensions.
Box Intersection(const Box& a, const Box& b);

/// What of `a` is not in `b`, as at most 2 x dims boxes that do not overlap, in ascending order of their first element.
/// \throws ContractError unless both have the same number of dimensions.
std::vector<Box> Difference(const Box& a, const Box& b);

/// `box` in the indices of the tensor that holds the elements of `outer`: where to cut it out or to put it in.
/// \throws ContractError unless `outer` contains `box`.
Box Relative(const Box& box, const Box& outer);

/// How the ranks that hold `from` come to hold `to`: each element that a rank needs, from exactly one owner.
///
/// The owner is the reader itself where it has the element; otherwise the rank nearest to it, |owner - reader|, of two as
/// near the lower one. So replicas that are spread over the ranks share the work. Where the owners' boxes do not overlap
/// there is one move for each pair (owner, reader) whose boxes meet. Where they overlap a pair can have several.
///
/// The list is in ascending order of the reader, for each reader in the order of its owners (itself, then the nearest),
/// for each owner in ascending order of the first element. It begins with the copies from == to, which are no messages.
/// A rank may be in one of the two distributions only: a shorter one holds nothing for the ranks behind its end.
///
/// Cost for P ranks: at most P^2 comparisons of two boxes to see which owners overlap, and P a reader, fewer where its
/// owners are near. An owner that overlaps another is besides compared with what its reader has got before.
///
/// \throws ContractError when no rank has an element that one needs (it names the reader and the first box that is
/// missing), when the boxes have different numbers of dimensions, or a range ends before it begins.
std::vector<Move> Moves(const Distribution& from, const Distribution& to);

/// The adjoint: the same list with givers and readers exchanged. Used with addition: <H x, y> = <x, H' y>.
std::vector<Move> Reversed(std::vector<Move> moves);

/// How many of the moves are messages, that is between two ranks.
int64_t CountMessages(const std::vector<Move>& moves);

/// "[0:4, 8:16]"; "[]" for a scalar's box.
std::string ToString(const Box& box);

/// Reads what ToString prints; spaces between numbers and signs make no difference.
/// \throws ContractError when it is none, or a range ends before it begins.
Box ParseBox(std::string_view text);

}  // namespace shardlab
