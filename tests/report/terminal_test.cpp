// What a person reads: the score card, progress, and texts that fit on a terminal.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../texts.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/report/files.hpp"
#include "shardlab/report/progress.hpp"
#include "shardlab/report/score_card_text.hpp"
#include "shardlab/report/terminal.hpp"

namespace shardlab {
namespace {

using grade::Kind;
using grade::Status;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST(Terminal, TextIsMeasuredInColumns) {
  EXPECT_EQ(DisplayWidth("a\033[31m✔ ü\033[0m"), 4u);
  EXPECT_EQ(PadRight("ü", 3), "ü  ");
  EXPECT_EQ(PadLeft("ü", 3), "  ü");
  Terminal terminal;
  EXPECT_EQ(Shorten("communication", 8, terminal), "commu...");
  terminal.unicode = true;
  EXPECT_EQ(Shorten("communication", 8, terminal), "communi…");
  EXPECT_EQ(Shorten("short", 8, terminal), "short");
}

TEST(Terminal, LongLinesBreakAtSpacesAndKeepTheirIndent) {
  EXPECT_THAT(Wrap("one two three", 7), ElementsAre("one two", "three"));
  EXPECT_THAT(Wrap("  one two three", 9), ElementsAre("  one two", "  three"));
  EXPECT_THAT(Wrap("averyveryverylongword and", 8), ElementsAre("averyveryverylongword", "and"));
  EXPECT_THAT(Wrap("  averyveryverylongword", 8), ElementsAre("  averyveryverylongword"));
  EXPECT_THAT(Wrap("a\n\nb", 8), ElementsAre("a", "", "b"));
}

TEST(Terminal, NumbersAreForPeople) {
  EXPECT_EQ(PrettyNumber(1536), "1,536");
  EXPECT_EQ(PrettyNumber(-1234567), "-1,234,567");
  EXPECT_EQ(PrettyNumber(0.41337), "0.4134");
  EXPECT_EQ(PrettyAmount(3, "rounds"), "3 rounds");
  EXPECT_EQ(PrettyAmount(1, "rounds"), "1 round");
  EXPECT_EQ(PrettyAmount(1, "micro-batches"), "1 micro-batch");
  EXPECT_EQ(PrettyAmount(1, "ms"), "1 ms");
  EXPECT_EQ(PrettyAmount(1, "%"), "1 %");
  EXPECT_EQ(PrettyPoints(2), "2");
  EXPECT_EQ(PrettyPoints(0.5), "0.5");
  EXPECT_EQ(PrettyPoints(2.0 / 3), "0.67");
  EXPECT_EQ(PrettyPoints(0.375), "0.375") << "0.38 and the missing 0.125 would not add up to half a point";
  EXPECT_EQ(PrettySeconds(0.31), "0.3 s");
  EXPECT_EQ(PrettySeconds(125), "2 min 05 s");
  EXPECT_EQ(PrettySeconds(59.7), "1 min 00 s");
}

TEST(Terminal, NeitherColourNorUnicodeWhereTheyAreNotWanted) {
  std::FILE* file = std::tmpfile();
  setenv("LC_ALL", "C", 1);
  EXPECT_FALSE(Terminal::Of(fileno(file)).unicode);
  setenv("LC_ALL", "de_DE.utf8", 1);
  EXPECT_TRUE(Terminal::Of(fileno(file)).unicode);
  EXPECT_FALSE(Terminal::Of(fileno(file)).colour) << "a file is no terminal";
  unsetenv("LC_ALL");
  std::fclose(file);
  EXPECT_EQ(Paint("text", Tone::kBad, Terminal{}), "text");
}

TEST(ProgressLines, WithoutATerminalThereAreFewAndPlainOnes) {
  std::FILE* file = std::tmpfile();
  {
    Progress progress("training", 1000, file, Terminal{});
    for (int step = 1; step <= 1000; ++step) progress.Update(step, "loss 1");
  }
  std::rewind(file);
  std::vector<std::string> lines;
  char line[256];
  while (std::fgets(line, sizeof line, file)) lines.emplace_back(line);
  std::fclose(file);
  ASSERT_THAT(lines.size(), AllOf(testing::Ge(1u), testing::Le(3u)));
  EXPECT_THAT(lines.back(), AllOf(StartsWith("training: 1000/1000, "), HasSubstr(", loss 1\n")));
}

TEST(ProgressLines, ATerminalsBarIsErasedAtTheEnd) {
  Terminal terminal;
  terminal.interactive = true;
  std::FILE* file = std::tmpfile();
  {
    Progress progress("training", 4, file, terminal);
    progress.Update(2);
  }
  std::rewind(file);
  std::string text(4096, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file));
  std::fclose(file);
  EXPECT_THAT(text, HasSubstr("training  ###############...............  2/4"));
  EXPECT_EQ(text.substr(text.size() - 4), "\r\033[K");
}

/// A card with a part for each story that a card tells.
class CardText : public testing::Test {
 protected:
  PartScore& Part(const std::string& id, double score, Status status, const std::string& reason) {
    PartScore part;
    part.id = "demo." + id;
    part.title = "The part " + id;
    part.score = score;
    part.max = 1;
    part.status = status;
    part.reason = reason;
    card_.modules[0].parts.push_back(part);
    return card_.modules[0].parts.back();
  }
  static grade::CaseResult& Case(PartScore& part, const std::string& id, Kind kind, Status status,
                                 const std::string& message = "") {
    grade::CaseResult result;
    result.part = part.id;
    result.id = id;
    result.kind = kind;
    result.status = status;
    result.message = message;
    part.cases.push_back(result);
    return part.cases.back();
  }
  void SetUp() override {
    card_.seed = 7;
    card_.modules.resize(1);
    card_.modules[0].id = "demo";
    card_.modules[0].title = "Demonstration";
    card_.modules[0].max = 5;
    card_.modules[0].parts.reserve(8);
  }
  std::string Text(const CardTextOptions& options = {}) {
    for (PartScore& part : card_.modules[0].parts) part.findings = FindBroken(rubric_, part.cases);
    return RenderScoreCard(card_, Terminal{}, options);
  }

