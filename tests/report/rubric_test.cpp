#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../texts.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/report/rubric.hpp"

namespace shardlab {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

const char* const kGood = R"(id = "demo"
title = "A demonstration"
needs = ["other"]

[[part]]
id = "one"
title = "The first"
points = 1
files = ["one.cpp"]

[[part]]
id = "two"
title = "The second"
points = 0.5
bonus = true
after = ["one"]
files = ["two.cpp", "more.cpp"]
)";

/// What ParseRubric complains about when `from` is replaced by `to` in the good rubric.
std::string Complaint(const std::string& from, const std::string& to) {
  std::string text = kGood;
  const size_t at = text.find(from);
  if (at == std::string::npos) return "the good rubric has no " + from;
  text.replace(at, from.size(), to);
  return MessageOf<UsageError>([&] { ParseRubric(text, "r.toml"); });
}

TEST(Rubric, ReadsEverythingThatAPartHas) {
  const Rubric rubric = ParseRubric(kGood, "r.toml");
  EXPECT_EQ(rubric.id, "demo");
  EXPECT_THAT(rubric.needs, ElementsAre("other"));
  ASSERT_EQ(rubric.parts.size(), 2u);
  EXPECT_FALSE(rubric.parts[0].bonus);
  EXPECT_TRUE(rubric.parts[1].bonus);
  EXPECT_THAT(rubric.parts[1].after, ElementsAre("one"));
  EXPECT_THAT(rubric.parts[1].files, ElementsAre("two.cpp", "more.cpp"));
  EXPECT_EQ(rubric.Points(), 1);
  EXPECT_EQ(rubric.BonusPoints(), 0.5);
  EXPECT_EQ(rubric.FullId("two"), "demo.two");
  EXPECT_EQ(rubric.Find("three"), nullptr);
}

TEST(Rubric, SaysWhichFunctionACaseJudges) {
  const Rubric rubric = ParseRubric(R"(id = "demo"
title = "A demonstration"
[[part]]
id = "one"
title = "The first"
points = 1
files = ["one.cpp"]
functions = [
  { name = "Pack", cases = ["pack", "pack_*"] },
  { name = "Send", cases = ["*"], uses = ["Pack"] },
  { cases = ["pack_and_send*"], uses = ["Send"] },
]
)",
                                    "rubric.toml");
  const Part& part = rubric.parts[0];
  const auto place = [&](const std::string& id) {
    const FunctionPlace found = part.PlaceOf(id);
    return std::make_pair(found.function, found.pattern);
  };
  EXPECT_EQ(place("pack/ranks=2"), std::make_pair(size_t{0}, size_t{0}));
  EXPECT_EQ(place("pack_late/ranks=2"), std::make_pair(size_t{0}, size_t{1}));
  EXPECT_EQ(place("packs/ranks=2"), std::make_pair(size_t{1}, size_t{0}));
  EXPECT_EQ(place("pack_and_send_late/ranks=2"), std::make_pair(size_t{2}, size_t{0})) << "the longest counts";
  EXPECT_THAT(part.NeededBy(2), ElementsAre("", "Send", "Pack"));
  EXPECT_EQ(Part{}.PlaceOf("any").function, 0u);
}

