// What the table says of the schedules, held against figures worked out by hand. That the generators keep to it is asked
// in tests/pipeline, where they are.

#include <set>
#include <string>

#include <gtest/gtest.h>

#include "../texts.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/plan/schedule_error.hpp"
#include "shardlab/plan/traits.hpp"

namespace shardlab {
namespace {

TEST(Traits, EveryNameOnce) {
  const auto names = ScheduleNames();
  EXPECT_EQ(names.size(), AllScheduleTraits().size());
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
  for (const std::string& name : names) EXPECT_EQ(TraitsOf(name).name, name);
  const std::string message = MessageOf<UsageError>([] { TraitsOf("zb-h3"); });
  EXPECT_EQ(message.rfind("unknown schedule 'zb-h3': did you mean 'zb-h", 0), 0u) << message;
}

TEST(Traits, WhoTakesWhat) {
  EXPECT_EQ(OnlyTheseTake("--chunks", [](const ScheduleTraits& one) { return one.TakesChunks(); }),
            "only interleaved, interleaved-any, looped-bfs and interleaved-zb take --chunks");
  EXPECT_EQ(OnlyTheseTake("it", [](const ScheduleTraits& one) { return one.name == "zb-v"; }), "only zb-v takes it");
  EXPECT_EQ(OnlyTheseTake("it", [](const ScheduleTraits& one) { return one.updates == Updates::kEachBatch; }),
            "only 2bw and wpipe take it");
}

TEST(Traits, Layouts) {
  EXPECT_EQ(TraitsOf("1f1b").MakeLayout(4, 7), Layout::Linear(4));
  EXPECT_EQ(TraitsOf("interleaved").MakeLayout(4, 3), Layout::Looped(4, 3));
  EXPECT_EQ(TraitsOf("zb-v").MakeLayout(4, 7), Layout::Vee(4));
  EXPECT_EQ(TraitsOf("dualpipe-v").MakeLayout(4, 7), Layout::Vee(4));
  EXPECT_EQ(TraitsOf("wpipe").MakeLayout(4, 7), Layout::Looped(4, 2));
  EXPECT_THROW(TraitsOf("interleaved").MakeLayout(4, 0), ScheduleError);
}

// Three ranks; the versions of updates 0, 1, 2, ... at each stage.
TEST(Traits, WeightVersions) {
  const auto versions = [](const char* name, int stage) {
    std::string text;
    for (int update = 0; update < 6; ++update) text += std::to_string(TraitsOf(name).version(3, stage, update));
    return text;
  };
  for (const char* synchronous : {"naive", "gpipe", "1f1b", "interleaved", "interleaved-any", "looped-bfs", "zb-h1",
                                  "zb-h2", "interleaved-zb", "zb-v", "dualpipe-v"}) {
    EXPECT_FALSE(TraitsOf(synchronous).IsAsynchronous()) << synchronous;
    EXPECT_EQ(versions(synchronous, 1), "012345") << synchronous;
  }
  for (const char* asynchronous : {"pipedream", "pipedream-vsync", "2bw", "wpipe"}) {
    EXPECT_TRUE(TraitsOf(asynchronous).IsAsynchronous()) << asynchronous;
  }
  EXPECT_EQ(versions("pipedream", 0), "000123");
  EXPECT_EQ(versions("pipedream", 1), "001234");
  EXPECT_EQ(versions("pipedream", 2), "012345");
  for (int stage = 0; stage < 3; ++stage) {
    EXPECT_EQ(versions("pipedream-vsync", stage), "000123");
    EXPECT_EQ(versions("2bw", stage), "001234");
    EXPECT_EQ(versions("wpipe", stage), "001234");
    EXPECT_EQ(versions("wpipe", stage + 3), "012345");
  }
}

}  // namespace
}  // namespace shardlab
