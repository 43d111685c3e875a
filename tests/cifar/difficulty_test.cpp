#include "shardlab/cifar/difficulty.hpp"

#include <gtest/gtest.h>

#include "shardlab/cifar/synthetic.hpp"

namespace shardlab::cifar {
namespace {

TEST(Difficulty, ALinearModelFailsWhereTheSmallCnnSucceeds) {
  const DataSplits data = MakeSynthetic();
  EXPECT_LE(TrainFigure("linear", data, 200, 1).test_accuracy, 0.45);
  EXPECT_GE(TrainFigure("cnn", data, 200, 1).test_accuracy, 0.70);
}

TEST(Difficulty, EveryMistakeShowsInTheLossWithin20Steps) {
  const DataSplits data = MakeSynthetic({2000, 10, 1});
  const std::vector<MistakeFigure> figures = MistakeFigures(data, 20, 1);
  ASSERT_EQ(figures.size(), 4u);
  for (const MistakeFigure& figure : figures) {
    EXPECT_GT(figure.loss_change, 1e-3) << figure.mistake;
    EXPECT_GE(figure.first_visible, 0) << figure.mistake;
  }
}

}  // namespace
}  // namespace shardlab::cifar
