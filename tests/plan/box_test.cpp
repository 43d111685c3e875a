// Boxes and moves, against a plain search through all elements.

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "../texts.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/plan/box.hpp"

namespace shardlab {

void PrintTo(const Box& box, std::ostream* out) { *out << ToString(box); }
void PrintTo(const Move& move, std::ostream* out) {
  *out << move.from << " -> " << move.to << " " << ToString(move.box);
}

namespace {

using Random = std::mt19937;
using Point = std::vector<int64_t>;
using Values = std::map<Point, int64_t>;  // a tensor that holds a box, by the index in the full tensor

int Pick(Random& random, int from, int to) { return std::uniform_int_distribution<int>(from, to)(random); }

std::vector<Point> PointsOf(const Box& box) {
  std::vector<Point> points = {{}};
  for (const Range& range : box.ranges) {
    std::vector<Point> longer;
    for (const Point& point : points) {
      for (int64_t i = range.begin; i < range.end; ++i) {
        longer.push_back(point);
        longer.back().push_back(i);
      }
    }
    points = std::move(longer);
  }
  return points;
}

bool Contains(const Box& box, const Point& point) {
  for (size_t dim = 0; dim < point.size(); ++dim) {
    if (point[dim] < box.ranges[dim].begin || point[dim] >= box.ranges[dim].end) return false;
  }
  return true;
}

Box RandomBox(Random& random, const Box& within) {
  Box box;
  for (const Range& range : within.ranges) {
    const int begin = Pick(random, static_cast<int>(range.begin), static_cast<int>(range.end));
    box.ranges.push_back({begin, Pick(random, begin, static_cast<int>(range.end))});
  }
  return box;
}

Box RandomWhole(Random& random) {
  std::vector<int64_t> sizes;
  for (int dims = Pick(random, 0, 3); dims > 0; --dims) sizes.push_back(Pick(random, 1, 6));
  return WholeBox(sizes);
}

// The rank that the contract names, found in another way: all owners sorted.
std::optional<int> OwnerOf(const Point& point, int reader, const Distribution& from) {
  std::vector<std::pair<int, int>> owners;  // distance, rank
  for (int rank = 0; rank < static_cast<int>(from.size()); ++rank) {
    if (Contains(from[static_cast<size_t>(rank)], point)) owners.emplace_back(std::abs(rank - reader), rank);
  }
  if (owners.empty()) return std::nullopt;
  return std::min_element(owners.begin(), owners.end())->second;
}

// What the ranks hold after the moves: each element of each move is added to what its reader has.
std::vector<Values> Carry(const std::vector<Move>& moves, const std::vector<Values>& held, size_t readers) {
  std::vector<Values> got(readers);
  for (const Move& move : moves) {
    for (const Point& point : PointsOf(move.box)) {
      got.at(static_cast<size_t>(move.to))[point] += held.at(static_cast<size_t>(move.from)).at(point);
    }
  }
  return got;
}

std::vector<Values> RandomValues(Random& random, const Distribution& distribution) {
  std::vector<Values> values;
  for (const Box& box : distribution) {
    values.emplace_back();
    for (const Point& point : PointsOf(box)) values.back()[point] = Pick(random, -9, 9);
  }
  return values;
}

int64_t Dot(const std::vector<Values>& a, const std::vector<Values>& b) {
  int64_t sum = 0;
  for (size_t rank = 0; rank < a.size(); ++rank) {
    for (const auto& [point, value] : a[rank]) sum += value * b[rank].at(point);
  }
  return sum;
}

// R x C tiles of an image, and the same tiles grown by a halo that ends at the border of the image.
Distribution Tiles(int64_t height, int64_t width, int64_t rows, int64_t columns, int64_t halo = 0) {
  const auto grown = [&](const Range& range, int64_t size) {
    return Range{std::max<int64_t>(range.begin - halo, 0), std::min(range.end + halo, size)};
  };
  Distribution tiles;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      tiles.push_back(
          {{grown(SplitRange(height, rows, row), height), grown(SplitRange(width, columns, column), width)}});
    }
  }
  return tiles;
}

void ExpectThrows(const std::function<void()>& call, const std::string& words) {
  const std::string message = MessageOf(call);
  EXPECT_NE(message.find(words), std::string::npos) << message;
}

