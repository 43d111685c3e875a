// What other programs read: these texts are a contract, so they are pinned whole.
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "shardlab/report/score_card.hpp"

namespace shardlab {
namespace {

using grade::Kind;
using grade::Status;

ScoreCard SmallCard() {
  PartScore ring;
  ring.id = "demo.ring";
  ring.title = "A ring";
  ring.score = 0.5;
  ring.max = 1;
  ring.status = Status::kFailed;
  ring.reason = "rank 1 sent 8 bytes & not <16>";
  ring.cases.resize(2);
  ring.cases[0].part = ring.cases[1].part = ring.id;
  ring.cases[0].id = "values/ranks=3";
  ring.cases[0].status = Status::kPassed;
  ring.cases[0].seconds = 0.25;
  ring.cases[1].id = "bytes/ranks=3";
  ring.cases[1].kind = Kind::kCost;
  ring.cases[1].status = Status::kFailed;
  ring.cases[1].message = "rank 1 sent 8 bytes & not <16>\nsecond line";
  ring.cases[1].has_figure = true;
  ring.cases[1].measured = 8;
  ring.cases[1].target = 16;
  ring.cases[1].unit = "bytes";
  ring.cases[1].seconds = 0.5;
  PartScore extra;
  extra.id = "demo.extra";
  extra.title = "More";
  extra.max = 1;
  extra.bonus = true;
  extra.status = Status::kCrashed;
  extra.cases.resize(1);
  extra.cases[0].part = extra.id;
  extra.cases[0].id = "values/ranks=2";
  extra.cases[0].status = Status::kCrashed;
  extra.cases[0].message = "rank 0: SIGSEGV";

  ModuleScore module;
  module.id = "demo";
  module.title = "Demo";
  module.score = 0.5;
  module.max = 1;
  module.bonus_max = 1;
  module.parts = {ring, extra};
  ScoreCard card;
  card.seed = 18446744073709551615u;
  card.seconds = 1.5;
  card.modules = {module};
  card.libtorch = "1.13.1";
  card.revision = "abc";
  return card;
}

TEST(Formats, JsonIsSchemaOne) {
  EXPECT_EQ(ToJson(SmallCard()), R"({
  "schema": 1,
  "seed": 18446744073709551615,
  "flavour": "exercises",
  "score": 0.5,
  "max": 1.0,
  "bonus": 0.0,
  "bonus_max": 1.0,
  "seconds": 1.5,
  "modules": [
    {
      "id": "demo",
      "score": 0.5,
      "max": 1.0,
      "bonus": 0.0,
      "bonus_max": 1.0,
      "parts": [
        {
          "id": "demo.ring",
          "title": "A ring",
          "score": 0.5,
          "max": 1.0,
          "bonus": false,
          "status": "failed",
          "cases": [
            {
              "id": "values/ranks=3",
              "kind": "value",
              "status": "passed",
              "message": "",
              "seconds": 0.25
            },
            {
              "id": "bytes/ranks=3",
              "kind": "cost",
              "status": "failed",
              "message": "rank 1 sent 8 bytes & not <16>\nsecond line",
              "measured": 8.0,
              "target": 16.0,
              "unit": "bytes",
              "seconds": 0.5
            }
          ]
        },
        {
          "id": "demo.extra",
          "title": "More",
          "score": 0.0,
          "max": 1.0,
          "bonus": true,
          "status": "crashed",
          "cases": [
            {
              "id": "values/ranks=2",
              "kind": "value",
              "status": "crashed",
              "message": "rank 0: SIGSEGV",
              "seconds": 0.0
            }
          ]
        }
      ]
    }
  ],
  "libtorch": "1.13.1",
  "revision": "abc"
}
)");
}

TEST(Formats, JsonSurvivesWhatAStudentsProgramPrinted) {
  ScoreCard card = SmallCard();
  card.modules[0].parts[0].cases[1].message = std::string("\xff\xfe bytes\0 and more", 18);
  card.modules[0].parts[0].cases[1].measured = std::numeric_limits<double>::quiet_NaN();
  const auto json = nlohmann::json::parse(ToJson(card));
  EXPECT_TRUE(json["modules"][0]["parts"][0]["cases"][1]["measured"].is_null());
}

TEST(Formats, JUnitTellsFailuresFromErrors) {
  EXPECT_EQ(ToJUnit(SmallCard()), R"(<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="shardlab" tests="3" failures="1" errors="1" skipped="0" time="1.500">
  <testsuite name="demo" tests="3" failures="1" errors="1" skipped="0" time="0.750">
    <testcase classname="demo.ring" name="values/ranks=3" time="0.250"/>
    <testcase classname="demo.ring" name="bytes/ranks=3" time="0.500">
      <failure type="failed" message="rank 1 sent 8 bytes &amp; not &lt;16&gt;">rank 1 sent 8 bytes &amp; not &lt;16&gt;&#10;second line</failure>
    </testcase>
    <testcase classname="demo.extra" name="values/ranks=2" time="0.000">
      <error type="crashed" message="rank 0: SIGSEGV">rank 0: SIGSEGV</error>
    </testcase>
  </testsuite>
</testsuites>
)");
}

TEST(Formats, JUnitSurvivesWhatAStudentsProgramPrinted) {
  ScoreCard card = SmallCard();
  card.modules[0].parts[1].cases[0].message = "\xff h\xc3\xa9 \xe2\x82 \xed\xa0\x80 \xf0\x9f\x98\x80 \x1b[31m";
  const std::string bad = "\xef\xbf\xbd";
  EXPECT_THAT(ToJUnit(card),
              testing::HasSubstr(bad + " h\xc3\xa9 " + bad + bad + " " + bad + bad + bad + " \xf0\x9f\x98\x80 ?[31m"));
}

TEST(Formats, GradescopeGetsATestAPart) {
  ScoreCard card = SmallCard();
  card.modules[0].parts[1].visibility = "after_due_date";
  EXPECT_EQ(ToGradescope(card), R"({
  "score": 0.5,
  "execution_time": 2.0,
  "output": "0.5 of 1, bonus 0 of 1. Seed 18446744073709551615.",
  "output_format": "text",
  "visibility": "visible",
  "tests": [
    {
      "name": "demo.ring: A ring",
      "score": 0.5,
      "max_score": 1.0,
      "status": "failed",
      "output": "bytes/ranks=3 (cost): failed\nrank 1 sent 8 bytes & not <16>\nsecond line\n\n1 of 2 cases passed.\n+0.5 when all cost cases pass (0 of 1 do)\n",
      "output_format": "text",
      "visibility": "visible",
      "extra_data": {
        "status": "failed",
        "bonus": false
      }
    },
    {
      "name": "demo.extra (bonus): More",
      "score": 0.0,
      "max_score": 1.0,
      "status": "failed",
      "output": "values/ranks=2 (value): crashed\nrank 0: SIGSEGV\n\n0 of 1 cases passed.\n+1 when all value cases pass (0 of 1 do)\n",
      "output_format": "text",
      "visibility": "after_due_date",
      "extra_data": {
        "status": "crashed",
        "bonus": true
      }
    }
  ],
  "extra_data": {
    "seed": 18446744073709551615,
    "libtorch": "1.13.1",
    "revision": "abc"
  }
}
)");
}

