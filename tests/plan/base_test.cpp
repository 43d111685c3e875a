// What everything is divided and drawn by (shardlab/base).

#include <set>
#include <string>

#include <gtest/gtest.h>

#include "../texts.hpp"
#include "shardlab/base/counter_random.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/base/xml.hpp"

namespace shardlab {
namespace {

TEST(Split, GivesTheFirstPartsOneMore) {
  EXPECT_EQ(SplitSizes(7, 3), (std::vector<int64_t>{3, 2, 2}));
  EXPECT_EQ(SplitSizes(2, 4), (std::vector<int64_t>{1, 1, 0, 0}));
  EXPECT_EQ(SplitRange(7, 3, 1), (Range{3, 5}));
  EXPECT_EQ(SplitRange(2, 4, 3).size(), 0);
  EXPECT_NE(SplitRange(2, 4, 2), SplitRange(7, 3, 1));
}

TEST(Split, RefusesPartsThatThereAreNot) {
  EXPECT_NE(MessageOf([] { SplitRange(-1, 2, 0); }), "nothing was thrown");
  EXPECT_NE(MessageOf([] { SplitRange(4, 0, 0); }), "nothing was thrown");
  EXPECT_NE(MessageOf([] { SplitRange(4, 2, 2); }), "nothing was thrown");
  EXPECT_NE(MessageOf([] { SplitRange(4, 2, -1); }), "nothing was thrown");
  EXPECT_NE(MessageOf([] { SplitSizes(-1, 2); }), "nothing was thrown");
  EXPECT_NE(MessageOf([] { SplitSizes(4, 0); }), "nothing was thrown");
}

// The published first number of SplitMix64 with state 0, and FNV-1a of "" and "a".
TEST(CounterRandom, IsTheSameOnEveryPlatform) {
  EXPECT_EQ(MixBits(0x9e3779b97f4a7c15ULL), 0xe220a8397b1dcdafULL);
  EXPECT_EQ(HashName(""), 0xcbf29ce484222325ULL);
  EXPECT_EQ(HashName("a"), 0xaf63dc4c8601ec8cULL);
}

TEST(CounterRandom, GivesEachNumberByItself) {
  CounterRandom walks({1, 2, 3});
  const CounterRandom jumps({1, 2, 3});
  for (uint64_t i = 0; i < 5; ++i) EXPECT_EQ(walks.Next(), jumps.At(i));
  std::set<uint64_t> firsts;
  for (const CounterRandom& other : {CounterRandom({1, 2, 3}), CounterRandom({2, 1, 3}), CounterRandom({1, 2}),
                                     CounterRandom({1, 2, 4}), CounterRandom({0, 1, 2, 3})}) {
    firsts.insert(other.At(0));
  }
  EXPECT_EQ(firsts.size(), 5u) << "other keys, in value or in order, give other numbers";
}

TEST(CounterRandom, StaysInItsRange) {
  CounterRandom random({7});
  std::set<int32_t> seen;
  for (uint64_t i = 0; i < 300; ++i) {
    EXPECT_LT(random.Below(3), 3u);
    EXPECT_GE(random.UniformAt(i), 0.0);
    EXPECT_LT(random.UniformAt(i), 1.0);
    seen.insert(random.Between(-2, 1));
  }
  EXPECT_EQ(seen, (std::set<int32_t>{-2, -1, 0, 1}));
}

TEST(EscapeXml, LeavesNothingThatXmlForbids) {
  EXPECT_EQ(EscapeXml("a<b & \"c\""), "a&lt;b &amp; &quot;c&quot;");
  EXPECT_EQ(EscapeXml("\x01"), "?");
  EXPECT_EQ(EscapeXml("\xff"), "\xef\xbf\xbd");
  EXPECT_EQ(EscapeXml("\n").find('\n'), std::string::npos) << "a line end is kept as a reference";
}

}  // namespace
}  // namespace shardlab