  ScoreCard card_;
  shardlab::Part rubric_;  // of all parts: which case judges which function
};

TEST_F(CardText, SaysTheReasonFirstAndThenWhatIsMissing) {
  PartScore& ring = Part("ring", 0.5, Status::kFailed, "rank 1 sent 8 bytes");
  Case(ring, "values/ranks=2", Kind::kValue, Status::kPassed);
  Case(ring, "bytes/ranks=2", Kind::kCost, Status::kFailed, "rank 1 sent 8 bytes");
  Case(ring, "bytes/ranks=3", Kind::kCost, Status::kPassed);
  EXPECT_THAT(Text(), HasSubstr("x ring  0.5 of 1  The part ring"));
  EXPECT_THAT(Text(), HasSubstr("    bytes/ranks=2 (cost case)\n"
                                "    rank 1 sent 8 bytes\n"
                                "    +0.5 when all cost cases pass (1 of 2 do)\n"));
}

TEST_F(CardText, SaysHowManyValueCasesPassAndWhatTheRestIsFor) {
  PartScore& ring = Part("ring", 0, Status::kFailed, "wrong");
  Case(ring, "a", Kind::kValue, Status::kFailed, "wrong");
  Case(ring, "b", Kind::kValue, Status::kPassed);
  Case(ring, "c", Kind::kCost, Status::kFailed, "dear");
  EXPECT_THAT(Text(), HasSubstr("    a (value case)\n"
                                "    wrong\n"
                                "    failing too: c (./lab grade demo.ring --case NAME shows one)\n"
                                "    +0.5 when all value cases pass (1 of 2 do); the rest is for cost\n"));
}

TEST_F(CardText, SaysOfEveryKindWhatItIsWorthAndWhatIsMissing) {
  PartScore& ring = Part("ring", 0.5, Status::kFailed, "wrong");
  Case(ring, "a", Kind::kValue, Status::kPassed);
  Case(ring, "first/ranks=2", Kind::kGradient, Status::kFailed, "wrong");
  Case(ring, "first/ranks=3", Kind::kGradient, Status::kPassed);
  for (const char* id : {"b/ranks=2", "b/ranks=3", "b/ranks=4", "b/ranks=5"}) {
    Case(ring, id, Kind::kCost, Status::kFailed, "dear");
  }
  Case(ring, "b/ranks=1", Kind::kCost, Status::kPassed);
  Case(ring, "r", Kind::kRobustness, Status::kPassed);
  EXPECT_THAT(Text(), HasSubstr("    +0.17 when all gradient cases pass (1 of 2 do)\n"
                                "    +0.17 when all cost cases pass (1 of 5 do)\n"));
  EXPECT_THAT(Text(), HasSubstr("    failing too: b/ranks=2,3,4,5 ("));
}

TEST_F(CardText, ShowsAnEntryABrokenFunctionAndNamesWhatIsNotWritten) {
  rubric_.functions = {{"Gather", {"gather*"}, {}}, {"Scatter", {"scatter*"}, {}}, {"Broadcast", {}, {}}};
  PartScore& trees = Part("trees", 0, Status::kDeadlock, "each waits for the other");
  Case(trees, "gather/ranks=2", Kind::kValue, Status::kDeadlock, "each waits for the other");
  Case(trees, "gather/ranks=3", Kind::kValue, Status::kDeadlock, "all wait in a circle");
  std::string long_message = "wrong in 4 of 8";
  for (int i = 1; i < 12; ++i) long_message += "\n  line " + std::to_string(i);
  Case(trees, "scatter/ranks=2", Kind::kValue, Status::kFailed, long_message);
  for (const char* function : {"Broadcast", "Reduce"}) {
    Case(trees, function, Kind::kValue, Status::kNotImplemented,
         fmt::format("rank 0: not implemented yet: demo.trees: {0} (exercises/demo/{0}.cpp)", function));
  }
  EXPECT_THAT(Text(), HasSubstr("    Gather: gather/ranks=2 (value case)\n"
                                "    each waits for the other\n"
                                "    Scatter: scatter/ranks=2 (value case)\n"
                                "    wrong in 4 of 8\n"));
  EXPECT_THAT(Text(), HasSubstr("      line 6\n"
                                "    (5 more lines: ./lab grade demo.trees --case scatter/ranks=2)\n"
                                "    not written yet: Broadcast (exercises/demo/Broadcast.cpp), Reduce\n"
                                "    failing too: gather/ranks=3 (./lab grade demo.trees --case NAME shows one)\n"));
}

TEST_F(CardText, ShowsTheFiguresOfFailedCasesTooAndTheFormula) {
  PartScore& ring = Part("ring", 0.5, Status::kFailed, "the order is wrong");
  Case(ring, "values", Kind::kValue, Status::kFailed, "the order is wrong");
  for (const char* id : {"bytes/ranks=2", "bytes/ranks=3"}) {
    const bool second = id == std::string("bytes/ranks=3");
    grade::CaseResult& bytes = Case(ring, id, Kind::kCost, second ? Status::kPassed : Status::kFailed, "dear");
    bytes.has_figure = true;
    bytes.measured = second ? 1536 : 2048;
    bytes.target = 1536;
    bytes.unit = "bytes";
    bytes.evidence["figures"] = {{{"what", "bytes in all: 2(T - 1) * S"},
                                  {"measured", bytes.measured},
                                  {"target", 1536},
                                  {"unit", "bytes"},
                                  {"met", second}}};
  }
  EXPECT_THAT(Text(), HasSubstr("    x bytes/ranks=2: 2,048 bytes, target 1,536 = 2(T - 1) * S\n"));
  EXPECT_THAT(Text(), Not(HasSubstr("bytes/ranks=3")));
}

TEST_F(CardText, DoesNotBlameAFigureForAnotherMistake) {
  PartScore& ring = Part("ring", 0, Status::kFailed, "wrong");
  Case(ring, "values", Kind::kValue, Status::kFailed, "wrong");
  grade::CaseResult& bytes = Case(ring, "bytes/ranks=2", Kind::kCost, Status::kFailed, "the values are wrong too");
  bytes.has_figure = true;
  bytes.measured = bytes.target = 24;
  bytes.unit = "messages";
  EXPECT_THAT(Text(), HasSubstr("    bytes/ranks=2: 24 messages, target 24\n"));
  EXPECT_THAT(Text(), Not(HasSubstr("x bytes")));
}

TEST_F(CardText, ShowsCostsBesideTheirTargetsOnSuccess) {
  PartScore& ring = Part("ring", 1, Status::kPassed, "");
  for (const char* id : {"bytes/ranks=2", "bytes/ranks=3"}) {
    grade::CaseResult& bytes = Case(ring, id, Kind::kCost, Status::kPassed);
    bytes.has_figure = true;
    bytes.measured = bytes.target = 1536;
    bytes.unit = "bytes";
  }
  grade::CaseResult& time = Case(ring, "overlap", Kind::kCost, Status::kPassed);
  time.has_figure = true;
  time.measured = 0.4;
  time.target = 0.6;
  time.unit = "s";
  EXPECT_THAT(Text(), HasSubstr("    bytes/ranks=3: 1,536 bytes, target 1,536\n"
                                "    overlap: 0.4 s, target at most 0.6\n"));
  EXPECT_THAT(Text(), Not(HasSubstr("bytes/ranks=2")));
  EXPECT_THAT(Text(), HasSubstr("Everything that was asked for has passed."));
}

TEST_F(CardText, EndsWithTheOneThingToDoNext) {
  Part("a", 1, Status::kPassed, "");
  Part("b", 0, Status::kNotImplemented, "not implemented yet: demo.b").bonus = true;
  Part("c", 0, Status::kSkipped, "builds on demo.d");
  Part("d", 0, Status::kNotImplemented, "not implemented yet: demo.d");
  EXPECT_EQ(NextPart(card_)->id, "demo.d");
  EXPECT_THAT(Text(), HasSubstr("./lab hint demo.d\n"));
  CardTextOptions options;
  options.next = "Go to bed.";
  EXPECT_THAT(Text(options), HasSubstr("\nGo to bed.\n"));
}

TEST_F(CardText, AVeryLongReasonIsCutAndSaysSo) {
  std::string reason;
  for (int i = 0; i < 100; ++i) reason += "line " + std::to_string(i) + "\n";
  Part("a", 0, Status::kCrashed, reason);
  EXPECT_THAT(Text(), AllOf(HasSubstr("    line 18\n    (81 more lines"), Not(HasSubstr("line 19"))));
}

TEST_F(CardText, StaysWithinItsColumnsAndInAsciiWhereItMust) {
  PartScore& ring =
      Part("ring", 0, Status::kFailed, std::string("many words ") + std::string(300, 'w') + " more words");
  ring.title = std::string(200, 't');
  Case(ring, "a", Kind::kValue, Status::kFailed, ring.reason);
  Terminal terminal;
  terminal.width = 60;
  const std::string text = RenderScoreCard(card_, terminal);
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = text.find('\n', begin);
    const std::string line = text.substr(begin, end - begin);
    if (line.find("www") == std::string::npos) {
      EXPECT_LE(line.size(), 60u) << line;
    }
    begin = end + 1;
  }
  for (const char letter : text) EXPECT_TRUE(static_cast<unsigned char>(letter) < 0x80);
  EXPECT_THAT(text, Not(HasSubstr("\033")));
}