TEST(Formats, GradescopeIsGivenNoBookToRead) {
  ScoreCard card = SmallCard();
  PartScore& part = card.modules[0].parts[0];
  part.cases.resize(200, part.cases[1]);
  for (size_t i = 2; i < part.cases.size(); ++i) part.cases[i].id = "case" + std::to_string(i);
  part.cases.back().message = std::string(1'000'000, '\xff');
  part.cases[1].message = std::string(1'000'000, 'x');
  part.cases[2].status = Status::kSkipped;
  part.cases[2].message = "it builds on another";
  const auto json = nlohmann::json::parse(ToGradescope(card));
  const std::string output = json["tests"][0]["output"];
  EXPECT_LT(output.size(), 10'000u);
  EXPECT_THAT(output, testing::HasSubstr("Not passed either: case"));
  EXPECT_THAT(output, testing::HasSubstr("1 of 200 cases did not run: it builds on another"));
}

TEST(Formats, JUnitHasAnEntryForAPartWithoutCases) {
  ScoreCard card = SmallCard();
  card.modules[0].parts[0].cases.clear();
  card.modules[0].parts[0].status = Status::kSkipped;
  card.modules[0].parts[0].reason = "did not run";
  EXPECT_THAT(ToJUnit(card), testing::HasSubstr(R"(<testcase classname="demo.ring" name="demo.ring" time="0.000">
      <skipped message="did not run"/>)"));
}

}  // namespace
}  // namespace shardlab
