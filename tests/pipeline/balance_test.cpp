#include <functional>
#include <limits>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "../texts.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/balance.hpp"

namespace shardlab {
namespace {

// All cuts of `layers` layers into `parts` parts: positions of the cuts are the combinations of 1 .. layers-1.
std::vector<std::vector<int>> AllCuts(int layers, int parts) {
  if (parts == 1) return {{layers}};
  std::vector<std::vector<int>> all;
  for (int first = 1; first <= layers - (parts - 1); ++first) {
    for (std::vector<int>& rest : AllCuts(layers - first, parts - 1)) {
      rest.insert(rest.begin(), first);
      all.push_back(std::move(rest));
    }
  }
  return all;
}

double Squares(const std::vector<double>& costs, const std::vector<int>& sizes) {
  double sum = 0;
  auto layer = costs.begin();
  for (const int size : sizes) {
    const double part = std::accumulate(layer, layer + size, 0.0);
    sum += part * part;
    layer += size;
  }
  return sum;
}

TEST(Balance, TheFigure) {
  const std::vector<double> costs{3, 1, 4, 1, 5};
  EXPECT_EQ(Balance(costs, 3), (std::vector<int>{2, 2, 1}));
  EXPECT_EQ(LargestPart(costs, {1, 3, 1}), 6);
  EXPECT_EQ(LargestPart(costs, {2, 2, 1}), 5);
}

TEST(Balance, NoCutHasASmallerLargestPartNorTheSameOneMoreEvenly) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const int layers = 1 + static_cast<int>(random() % 9);
    const int parts = 1 + static_cast<int>(random() % static_cast<unsigned>(layers));
    std::vector<double> costs;
    for (int i = 0; i < layers; ++i) costs.push_back(static_cast<double>(random() % 20));  // zeros, too; sums are exact
    const std::vector<int> sizes = Balance(costs, parts);
    ASSERT_NO_THROW(RequireBalance(sizes, layers, parts));
    const double largest = LargestPart(costs, sizes);
    for (const auto& other : AllCuts(layers, parts)) {
      const double others = LargestPart(costs, other);
      ASSERT_GE(others, largest) << BalanceText(other) << " beats " << BalanceText(sizes);
      if (others > largest) continue;
      ASSERT_LE(Squares(costs, sizes), Squares(costs, other) * (1 + 1e-12));
    }
  }
}

TEST(Balance, UnitsDoNotMatter) {
  const std::vector<double> costs{3, 1, 4, 1, 5, 9, 2, 6};
  for (const double unit : {1e-12, 1e12, 1e200}) {
    std::vector<double> scaled = costs;
    for (double& cost : scaled) cost *= unit;
    EXPECT_EQ(Balance(scaled, 3), Balance(costs, 3)) << unit;
  }
  EXPECT_EQ(Balance({0, 0, 0}, 3), (std::vector<int>{1, 1, 1}));
}

TEST(Balance, RefusesWhatCannotBeCut) {
  EXPECT_THROW(Balance({1, 2}, 3), ContractError);
  EXPECT_THROW(Balance({1, 2}, 0), ContractError);
  EXPECT_THROW(Balance({}, 1), ContractError);
  EXPECT_THROW(Balance({1, -1}, 1), ContractError);
  EXPECT_THROW(Balance({1, std::numeric_limits<double>::quiet_NaN()}, 1), ContractError);
}

TEST(Balance, AManualOneIsCheckedAndABetterOneRecommended) {
  EXPECT_NO_THROW(RequireBalance({3, 3, 4}, 10, 3));
  EXPECT_EQ(MessageOf([] {
              RequireBalance({3, 3, 4}, 11, 3);
            }),
            "the balance 3,3,4 adds up to 10 layers, and the model has 11: use for example 4,4,3");
  EXPECT_EQ(MessageOf([] {
              RequireBalance({5, 5}, 10, 3, {2, 3, 5});
            }),
            "the balance 5,5 has 2 numbers for 3 stages: use for example 2,3,5");
  EXPECT_EQ(MessageOf([] {
              RequireBalance({5, 0, 5}, 10, 3);
            }),
            "the balance 5,0,5 gives stage 1 0 layers, and every stage needs at least 1: use for example 4,3,3");
  EXPECT_EQ(MessageOf([] {
              RequireBalance({1, 1}, 1, 2);
            }),
            "a model of 1 layer cannot be cut into 2 stages, none of them empty: use 1 to 1");
}

}  // namespace
}  // namespace shardlab