class Files : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / "report_files_test";
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string In(const std::string& name) { return (folder_ / name).string(); }

  std::filesystem::path folder_;
};

TEST_F(Files, AreWrittenWholeAndLeaveNothingElseBehind) {
  WriteFileSafely(In("card.json"), "one");
  WriteFileSafely(In("card.json"), "two");
  EXPECT_EQ(ReadFile(In("card.json")), "two");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), std::filesystem::directory_iterator()), 1);
}

TEST_F(Files, AFullDiskIsNamed) {
  EXPECT_THAT(MessageOf<EnvironmentError>([] { WriteFileSafely("/dev/full", "text"); }),
              AllOf(HasSubstr("cannot write /dev/full"), HasSubstr("full")));
}

TEST_F(Files, WhatCannotBeWrittenIsFoundBeforehand) {
  EXPECT_NO_THROW(RequireWritable(In("card.json"), "--json"));
  EXPECT_FALSE(std::filesystem::exists(In("card.json")));
  EXPECT_THROW(RequireWritable(In("nowhere/card.json"), "--json"), UsageError);
  EXPECT_THROW(RequireWritable(folder_.string(), "--json"), UsageError);
  EXPECT_THROW(RequireWritable("/proc/card.json", "--json"), EnvironmentError);
  EXPECT_THROW(ReadFile(In("nowhere.txt")), EnvironmentError);
}

TEST_F(Files, AFolderIsMadeAndMustBeWritable) {
  EXPECT_NO_THROW(RequireWritableFolder(In("new/deeper"), "--html"));
  EXPECT_TRUE(std::filesystem::is_empty(In("new/deeper"))) << "nothing is left behind";
  EXPECT_NO_THROW(RequireWritableFolder(In("new/deeper/"), "--html"));
  WriteFileSafely(In("card.json"), "one");
  EXPECT_THROW(RequireWritableFolder(In("card.json"), "--html"), UsageError);
  EXPECT_THROW(RequireWritableFolder(In("card.json/below"), "--html"), EnvironmentError);
  EXPECT_THROW(RequireWritableFolder("", "--html"), UsageError);
  EXPECT_THROW(RequireWritableFolder("/proc/report", "--html"), EnvironmentError);
}

}  // namespace
}  // namespace shardlab
