#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "shardlab/base/suggest.hpp"

namespace shardlab {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::vector<std::string> kModules = {"communication", "tensor_parallel", "pipeline", "gems"};

TEST(Suggest, DistanceCountsInsertionsDeletionsReplacementsAndSwaps) {
  EXPECT_EQ(EditDistance("ring", "ring"), 0u);
  EXPECT_EQ(EditDistance("rig", "ring"), 1u);
  EXPECT_EQ(EditDistance("rings", "ring"), 1u);
  EXPECT_EQ(EditDistance("rung", "ring"), 1u);
  EXPECT_EQ(EditDistance("rign", "ring"), 1u);
  EXPECT_EQ(EditDistance("", "ring"), 4u);
}

TEST(Suggest, NearestIsWhatWasMeant) {
  EXPECT_EQ(Nearest("comunication", kModules), "communication");
  EXPECT_EQ(Nearest("Tensor-Parallel", kModules), "tensor_parallel");
  EXPECT_EQ(Nearest("comm", kModules), "communication");
  EXPECT_EQ(Nearest("pipleine", kModules), "pipeline");
}

TEST(Suggest, NothingIsSuggestedForWhatIsFarFromEverything) {
  EXPECT_EQ(Nearest("xyz", kModules), "");
  EXPECT_EQ(Nearest("", kModules), "");
  EXPECT_THAT(UnknownName("module", "xyz", kModules), Not(HasSubstr("did you mean")));
}

TEST(Suggest, TheSentenceSaysWhatThereIs) {
  EXPECT_EQ(UnknownName("module", "gesm", kModules),
            "unknown module 'gesm': did you mean 'gems'? There are communication, tensor_parallel, pipeline, gems.");
}

}  // namespace
}  // namespace shardlab