TEST(Boxes, PrintAndParse) {
  const Box box{{{0, 4}, {8, 16}}};
  EXPECT_EQ(ToString(box), "[0:4, 8:16]");
  EXPECT_EQ(ParseBox("[0:4, 8:16]"), box);
  EXPECT_EQ(ParseBox(" [ 0 : 4,8:16 ] "), box);
  EXPECT_EQ(ToString(Box{}), "[]");
  EXPECT_EQ(ParseBox("[]"), Box{});
  EXPECT_EQ(ParseBox("[-3:-1]"), (Box{{{-3, -1}}}));
  EXPECT_EQ(ParseBox("[5:5]"), (Box{{{5, 5}}}));
  for (const char* wrong : {"", "[", "0:4", "[0:4", "[0:4,]", "[,0:4]", "[0:4 8:16]", "[0:4] x", "[0;4]", "[0:]",
                            "[:4]", "[a:4]", "[1 2:4]", "[4:0]", "[0:4]]", "[99999999999999999999:4]"}) {
    EXPECT_THROW(ParseBox(wrong), ContractError) << wrong;
  }
  ExpectThrows([] { ParseBox("[4:0]"); }, "'[4:0]' is no box such as [0:4, 8:16]: a range ends before it begins");
}

TEST(Boxes, SizesAndElements) {
  const Box box{{{0, 4}, {8, 16}}};
  EXPECT_EQ(box.dims(), 2);
  EXPECT_EQ(box.volume(), 32);
  EXPECT_FALSE(box.empty());
  EXPECT_EQ(Sizes(box), (std::vector<int64_t>{4, 8}));
  EXPECT_EQ(WholeBox({4, 8}), (Box{{{0, 4}, {0, 8}}}));
  EXPECT_EQ(Box{}.volume(), 1);
  EXPECT_FALSE(Box{}.empty());
  EXPECT_TRUE((Box{{{0, 4}, {8, 8}}}).empty());
  ExpectThrows([] { WholeBox({2, -1}); }, "a dimension of -1 things does not exist");
}

TEST(Boxes, ABoxInsideAnother) {
  EXPECT_EQ(Relative({{{2, 3}, {8, 9}}}, {{{1, 4}, {8, 16}}}), (Box{{{1, 2}, {0, 1}}}));
  ExpectThrows([] { Relative({{{2, 5}}}, {{{1, 4}}}); }, "the box [2:5] does not lie in [1:4]");
  ExpectThrows([] { Relative({{{2, 5}}}, {}); }, "different numbers of dimensions: 1 and 0");
}

TEST(Boxes, IntersectionAndDifferenceDivideABox) {
  Random random(1);
  for (int round = 0; round < 300; ++round) {
    const Box whole = RandomWhole(random);
    const Box a = RandomBox(random, whole);
    const Box b = RandomBox(random, whole);
    std::map<Point, int> times;
    for (const Point& point : PointsOf(Intersection(a, b))) {
      EXPECT_TRUE(Contains(b, point));
      ++times[point];
    }
    const std::vector<Box> outside = Difference(a, b);
    EXPECT_LE(static_cast<int64_t>(outside.size()), std::max<int64_t>(2 * a.dims(), 1));
    for (const Box& box : outside) {
      EXPECT_FALSE(box.empty());
      for (const Point& point : PointsOf(box)) {
        EXPECT_FALSE(Contains(b, point));
        ++times[point];
      }
    }
    const std::vector<Point> points = PointsOf(a);
    EXPECT_EQ(times.size(), points.size()) << ToString(a) << " and " << ToString(b);
    for (const Point& point : points) EXPECT_EQ(times[point], 1) << ToString(a) << " and " << ToString(b);
  }
  EXPECT_THROW(Intersection({{{0, 1}}}, {}), ContractError);
  EXPECT_THROW(Difference({{{0, 1}}}, {}), ContractError);
}

TEST(MovesOfBoxes, TheFigure) {
  const Distribution tiles = Tiles(4, 8, 1, 2);
  const Distribution grown = Tiles(4, 8, 1, 2, 1);
  const std::vector<Move> moves = Moves(tiles, grown);
  EXPECT_EQ(moves, (std::vector<Move>{{0, 0, ParseBox("[0:4, 0:4]")},
                                      {1, 0, ParseBox("[0:4, 4:5]")},
                                      {1, 1, ParseBox("[0:4, 4:8]")},
                                      {0, 1, ParseBox("[0:4, 3:4]")}}));
  EXPECT_EQ(CountMessages(moves), 2);
  EXPECT_EQ(Reversed(moves)[1], (Move{0, 1, ParseBox("[0:4, 4:5]")}));
}