TEST(Rubric, ErrorsNameFileAndLineAndWhatWouldBeRight) {
  EXPECT_THAT(Complaint("points = 0.5", "points = 0"), AllOf(StartsWith("r.toml:14:"), HasSubstr("above 0")));
  EXPECT_THAT(Complaint("points = 0.5", "points = \"1\""), StartsWith("r.toml:14:"));
  EXPECT_THAT(Complaint("points = 0.5\n", ""), AllOf(StartsWith("r.toml:11:"), HasSubstr("`points`")));
  EXPECT_THAT(Complaint("bonus = true", "bonus = 1"), AllOf(StartsWith("r.toml:15:"), HasSubstr("true or false")));
  EXPECT_THAT(Complaint("bonus = true", "bonos = true"),
              AllOf(StartsWith("r.toml:15:"), HasSubstr("did you mean 'bonus'")));
  EXPECT_THAT(Complaint("\"two\"", "\"one\""), AllOf(StartsWith("r.toml:12:"), HasSubstr("twice")));
  EXPECT_THAT(Complaint("\"two\"", "\"Two\""), AllOf(StartsWith("r.toml:12:"), HasSubstr("lower-case")));
  EXPECT_THAT(Complaint("after = [\"one\"]", "after = [\"oen\"]"),
              AllOf(StartsWith("r.toml:16:"), HasSubstr("did you mean 'one'")));
  EXPECT_THAT(Complaint("after = [\"one\"]", "after = [\"two\"]"), StartsWith("r.toml:16:"));
  EXPECT_THAT(Complaint("files = [\"one.cpp\"]", "files = []"), AllOf(StartsWith("r.toml:9:"), HasSubstr("no file")));
  EXPECT_THAT(Complaint("files = [\"one.cpp\"]", "files = \"one.cpp\""), StartsWith("r.toml:9:"));
  EXPECT_THAT(Complaint("title = \"The first\"", "title = "), StartsWith("r.toml:7:"));
  EXPECT_THAT(Complaint("bonus = true", "visibility = \"hiden\""),
              AllOf(StartsWith("r.toml:15:"), HasSubstr("did you mean 'hidden'")));
  EXPECT_THAT(Complaint("[[part]]", "[part]"), StartsWith("r.toml:"));
  const auto functions = [](const std::string& list) {
    return Complaint("bonus = true", "functions = [" + list + "]");
  };
  EXPECT_THAT(functions("1"), AllOf(StartsWith("r.toml:15:"), HasSubstr("list of tables")));
  EXPECT_THAT(functions("{ cases = [\"a\"] }"), AllOf(StartsWith("r.toml:15:"), HasSubstr("needs a `name`")));
  EXPECT_THAT(functions("{ name = \"A\", case = [\"a\"] }"), HasSubstr("did you mean 'cases'"));
  EXPECT_THAT(functions("{ name = \"Pack\" }, { name = \"B\", uses = [\"Pakc\"] }"),
              HasSubstr("`uses` may name earlier functions only: unknown function 'Pakc': did you mean 'Pack'?"));
  EXPECT_THAT(functions("{ name = \"A\", cases = [\"\"] }"), HasSubstr("a case has a name"));
}

class RubricFolder : public testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::path(testing::TempDir()) /
            ("rubric_" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    std::filesystem::remove_all(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& folder, const std::string& id, const std::string& needs) {
    std::filesystem::create_directories(root_ / "graders" / folder);
    std::ofstream(root_ / "graders" / folder / "rubric.toml")
        << "id = \"" << id << "\"\ntitle = \"t\"\nneeds = " << needs
        << "\n[[part]]\nid = \"p\"\ntitle = \"t\"\npoints = 1\nfiles = [\"p.cpp\"]\n";
  }
  std::vector<std::string> Ids() {
    std::vector<std::string> ids;
    for (const Rubric& rubric : LoadRubrics(root_.string())) ids.push_back(rubric.id);
    return ids;
  }

  std::filesystem::path root_;
};

TEST_F(RubricFolder, ModulesComeInTheOrderOfTheCourse) {
  Write("pipeline", "pipeline", "[]");
  Write("alpha", "alpha", "[\"zeta\"]");
  Write("zeta", "zeta", "[]");
  Write("communication", "communication", "[]");
  EXPECT_THAT(Ids(), ElementsAre("communication", "pipeline", "zeta", "alpha"));
}

TEST_F(RubricFolder, ACircleOfNeedsIsRefused) {
  Write("a", "a", "[\"b\"]");
  Write("b", "b", "[\"a\"]");
  EXPECT_THROW(Ids(), UsageError);
}

TEST_F(RubricFolder, TheIdIsTheFoldersName) {
  Write("a", "b", "[]");
  EXPECT_THROW(Ids(), UsageError);
}

TEST_F(RubricFolder, NoModuleIsAnError) { EXPECT_THROW(Ids(), UsageError); }

}  // namespace
}  // namespace shardlab
