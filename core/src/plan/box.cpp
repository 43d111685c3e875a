#include "shardlab/plan/box.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <utility>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

namespace {

void RequireSameDims(const Box& a, const Box& b) {
  if (a.dims() != b.dims()) {
    throw ContractError(fmt::format("the boxes {} and {} have different numbers of dimensions: {} and {}", ToString(a),
                                    ToString(b), a.dims(), b.dims()));
  }
}

// Whether they have an element in common: Intersection without memory.
bool Meet(const Box& a, const Box& b) {
  for (size_t dim = 0; dim < a.ranges.size(); ++dim) {
    if (std::max(a.ranges[dim].begin, b.ranges[dim].begin) >= std::min(a.ranges[dim].end, b.ranges[dim].end)) {
      return false;
    }
  }
  return true;
}

bool BeginsBefore(const Box& a, const Box& b) {
  return std::lexicographical_compare(a.ranges.begin(), a.ranges.end(), b.ranges.begin(), b.ranges.end(),
                                      [](const Range& x, const Range& y) { return x.begin < y.begin; });
}

std::vector<Box> DifferenceOfAll(const Box& box, const std::vector<Box>& taken) {
  std::vector<Box> rest;
  if (!box.empty()) rest.push_back(box);
  for (const Box& other : taken) {
    std::vector<Box> next;
    for (const Box& piece : rest) {
      for (Box& part : Difference(piece, other)) next.push_back(std::move(part));
    }
    rest = std::move(next);
  }
  std::sort(rest.begin(), rest.end(), BeginsBefore);
  return rest;
}

void RequireOneTensor(const Distribution& from, const Distribution& to) {
  const Box* first = nullptr;
  for (const Distribution* distribution : {&from, &to}) {
    for (const Box& box : *distribution) {
      if (first == nullptr) first = &box;
      RequireSameDims(*first, box);
      for (const Range& range : box.ranges) {
        if (range.end < range.begin) {
          throw ContractError(fmt::format("a range of the box {} ends before it begins", ToString(box)));
        }
      }
    }
  }
}

// Of each owner, whether another one holds some of the same elements.
std::vector<bool> HoldWhatOthersHold(const Distribution& from) {
  std::vector<bool> overlaps(from.size());
  for (size_t i = 0; i < from.size(); ++i) {
    for (size_t j = 0; j < from.size() && !overlaps[i]; ++j) overlaps[i] = i != j && Meet(from[i], from[j]);
  }
  return overlaps;
}

// Calls `visit(owner)` for itself, then the nearest, the lower one first, until it returns false.
template <typename Visit>
void NearestFirst(int reader, int owners, Visit visit) {
  const int furthest = std::max(reader, owners - 1 - reader);
  for (int distance = 0; distance <= furthest; ++distance) {
    const int lower = reader - distance;
    const int upper = reader + distance;
    if (lower >= 0 && lower < owners && !visit(lower)) return;
    if (distance > 0 && upper < owners && !visit(upper)) return;
  }
}

}  // namespace

int64_t Box::volume() const {
  int64_t product = 1;
  for (const Range& range : ranges) product *= range.size();
  return product;
}

bool Box::empty() const {
  return std::any_of(ranges.begin(), ranges.end(), [](const Range& range) { return range.size() <= 0; });
}

Box WholeBox(const std::vector<int64_t>& sizes) {
  Box whole;
  for (const int64_t size : sizes) {
    if (size < 0) throw ContractError(fmt::format("a dimension of {} things does not exist", size));
    whole.ranges.push_back({0, size});
  }
  return whole;
}

std::vector<int64_t> Sizes(const Box& box) {
  std::vector<int64_t> sizes;
  for (const Range& range : box.ranges) sizes.push_back(range.size());
  return sizes;
}

Box Intersection(const Box& a, const Box& b) {
  RequireSameDims(a, b);
  Box common;
  for (size_t dim = 0; dim < a.ranges.size(); ++dim) {
    const int64_t begin = std::max(a.ranges[dim].begin, b.ranges[dim].begin);
    common.ranges.push_back({begin, std::max(begin, std::min(a.ranges[dim].end, b.ranges[dim].end))});
  }
  return common;
}

