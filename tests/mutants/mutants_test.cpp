// The tool that tests the graders: what it refuses to read, and that it reports every way in which an entry can end.
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "run_program.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/report/files.hpp"
#include "tool/report.hpp"
#include "tool/sets.hpp"

namespace {

using namespace shardlab;
using namespace shardlab::mutants;
using grade::Status;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

namespace fs = std::filesystem;

/// A root with one module, `demo`, of one part, `first`, and one solution.
class Reading : public testing::Test {
 protected:
  Reading() {
    std::string name = (fs::temp_directory_path() / "shardlab-mutants-XXXXXX").string();
    root_ = mkdtemp(name.data());
    Write("solutions/demo/one.cpp", "int one() { return 1; }\n");
    rubric_ = ParseRubric(
        "id = \"demo\"\ntitle = \"Demo\"\n[[part]]\nid = \"first\"\ntitle = \"First\"\npoints = 1\nfiles = "
        "[\"one.cpp\"]\n",
        "rubric.toml");
  }
  ~Reading() override { fs::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }

  Sets Load() { return LoadSets((root_ / "tests").string(), root_.string(), {rubric_}); }

  /// What it complains of when first.toml holds `text`.
  std::string Complaint(const std::string& text) {
    Write("tests/mutants/demo/first.toml", text);
    try {
      Load();
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  }

  /// An entry that is right, with lines of it replaced.
  static std::string Entry(const std::string& replace = "replace = [[\"return 1\", \"return 2\"]]",
                           const std::string& status = "status = \"failed\"",
                           const std::string& name = "name = \"two\"") {
    return "[[mutant]]\n" + name + "\nmistake = \"counts from 1\"\nfile = \"one.cpp\"\n" + replace + "\n" + status +
           "\nsays = \"two\"\n";
  }

  fs::path root_;
  Rubric rubric_;
};

TEST_F(Reading, AnEntryIsReadWithItsPlace) {
  Write("tests/mutants/demo/first.toml", "# a comment\n\n" + Entry());
  const Sets sets = Load();
  ASSERT_EQ(sets.mutants.size(), 1u);
  EXPECT_EQ(sets.mutants[0].id(), "demo.first.two");
  EXPECT_EQ(sets.mutants[0].where, "tests/mutants/demo/first.toml:3");
  EXPECT_THAT(sets.mutants[0].says, ElementsAre("two"));
  EXPECT_EQ(Mutated(sets.mutants[0], "int one() { return 1; }"), "int one() { return 2; }");
}

TEST_F(Reading, AReplacementThatDoesNotFitNamesItsLine) {
  Write("tests/mutants/demo/first.toml", Entry());
  const Mutant mutant = Load().mutants.at(0);
  const auto complaint = [&](const std::string& solution) -> std::string {
    try {
      return Mutated(mutant, solution);
    } catch (const UsageError& error) {
      return error.what();
    }
  };
  EXPECT_THAT(complaint("return 3;"), AllOf(StartsWith("tests/mutants/demo/first.toml:5: mutant 'two'"),
                                            HasSubstr("occurs nowhere in solutions/demo/one.cpp")));
  EXPECT_THAT(complaint("return 1; return 1;"), HasSubstr("occurs 2 times"));
}

TEST_F(Reading, WhatIsWrongIsNamedWithFileAndLine) {
  const std::string at = "tests/mutants/demo/first.toml:";
  EXPECT_THAT(Complaint(Entry("replace = \"return 2\"")), AllOf(StartsWith(at + "5: "), HasSubstr("list of pairs")));
  EXPECT_THAT(Complaint(Entry("")), AllOf(StartsWith(at + "1: "), HasSubstr("`replace` or `source`")));
  EXPECT_THAT(Complaint(Entry("source = \"none.cpp\"")), AllOf(StartsWith(at + "5: "), HasSubstr("no none.cpp")));
  EXPECT_THAT(Complaint(Entry("replace = [[\"a\", \"a\"]]")), HasSubstr("changes nothing"));
  EXPECT_THAT(Complaint(Entry("replace = [[\"a\", \"b\"]]", "status = \"faild\"")),
              AllOf(StartsWith(at + "6: "), HasSubstr("did you mean 'failed'?")));
  EXPECT_THAT(Complaint(Entry() + "becase = \"slow\"\n"), AllOf(StartsWith(at), HasSubstr("did you mean 'case'?")));
  EXPECT_THAT(Complaint(Entry() + Entry()), AllOf(StartsWith(at + "9: "), HasSubstr("'two' is there twice")));
  EXPECT_THAT(Complaint("[[mutant]\n"), StartsWith(at + "1: "));
  fs::remove(root_ / "tests/mutants/demo/first.toml");
  Write("tests/mutants/demo/frist.toml", Entry());
  EXPECT_THROW(Load(), UsageError);
}

TEST_F(Reading, AVariantSaysHowItDiffers) {
  Write("tests/variants/demo/other/one.cpp", "");
  EXPECT_THROW(Load(), UsageError);
  Write("tests/variants/demo/other/variant.toml", "difference = \"another way\"\n");
  EXPECT_EQ(Load().variants.at(0).id(), "demo/other");
  Write("tests/variants/demo/other/two.cpp", "");  // there is no such solution
  EXPECT_THROW(Load(), UsageError);
}

TEST_F(Reading, WhatIsMissingIsCounted) {
  Write("tests/mutants/demo/first.toml", Entry());
  EXPECT_THAT(Missing(Load(), {rubric_}, 2, 1),
              ElementsAre("demo.first has 1 mutants of at least 2", "demo has 0 variants of at least 1"));
  EXPECT_THAT(Missing(Load(), {rubric_}, 1, 0), ElementsAre());
}

/// Findings of mutants that ended so.
Findings Ended(const std::vector<Verdict>& mutants, const std::vector<Verdict>& variants = {}) {
  Findings findings;
  for (const Verdict verdict : mutants) {
    findings.sets.mutants.emplace_back();
    findings.mutants.push_back({verdict, Status::kFailed, "case/ranks=2", "message", 1, 2});
  }
  for (const Verdict verdict : variants) {
    findings.sets.variants.emplace_back();
    findings.variants.push_back({verdict, Status::kPassed, "", "", 1, 2});
  }
  return findings;
}

TEST(ExitStatus, AsksForEveryMutantAndEveryVariant) {
  const auto killed = Verdict::kKilled, other = Verdict::kWrongDiagnosis;
  EXPECT_EQ(ExitStatus(Ended({killed, killed}, {Verdict::kFullMarks})), 0);
  EXPECT_EQ(ExitStatus(Ended({killed, killed, killed, killed, other})), 0);  // 80 % are enough
  EXPECT_EQ(ExitStatus(Ended({killed, killed, killed, other})), 1);
  EXPECT_EQ(ExitStatus(Ended({killed, killed, killed, killed, killed, killed, Verdict::kSurvived})), 1);
  EXPECT_EQ(ExitStatus(Ended({killed}, {Verdict::kBelow})), 1);
  EXPECT_EQ(ExitStatus(Ended({killed, Verdict::kError})), 2);
}

/// The whole tool on selftest/, whose entries end in every way.
TEST(Tool, ReportsEveryWayInWhichAnEntryCanEnd) {
  const fs::path json = fs::temp_directory_path() / ("shardlab-mutants-" + std::to_string(getpid()) + ".json");
  std::string said;
  cli::RunOptions options;
  options.on_line = [&](const std::string& line) { said += line + "\n"; };
  const int status = cli::RunProgram(
      {SHARDLAB_MUTANTS, "--no-build", "--seed", "7", "--sets", SHARDLAB_SELFTEST, "--json", json.string()}, options);
  EXPECT_EQ(status, 2) << said;
  const auto document = nlohmann::json::parse(ReadFile(json.string()));
  fs::remove(json);
  std::map<std::string, nlohmann::json> of;
  for (const auto& one : document.at("mutants")) of[one.at("id").get<std::string>()] = one;
  const auto text = [&](const std::string& name, const std::string& key) {
    return of.at("communication.doubling." + name).at(key).get<std::string>();
  };
  EXPECT_EQ(text("killed", "verdict"), "killed");
  EXPECT_EQ(text("killed", "status"), "deadlock");
  EXPECT_EQ(text("killed", "case"), "values/ranks=2");
  EXPECT_EQ(text("survives", "verdict"), "survived");
  EXPECT_EQ(text("explained_otherwise", "verdict"), "wrong diagnosis");
  EXPECT_THAT(text("explained_otherwise", "message"), HasSubstr("both wait"));
  EXPECT_EQ(text("occurs_twice", "verdict"), "error");
  EXPECT_THAT(text("occurs_twice", "message"),
              AllOf(StartsWith("tests/mutants/selftest/mutants/communication/doubling.toml:"), HasSubstr("times in")));
  EXPECT_EQ(text("does_not_compile", "verdict"), "error");
  EXPECT_THAT(text("does_not_compile", "message"),
              AllOf(StartsWith("tests/mutants/selftest/mutants/communication/doubling.toml:"),
                    HasSubstr("recursive_doubling.cpp"), HasSubstr("'one' was not declared")));
  EXPECT_EQ(document.at("variants").at(0).at("verdict"), "below full marks");
  // A person is told the same.
  EXPECT_THAT(said, AllOf(HasSubstr("communication.doubling.survives survived"), HasSubstr("the moon is full"),
                          HasSubstr("communication/doubles_the_sum must get full marks")));
}

}  // namespace