TEST(MovesOfBoxes, EveryElementComesOnceFromTheNearestOwner) {
  Random random(2);
  int complete = 0;
  int incomplete = 0;
  for (int round = 0; round < 600; ++round) {
    const Box whole = RandomWhole(random);
    Distribution from(static_cast<size_t>(Pick(random, 1, 7)));
    Distribution to(static_cast<size_t>(Pick(random, 1, 7)));
    for (Box& box : from) box = round % 2 == 0 && Pick(random, 0, 2) == 0 ? whole : RandomBox(random, whole);
    if (round % 2 == 0) from[static_cast<size_t>(Pick(random, 0, static_cast<int>(from.size()) - 1))] = whole;
    for (Box& box : to) box = RandomBox(random, whole);

    bool has_all = true;
    for (size_t reader = 0; reader < to.size(); ++reader) {
      for (const Point& point : PointsOf(to[reader])) has_all &= OwnerOf(point, 0, from).has_value();
    }
    if (!has_all) {
      ++incomplete;
      EXPECT_THROW(Moves(from, to), ContractError);
      continue;
    }
    ++complete;
    std::vector<std::map<Point, std::vector<int>>> owners(to.size());
    int last_reader = 0;
    for (const Move& move : Moves(from, to)) {
      EXPECT_FALSE(move.box.empty());
      EXPECT_GE(move.to, last_reader);
      last_reader = move.to;
      for (const Point& point : PointsOf(move.box)) owners[static_cast<size_t>(move.to)][point].push_back(move.from);
    }
    for (size_t reader = 0; reader < to.size(); ++reader) {
      const std::vector<Point> points = PointsOf(to[reader]);
      EXPECT_EQ(owners[reader].size(), points.size());
      for (const Point& point : points) {
        EXPECT_EQ(owners[reader][point], std::vector<int>{*OwnerOf(point, static_cast<int>(reader), from)});
      }
    }
  }
  EXPECT_GT(complete, 100);
  EXPECT_GT(incomplete, 50);
}

TEST(MovesOfBoxes, TheListReversedIsTheAdjoint) {
  Random random(3);
  for (int round = 0; round < 200; ++round) {
    const Box whole = RandomWhole(random);
    Distribution from(static_cast<size_t>(Pick(random, 1, 6)));
    Distribution to(static_cast<size_t>(Pick(random, 1, 6)));
    for (Box& box : from) box = RandomBox(random, whole);
    from.back() = whole;
    for (Box& box : to) box = RandomBox(random, whole);
    const std::vector<Move> moves = Moves(from, to);
    const std::vector<Values> x = RandomValues(random, from);
    const std::vector<Values> y = RandomValues(random, to);
    EXPECT_EQ(Dot(Carry(moves, x, to.size()), y), Dot(Carry(Reversed(moves), y, from.size()), x));
  }
}

TEST(MovesOfBoxes, CountsOfHaloExchanges) {
  EXPECT_EQ(CountMessages(Moves(Tiles(8, 8, 2, 2), Tiles(8, 8, 2, 2, 1))), 12);
  for (int rows = 1; rows <= 5; ++rows) {
    for (int columns = 1; columns <= 5; ++columns) {
      const std::vector<Move> moves = Moves(Tiles(17, 19, rows, columns), Tiles(17, 19, rows, columns, 2));
      const int edges = 2 * (rows * (columns - 1) + columns * (rows - 1));
      const int corners = 4 * (rows - 1) * (columns - 1);
      EXPECT_EQ(CountMessages(moves), edges + corners) << rows << " x " << columns;
      EXPECT_EQ(moves.size(), static_cast<size_t>(edges + corners + rows * columns)) << rows << " x " << columns;
    }
  }
  // 3x3 with stride 2 on 8 x 8: an output row needs the input rows 2o-1 to 2o+1, so nothing from the right or below.
  const Distribution needed = {ParseBox("[0:4, 0:4]"), ParseBox("[0:4, 3:8]"), ParseBox("[3:8, 0:4]"),
                               ParseBox("[3:8, 3:8]")};
  EXPECT_EQ(CountMessages(Moves(Tiles(8, 8, 2, 2), needed)), 5);
}