std::vector<Box> Difference(const Box& a, const Box& b) {
  RequireSameDims(a, b);
  if (a.empty()) return {};
  if (!Meet(a, b)) return {a};
  // Cut off what lies before and behind b, a dimension after the other; what is left at the end is in both.
  std::vector<Box> pieces;
  Box rest = a;
  for (size_t dim = 0; dim < a.ranges.size(); ++dim) {
    const Range whole = rest.ranges[dim];
    const Range middle{std::max(whole.begin, b.ranges[dim].begin), std::min(whole.end, b.ranges[dim].end)};
    for (const Range outside : {Range{whole.begin, middle.begin}, Range{middle.end, whole.end}}) {
      if (outside.size() == 0) continue;
      pieces.push_back(rest);
      pieces.back().ranges[dim] = outside;
    }
    rest.ranges[dim] = middle;
  }
  std::sort(pieces.begin(), pieces.end(), BeginsBefore);
  return pieces;
}

Box Relative(const Box& box, const Box& outer) {
  RequireSameDims(box, outer);
  Box moved = box;
  for (size_t dim = 0; dim < box.ranges.size(); ++dim) {
    if (box.ranges[dim].begin < outer.ranges[dim].begin || box.ranges[dim].end > outer.ranges[dim].end) {
      throw ContractError(fmt::format("the box {} does not lie in {}", ToString(box), ToString(outer)));
    }
    moved.ranges[dim].begin -= outer.ranges[dim].begin;
    moved.ranges[dim].end -= outer.ranges[dim].begin;
  }
  return moved;
}

std::vector<Move> Moves(const Distribution& from, const Distribution& to) {
  RequireOneTensor(from, to);
  const std::vector<bool> overlaps = HoldWhatOthersHold(from);
  std::vector<Move> moves;
  for (int reader = 0; reader < static_cast<int>(to.size()); ++reader) {
    const Box& needed = to[static_cast<size_t>(reader)];
    const int64_t volume = needed.empty() ? 0 : needed.volume();
    int64_t found = 0;
    const size_t first = moves.size();
    NearestFirst(reader, static_cast<int>(from.size()), [&](int owner) {
      if (found == volume) return false;
      const Box& held = from[static_cast<size_t>(owner)];
      if (!Meet(needed, held)) return true;
      const Box piece = Intersection(needed, held);
      std::vector<Box> taken;
      for (size_t i = first; overlaps[static_cast<size_t>(owner)] && i < moves.size(); ++i) {
        if (Meet(moves[i].box, piece)) taken.push_back(moves[i].box);
      }
      for (Box& part : DifferenceOfAll(piece, taken)) {
        found += part.volume();
        moves.push_back({owner, reader, std::move(part)});
      }
      return true;
    });
    if (found < volume) {
      std::vector<Box> have;
      for (size_t i = first; i < moves.size(); ++i) have.push_back(moves[i].box);
      throw ContractError(fmt::format("rank {} needs {}, of which no rank has {}", reader, ToString(needed),
                                      ToString(DifferenceOfAll(needed, have).front())));
    }
  }
  return moves;
}

std::vector<Move> Reversed(std::vector<Move> moves) {
  for (Move& move : moves) std::swap(move.from, move.to);
  return moves;
}

int64_t CountMessages(const std::vector<Move>& moves) {
  return std::count_if(moves.begin(), moves.end(), [](const Move& move) { return move.from != move.to; });
}

std::string ToString(const Box& box) {
  std::string text;
  for (const Range& range : box.ranges)
    text += fmt::format("{}{}:{}", text.empty() ? "" : ", ", range.begin, range.end);
  return "[" + text + "]";
}

Box ParseBox(std::string_view text) {
  std::string_view rest = text;
  const auto refuse = [&](const char* why) -> ContractError {
    return ContractError(fmt::format("'{}' is no box such as [0:4, 8:16]: {}", text, why));
  };
  const auto skip_spaces = [&] { rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size())); };
  const auto take = [&](char c) {
    skip_spaces();
    const bool is_next = !rest.empty() && rest.front() == c;
    if (is_next) rest.remove_prefix(1);
    return is_next;
  };
  const auto number = [&] {
    skip_spaces();
    int64_t value = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    if (error != std::errc()) throw refuse("a range is two whole numbers with a colon between");
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    return value;
  };
  Box box;
  if (!take('[')) throw refuse("it does not begin with '['");
  while (!take(']')) {
    if (!box.ranges.empty() && !take(',')) throw refuse("after a range comes ',' or ']'");
    const int64_t begin = number();
    if (!take(':')) throw refuse("a range is two whole numbers with a colon between");
    box.ranges.push_back({begin, number()});
    if (box.ranges.back().size() < 0) throw refuse("a range ends before it begins");
  }
  skip_spaces();
  if (!rest.empty()) throw refuse("something comes behind the ']'");
  return box;
}

}  // namespace shardlab
