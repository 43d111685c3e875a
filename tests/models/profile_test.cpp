#include <numeric>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/models/profile.hpp"
#include "small.hpp"

namespace shardlab {
namespace {

TEST(Profile, MeasuresEveryLayerOfEveryModel) {
  for (const SmallModel& model : SmallModels(32)) {
    ProfileOptions options;
    options.repeats = 1;
    const auto profile = ProfileLayers(model.sequence, {Images(2, 32)}, options);
    ASSERT_EQ(profile.size(), model.sequence.size()) << model.name;
    const auto counts = CountParameters(model.sequence);
    for (size_t i = 0; i < profile.size(); ++i) {
      EXPECT_EQ(profile[i].name, model.sequence[i].name);
      EXPECT_EQ(profile[i].parameters, counts[i]) << profile[i].name;
      EXPECT_EQ(profile[i].parameter_bytes, 8 * counts[i]) << profile[i].name;
      EXPECT_GT(profile[i].forward_s, 0) << profile[i].name;
      EXPECT_GT(profile[i].backward_s, 0) << profile[i].name;
      EXPECT_GT(profile[i].boundary_bytes, 0) << profile[i].name;
      EXPECT_EQ(profile[i].skip_bytes > 0, !model.sequence[i].stashes.empty()) << profile[i].name;
    }
  }
}

// What is kept for the backward can be counted by hand where a layer is one operation.
TEST(Profile, CountsActivationsExactly) {
  const LayerSequence sequence = MakeSequence("mlp", OptionsOfSide(16));  // 768 to 5 to 4 to 3, ReLU between
  const auto once = ProfileLayers(sequence, {Images(4, 16)}, {1});
  EXPECT_EQ(once[0].boundary_bytes, 4 * 5 * 8);
  EXPECT_EQ(once[2].boundary_bytes, 4 * 3 * 8);
  EXPECT_EQ(once[2].activation_bytes, 4 * 3 * 8) << "of the last layer only the logits stay";
  const auto twice = ProfileLayers(sequence, {Images(8, 16)}, {1});
  for (size_t i = 0; i < once.size(); ++i) {
    EXPECT_EQ(twice[i].activation_bytes, 2 * once[i].activation_bytes) << once[i].name;
    EXPECT_EQ(twice[i].parameter_bytes, once[i].parameter_bytes) << once[i].name;
  }
}

// Shares of one run, so that a loaded machine does not matter: of a ResNet nearly all time is in the convolutions.
TEST(Profile, FindsWhereTheTimeIs) {
  ModelOptions options = OptionsOfSide(32);
  const auto profile = ProfileLayers(ResNet(options, 18, 16), {Images(4, 32)}, {3});
  const std::vector<double> seconds = SecondsOf(profile);
  const double all = std::accumulate(seconds.begin(), seconds.end(), 0.0);
  const double blocks = std::accumulate(seconds.begin() + 2, seconds.end() - 2, 0.0);
  EXPECT_GT(blocks, 0.6 * all);
  EXPECT_GT(std::accumulate(seconds.end() - 2, seconds.end(), 0.0), 0.0);
}

TEST(Profile, MakesCostsOfIt) {
  std::vector<LayerProfile> profile(2);
  profile[0].forward_s = 1;
  profile[0].backward_s = 2;
  profile[1].parameter_bytes = 10;
  profile[1].activation_bytes = 7;
  EXPECT_EQ(SecondsOf(profile), (std::vector<double>{3, 0}));
  EXPECT_EQ(SecondsOf(profile, /*recomputes=*/true), (std::vector<double>{4, 0}));
  EXPECT_EQ(BytesOf(profile), (std::vector<double>{0, 37}));
  EXPECT_EQ(BytesOf(profile, 4, 2), (std::vector<double>{0, 54}));
  profile[0].name = "layer1.0";
}

TEST(Profile, RefusesWhatItCannotMeasure) {
  const LayerSequence sequence = MakeSequence("mlp", OptionsOfSide(16));
  EXPECT_THROW(ProfileLayers(sequence, {Images(4, 16)}, {0}), ContractError);
  EXPECT_THROW(ProfileLayers(sequence, {}), ContractError);
  EXPECT_THROW(ProfileLayers({}, {Images(4, 16)}), ContractError);
}

}  // namespace
}  // namespace shardlab