TEST(MovesOfBoxes, AHaloWiderThanATileHasSeveralOwners) {
  // Five columns on five ranks: a halo of 2 comes from two owners a side.
  const std::vector<Move> moves = Moves(Tiles(1, 5, 1, 5), Tiles(1, 5, 1, 5, 2));
  std::vector<int> owners_of_2;
  for (const Move& move : moves) {
    if (move.to == 2) owners_of_2.push_back(move.from);
  }
  EXPECT_EQ(owners_of_2, (std::vector<int>{2, 1, 3, 0, 4}));
  EXPECT_EQ(CountMessages(moves), 2 + 3 + 4 + 3 + 2);
}

TEST(MovesOfBoxes, UnevenTilesBecomeAWholeImageOnARankBehindThem) {
  Distribution whole(7, Box{{{0, 0}, {0, 0}}});
  whole[6] = WholeBox({7, 5});
  const std::vector<Move> moves = Moves(Tiles(7, 5, 3, 2), whole);
  EXPECT_EQ(CountMessages(moves), 6);
  EXPECT_EQ(moves.front(), (Move{5, 6, ParseBox("[5:7, 3:5]")}));
  EXPECT_EQ(moves.back(), (Move{0, 6, ParseBox("[0:3, 0:3]")}));
}

TEST(MovesOfBoxes, ReplicasShareTheWork) {
  // Ranks 0, 3, 6 and 9 hold everything, all 12 need it: each owner gives to its neighbours only.
  const Box whole = WholeBox({4});
  Distribution from(12, Box{{{0, 0}}});
  for (const size_t rank : {0, 3, 6, 9}) from[rank] = whole;
  const std::vector<Move> moves = Moves(from, Distribution(12, whole));
  std::map<int, std::vector<int>> readers;
  for (const Move& move : moves) readers[move.from].push_back(move.to);
  EXPECT_EQ(readers,
            (std::map<int, std::vector<int>>{{0, {0, 1}}, {3, {2, 3, 4}}, {6, {5, 6, 7}}, {9, {8, 9, 10, 11}}}));
  // Of two as near, the lower one.
  EXPECT_EQ(Moves({whole, Box{{{0, 0}}}, whole}, Distribution(3, whole))[1], (Move{0, 1, whole}));
}

TEST(MovesOfBoxes, OneRankEmptyBoxesAndScalars) {
  const Box whole = WholeBox({3, 3});
  EXPECT_EQ(Moves({whole}, {whole}), (std::vector<Move>{{0, 0, whole}}));
  EXPECT_EQ(CountMessages(Moves({whole}, {whole})), 0);
  EXPECT_TRUE(Moves({whole}, {Box{{{1, 1}, {0, 3}}}}).empty());
  EXPECT_TRUE(Moves({}, {Box{{{1, 1}, {0, 3}}}}).empty());
  EXPECT_TRUE(Moves({whole, whole}, {}).empty());
  EXPECT_EQ(Moves({Box{}}, {Box{}, Box{}}), (std::vector<Move>{{0, 0, Box{}}, {0, 1, Box{}}}));
}

TEST(MovesOfBoxes, SayWhoLacksWhat) {
  const Distribution from = {ParseBox("[0:4, 0:4]"), ParseBox("[0:4, 5:8]")};
  ExpectThrows(
      [&] {
        Moves(from, {ParseBox("[0:1, 0:1]"), ParseBox("[2:5, 3:6]")});
      },
      "rank 1 needs [2:5, 3:6], of which no rank has [2:4, 4:5]");
  ExpectThrows([&] { Moves({}, {ParseBox("[0:1]")}); }, "rank 0 needs [0:1], of which no rank has [0:1]");
  ExpectThrows([&] { Moves(from, {ParseBox("[0:1]")}); },
               "the boxes [0:4, 0:4] and [0:1] have different numbers of dimensions: 2 and 1");
  ExpectThrows([&] { Moves({Box{{{4, 0}}}}, {}); }, "a range of the box [4:0] ends before it begins");
}

}  // namespace
}  // namespace shardlab
