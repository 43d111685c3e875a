// lab grade, with a session that says what each test wants to hear.
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "../texts.hpp"
#include "build.hpp"
#include "commands.hpp"
#include "shardlab/base/errors.hpp"
#include "tree.hpp"

namespace {

using namespace shardlab;
using namespace shardlab::cli;
using grade::CaseResult;
using grade::Kind;
using grade::ListedCase;
using grade::SessionOptions;
using grade::SessionResult;
using grade::Status;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class Grading : public Tree {
 protected:
  /// Parts whose cases end otherwise than passed, and PART/CASE of single ones that are not implemented.
  std::map<std::string, Status> ends_;
  /// Parts that have none.
  std::set<std::string> empty_;
  /// What the sessions were asked for.
  std::vector<SessionOptions> asked_;
  /// The cases that really ran.
  std::vector<std::string> ran_;
  /// Called before each case.
  std::function<void(const ListedCase&)> before_case_;

  /// A value and a cost case a part, run in order, like the real thing: it asks `skip` and tells `on_result`.
  SessionRunner Fake() {
    return [this](const SessionOptions& options) {
      asked_.push_back(options);
      SessionResult result;
      result.libtorch = "1.13.1";
      std::vector<std::string> parts = options.parts;
      if (parts.empty() && options.module == "demo") parts = {"demo.first", "demo.second", "demo.extra"};
      if (parts.empty()) parts = {"other.only"};
      for (const std::string& part : parts) {
        if (empty_.count(part)) continue;
        result.listed.push_back({part, "values/ranks=2", Kind::kValue, 2});
        result.listed.push_back({part, "bytes/ranks=2", Kind::kCost, 2});
      }
      if (options.on_cases) options.on_cases(result.listed);
      for (const ListedCase& listed : result.listed) {
        if (before_case_) before_case_(listed);
        CaseResult one;
        one.part = listed.part;
        one.id = listed.id;
        one.kind = listed.kind;
        const std::string why = options.cancel && *options.cancel ? "not run: cancelled" : options.skip(listed);
        if (!why.empty()) {
          one.message = why;
        } else {
          ran_.push_back(listed.part + "/" + listed.id);
          const auto part = ends_.find(listed.part), alone = ends_.find(ran_.back());
          const auto at = alone == ends_.end() ? part : alone;
          one.status = at == ends_.end() ? Status::kPassed : at->second;
          if (one.status != Status::kPassed) one.message = "it went wrong";
          if (at == alone && at != ends_.end())
            one.message = "rank 0: not implemented yet: demo.extra: Values (exercises/demo/c.cpp)";
          if (options.on_run) options.on_run(listed, OneBarrier(one.status));
        }
        options.on_result(one);
        result.results.push_back(one);
      }
      result.cancelled = options.cancel && *options.cancel;
      return result;
    };
  }

  /// A run in which one rank waits in a barrier, for ever if it is a deadlock.
  static grade::CaseOutcome OneBarrier(Status status) {
    grade::CaseOutcome run;
    run.status = status;
    run.ranks.resize(1);
    Record record;
    record.op = OpKind::kBarrier;
    record.id = 1;
    for (const RecordKind kind : {RecordKind::kPost, RecordKind::kBlock, RecordKind::kUnblock}) {
      if (kind == RecordKind::kUnblock && status == Status::kDeadlock) break;
      record.kind = kind;
      record.time_ns += 1000;
      run.events.push_back({record, 0});
    }
    return run;
  }

  int Run(GradeOptions options) {
    options.json = In("card.json");
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int status = Grade(MakeContext(), options, Fake());
    out_ = testing::internal::GetCapturedStdout();
    err_ = testing::internal::GetCapturedStderr();
    card_ = nlohmann::json::parse(Read("card.json"));
    return status;
  }
  /// As a student does it, without a file for others to read.
  int RunAlone(const GradeOptions& options) {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int status = Grade(MakeContext(), options, Fake());
    out_ = testing::internal::GetCapturedStdout();
    err_ = testing::internal::GetCapturedStderr();
    return status;
  }
  /// Whether demo.first is graded when demo.second is asked for.
  bool GradesFirst(const GradeOptions& options = What({"demo.second"})) {
    asked_.clear();
    RunAlone(options);
    const std::vector<std::string> parts = asked_.at(0).parts;
    return std::find(parts.begin(), parts.end(), "demo.first") != parts.end();
  }
  static int CountOf(const std::string& text, const std::string& words) {
    int count = 0;
    for (size_t at = text.find(words); at != std::string::npos; at = text.find(words, at + 1)) ++count;
    return count;
  }
  static GradeOptions What(const std::vector<std::string>& what) {
    GradeOptions options;
    options.what = what;
    return options;
  }
  nlohmann::json Progress(const std::string& part) {
    return nlohmann::json::parse(Read(".lab/progress.json")).at("parts").at(part);
  }

  std::string out_, err_;
  nlohmann::json card_;
};

TEST_F(Grading, EverythingPassed) {
  EXPECT_EQ(Run(What({})), 0);
  EXPECT_EQ(card_["score"], 4);
  EXPECT_EQ(card_["bonus"], 1);
  EXPECT_EQ(card_["libtorch"], "1.13.1");
  EXPECT_EQ(card_["flavour"], "exercises");
  EXPECT_THAT(Built(), HasSubstr("--target host_demo_exercises referee_demo host_other_exercises referee_other"));
  EXPECT_THAT(out_, AllOf(HasSubstr("Total  4 of 4, bonus 1 of 1"), HasSubstr("has passed")));
  EXPECT_EQ(Progress("demo.extra")["best"], 1);
  ASSERT_EQ(asked_.at(0).programs.size(), 1u);
  EXPECT_EQ(asked_.at(0).programs[0].host, In("build/bin/host_demo_exercises"));
}

/// A build in which `demo` has cases without tensors and `other` has none.
constexpr const char* kHalfPlain =
    "build referee_demo: phony bin/referee_demo\nbuild referee_demo_plain: phony bin/referee_demo_plain\n"
    "build referee_other: phony bin/referee_other\n";

TEST_F(Grading, TheCasesWithoutTensorsComeFirst) {
  Write("build/build.ninja", kHalfPlain);
  EXPECT_EQ(Run(What({})), 0);
  EXPECT_THAT(Built(), HasSubstr("--target host_demo_plain_exercises referee_demo_plain host_demo_exercises "
                                 "referee_demo host_other_exercises referee_other"));
  ASSERT_EQ(asked_.size(), 2u);
  ASSERT_EQ(asked_[0].programs.size(), 2u);
  EXPECT_EQ(asked_[0].programs[0].host, In("build/bin/host_demo_plain_exercises"));
  EXPECT_EQ(asked_[0].programs[0].referee, In("build/bin/referee_demo_plain"));
  EXPECT_EQ(asked_[0].programs[1].referee, In("build/bin/referee_demo"));
  EXPECT_EQ(asked_[1].programs.size(), 1u);
}

TEST_F(Grading, QuickBuildsAndRunsOnlyThose) {
  Write("build/build.ninja", kHalfPlain);
  empty_ = {"demo.second"};
  GradeOptions options = What({});
  options.quick = true;
  EXPECT_EQ(Run(options), 0) << out_;
  EXPECT_THAT(Built(), AllOf(HasSubstr("--target host_demo_plain_exercises referee_demo_plain\n"),
                             Not(HasSubstr("referee_other"))));
  ASSERT_EQ(asked_.size(), 1u);
  ASSERT_EQ(asked_[0].programs.size(), 1u);
  EXPECT_EQ(asked_[0].programs[0].host, In("build/bin/host_demo_plain_exercises"));
  ASSERT_EQ(card_["modules"].size(), 1u);
  ASSERT_EQ(card_["modules"][0]["parts"].size(), 2u) << "a part without such cases is not on the card";
  EXPECT_EQ(card_["modules"][0]["parts"][1]["id"], "demo.extra");
  EXPECT_THAT(out_, HasSubstr("points for the cases without tensors only; they are not recorded"));
  EXPECT_FALSE(std::filesystem::exists(In(".lab/progress.json")));
}

TEST_F(Grading, QuickSaysWhereThereAreNone) {
  Write("build/build.ninja", kHalfPlain);
  GradeOptions options = What({"other"});
  options.quick = true;
  const auto refusal = [&] { return MessageOf<UsageError>([&] { Grade(MakeContext(), options, Fake()); }); };
  EXPECT_EQ(refusal(), "other has no case without tensors; leave --quick out");
  empty_ = {"demo.first"};
  options.what = {"demo.first"};
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  EXPECT_EQ(refusal(), "no case of what was asked for runs without tensors; leave --quick out");
  testing::internal::GetCapturedStdout();
  testing::internal::GetCapturedStderr();
}

TEST_F(Grading, AFailureCostsItsPartAndThoseAfterIt) {
  ends_["demo.first"] = Status::kDeadlock;
  EXPECT_EQ(Run(What({"demo"})), 1);
  EXPECT_EQ(card_["score"], 0);
  EXPECT_EQ(card_["bonus"], 1);
  EXPECT_EQ(card_["modules"][0]["parts"][0]["status"], "deadlock");
  EXPECT_EQ(card_["modules"][0]["parts"][1]["status"], "skipped");
  EXPECT_THAT(ran_, Not(testing::Contains("demo.second/values/ranks=2"))) << "it was not worth running";
  EXPECT_THAT(out_, AllOf(HasSubstr("it went wrong"), HasSubstr("./lab hint demo.first")));
}

TEST_F(Grading, WhatIsNotWrittenYetIsFoundOutOnce) {
  ends_["demo.first"] = Status::kNotImplemented;
  EXPECT_EQ(Run(What({"demo.first"})), 1);
  EXPECT_THAT(ran_, ElementsAre("demo.first/values/ranks=2")) << "its cost can give no point";
  EXPECT_EQ(card_["modules"][0]["parts"][0]["status"], "not implemented");
  EXPECT_EQ(Progress("demo.first")["status"], "not implemented");
  EXPECT_THAT(out_, HasSubstr("Next: demo.first  (handout: exercises/demo/README.md)\n      ./lab hint demo.first\n"));
}

TEST_F(Grading, TheBestScoreIsKept) {
  Run(What({"demo.first"}));
  ends_["demo.first"] = Status::kFailed;
  Run(What({"demo.first"}));
  EXPECT_EQ(Progress("demo.first")["best"], 1);
  EXPECT_EQ(Progress("demo.first")["last"], 0);
  EXPECT_EQ(Progress("demo.first")["status"], "failed");
}

TEST_F(Grading, OnePartIsGradedWithThoseBeforeItButScoredAlone) {
  EXPECT_EQ(Run(What({"demo.second"})), 0);
  EXPECT_THAT(asked_.at(0).parts, ElementsAre("demo.first", "demo.second"));
  EXPECT_EQ(card_["max"], 1);
  EXPECT_EQ(card_["modules"][0]["parts"].size(), 1u);
  ends_["demo.first"] = Status::kFailed;
  EXPECT_EQ(Run(What({"demo.second"})), 1);
  EXPECT_THAT(out_, HasSubstr("builds on demo.first, which fails now:\n    values/ranks=2: it went wrong\n"));
  EXPECT_THAT(out_, HasSubstr("Next: demo.first, which demo.second builds on\n      ./lab grade demo.first\n"));
}

TEST_F(Grading, WhatHasNotChangedSinceItPassedIsNotGradedAgain) {
  unsetenv("CI");
  EXPECT_TRUE(GradesFirst());
  EXPECT_FALSE(GradesFirst());
  EXPECT_THAT(out_, HasSubstr("Not graded again: demo.first, unchanged since it passed (--all grades everything).\n"));
  RunAlone(What({"demo.first"}));
  EXPECT_THAT(asked_.back().parts, ElementsAre("demo.first")) << "what is asked for is graded, whatever is known";

  Write("exercises/demo/a.cpp", "// another text\n");
  EXPECT_TRUE(GradesFirst());
  EXPECT_FALSE(GradesFirst());
  Write("exercises/demo/b.cpp", "// of the part that is asked for\n");
  EXPECT_FALSE(GradesFirst());
  Write("exercises/demo/README.md", "no source\n");
  EXPECT_FALSE(GradesFirst());
  Write("exercises/demo/mine.hpp", "// which any file may include\n");
  EXPECT_TRUE(GradesFirst());
  Write("exercises/demo/c.cpp", "// of a part that it has nothing to do with\n");
  EXPECT_FALSE(GradesFirst());
  Write("exercises/demo/a.cpp", "#include \"shardlab/demo/c.hpp\"\n");
  EXPECT_TRUE(GradesFirst());
  Write("exercises/demo/c.cpp", "// which it calls\n");
  EXPECT_TRUE(GradesFirst());
  EXPECT_FALSE(GradesFirst());
  Write("build/bin/referee_demo", "another grader");
  EXPECT_TRUE(GradesFirst());
}

TEST_F(Grading, AScoreThatSomebodyReadsRestsOnItsOwnRun) {
  unsetenv("CI");
  GradesFirst();
  ASSERT_FALSE(GradesFirst());
  for (void (*change)(GradeOptions&) :
       {+[](GradeOptions& options) { options.all = true; }, +[](GradeOptions& options) { options.replay = true; }}) {
    GradeOptions options = What({"demo.second"});
    change(options);
    EXPECT_TRUE(GradesFirst(options));
  }
  for (std::string GradeOptions::*file : {&GradeOptions::json, &GradeOptions::junit, &GradeOptions::gradescope}) {
    GradeOptions options = What({"demo.second"});
    options.*file = In("result");
    EXPECT_TRUE(GradesFirst(options));
  }
  setenv("CI", "true", 1);
  EXPECT_TRUE(GradesFirst());
  unsetenv("CI");
  EXPECT_FALSE(GradesFirst());
}

TEST_F(Grading, OnlyAWholePassOfWhatIsThereNowIsKept) {
  unsetenv("CI");
  ends_["demo.first"] = Status::kFailed;
  EXPECT_TRUE(GradesFirst());
  ends_.clear();
  EXPECT_TRUE(GradesFirst()) << "it has failed";
  ASSERT_FALSE(GradesFirst());
  ends_["demo.first"] = Status::kFailed;
  RunAlone(What({"demo.first"}));
  EXPECT_TRUE(GradesFirst()) << "the same text passed once and fails now";
  ends_.clear();

  Write("exercises/demo/a.cpp", "// a third text\n");
  GradeOptions on_two_ranks = What({"demo.first"});
  on_two_ranks.ranks = 2;
  RunAlone(on_two_ranks);
  EXPECT_TRUE(GradesFirst()) << "some of its cases passed";

  Write("exercises/demo/a.cpp", "// a fourth text\n");
  before_case_ = [&](const ListedCase&) { Write("exercises/demo/a.cpp", "// saved while it was graded\n"); };
  RunAlone(What({"demo.first"}));
  before_case_ = nullptr;
  EXPECT_TRUE(GradesFirst()) << "what passed is not what is there";

  Write(".lab/last_runs.json", "no JSON");
  EXPECT_TRUE(GradesFirst()) << "and nothing is lost but time";
  EXPECT_FALSE(GradesFirst());
}

TEST_F(Grading, ARunBeginsWithWhatFailedLastTime) {
  ends_["demo.first"] = Status::kFailed;
  ends_["demo.extra"] = Status::kNotImplemented;
  RunAlone(What({"demo"}));
  EXPECT_TRUE(asked_.back().first.empty());
  RunAlone(What({"demo"}));
  EXPECT_THAT(asked_.back().first, ElementsAre("demo.first/values/ranks=2", "demo.first/bytes/ranks=2"))
      << "what is not written did not fail";
  ends_.clear();
  RunAlone(What({"demo"}));
  RunAlone(What({"demo"}));
  EXPECT_TRUE(asked_.back().first.empty());
}

TEST_F(Grading, OneCaseRunsAloneAndIsNotRecorded) {
  GradeOptions options = What({"demo.second"});
  options.case_name = "values";
  RunAlone(options);
  EXPECT_EQ(asked_.back().case_name, "values");
  EXPECT_THAT(asked_.back().parts, ElementsAre("demo.second")) << "without what it builds on";
  EXPECT_THAT(out_, HasSubstr("These are points for the cases called values only; they are not recorded.\n"));
  EXPECT_FALSE(Exists(".lab/progress.json") || Exists(".lab/last_runs.json"));
  options.what = {"demo"};
  try {
    RunAlone(options);
    FAIL() << "which part is not said";
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "--case values: name the one part that has it, lab grade MODULE.PART --case values");
  }
  testing::internal::GetCapturedStdout();
  testing::internal::GetCapturedStderr();
}

TEST_F(Grading, AWrongFunctionIsShownBeforeOneThatIsNotWritten) {
  const std::string rubric = Read("graders/demo/rubric.toml");
  Write("graders/demo/rubric.toml",
        rubric +
            "functions = [{ name = \"Values\", cases = [\"values\"] }, { name = \"Bytes\", cases = [\"bytes\"] }]\n");
  ends_["demo.extra"] = Status::kFailed;
  ends_["demo.extra/values/ranks=2"] = Status::kNotImplemented;
  EXPECT_EQ(Run(What({"demo.extra"})), 1);
  EXPECT_THAT(ran_, ElementsAre("demo.extra/values/ranks=2", "demo.extra/bytes/ranks=2"))
      << "a cost of another function than the one that is missing";
  EXPECT_EQ(card_["modules"][0]["parts"][0]["status"], "failed");
  EXPECT_THAT(out_, HasSubstr("    Bytes: bytes/ranks=2 (cost case)\n    it went wrong\n    not written yet: Values "
                              "(exercises/demo/c.cpp)\n"));
  EXPECT_EQ(Progress("demo.extra")["status"], "failed");
}

TEST_F(Grading, AFileThatDoesNotCompileIsNamedWithTheFirstErrorInIt) {
  Write("build/exercises/demo/b.cpp.error.txt",
        "exercises/demo/b.cpp does not compile: its stub takes its place.\n"
        "In file included from somewhere:\n"
        "core/include/x.hpp:1:1: error: consequence\n"
        "exercises/demo/b.cpp:7:3: error: 'rnak' was not declared\n"
        "    7 |   rnak = 0;\n"
        "      |   ^~~~\n"
        "exercises/demo/b.cpp:9:1: error: another\n");
  EXPECT_EQ(Run(What({"demo"})), 1);
  const auto& parts = card_["modules"][0]["parts"];
  EXPECT_EQ(parts[0]["status"], "passed");
  EXPECT_EQ(parts[1]["status"], "does not compile");
  EXPECT_EQ(parts[1]["cases"][0]["message"],
            "exercises/demo/b.cpp:7:3: error: 'rnak' was not declared\n    7 |   rnak = 0;\n      |   ^~~~");
  EXPECT_THAT(out_, Not(HasSubstr("another")));
}

TEST_F(Grading, SolutionsLeaveTheStudentsProgressAlone) {
  Write("solutions/demo/a.cpp", "");
  Write("build/exercises/demo/b.cpp.error.txt", "exercises/demo/b.cpp does not compile: its stub takes its place.\n");
  GradeOptions options = What({"demo"});
  options.solutions = true;
  options.seed = 7;
  EXPECT_EQ(Run(options), 0) << "the student's mistakes are not the solutions'";
  EXPECT_EQ(card_["seed"], 7);
  EXPECT_EQ(card_["flavour"], "solutions");
  EXPECT_EQ(asked_.at(0).seed, 7u);
  EXPECT_FALSE(Exists(".lab/progress.json"));
}

TEST_F(Grading, CtrlCWritesWhatThereIs) {
  before_case_ = [](const ListedCase& listed) {
    if (listed.part == "demo.second" && listed.kind == Kind::kCost) std::raise(SIGINT);
  };
  GradeOptions options = What({});
  options.junit = In("junit.xml");
  options.gradescope = In("results.json");
  options.html = In("report");
  options.trace = In("traces");
  EXPECT_EQ(Run(options), 1);
  EXPECT_THAT(Read("junit.xml"), HasSubstr("<skipped message=\"not run: the run was ended early\"/>"));
  EXPECT_THAT(Read("report/index.html"), AllOf(HasSubstr("not run: the run was ended early"), HasSubstr("other.only")));
  EXPECT_TRUE(Exists("traces/demo.first.values-ranks-2.json"));
  const auto results = nlohmann::json::parse(Read("results.json"));
  EXPECT_EQ(results["score"], 1.5);
  EXPECT_EQ(results["tests"].size(), 4u);
  EXPECT_THAT(results["tests"][1]["output"].get<std::string>(), HasSubstr("1 of 2 cases did not run"));
  EXPECT_EQ(card_["modules"][0]["parts"][0]["score"], 1);
  EXPECT_EQ(card_["modules"][0]["parts"][1]["score"], 0.5);
  EXPECT_EQ(card_["modules"][0]["parts"][1]["status"], "skipped");
  EXPECT_EQ(card_["modules"][1]["parts"][0]["status"], "skipped");
  EXPECT_EQ(asked_.size(), 1u) << "the next module was not begun";
  EXPECT_EQ(Progress("demo.first")["best"], 1);
  EXPECT_ANY_THROW(Progress("demo.second")) << "half a run says nothing about a part";
}

TEST_F(Grading, SigtermDoesTheSame) {
  before_case_ = [](const ListedCase& listed) {  // once: a second one would end this program at once
    if (listed.part == "demo.first" && listed.kind == Kind::kValue) std::raise(SIGTERM);
  };
  EXPECT_EQ(Run(What({"demo"})), 1);
  EXPECT_EQ(card_["modules"][0]["parts"][0]["cases"][0]["status"], "skipped");
}

TEST_F(Grading, GradescopeKnowsAfterEveryCaseWhatIsCertain) {
  std::vector<std::string> seen;  // before each case
  before_case_ = [&](const ListedCase& listed) {
    const auto results = nlohmann::json::parse(Read("results.json"));
    seen.push_back(fmt::format("{}/{}: {} of {} tests", listed.part, listed.id, results["score"].get<double>(),
                               results["tests"].size()));
    const std::string output = results["tests"][3]["output"];
    EXPECT_THAT(output,
                HasSubstr(listed.part == "other.only" && listed.kind == Kind::kCost ? "did not run" : "not run yet"));
  };
  GradeOptions options = What({});
  options.gradescope = In("results.json");
  EXPECT_EQ(Run(options), 0);
  EXPECT_THAT(seen, ElementsAre("demo.first/values/ranks=2: 0 of 4 tests", "demo.first/bytes/ranks=2: 0.5 of 4 tests",
                                "demo.second/values/ranks=2: 1 of 4 tests", "demo.second/bytes/ranks=2: 1.5 of 4 tests",
                                "demo.extra/values/ranks=2: 2 of 4 tests", "demo.extra/bytes/ranks=2: 2.5 of 4 tests",
                                "other.only/values/ranks=2: 3 of 4 tests", "other.only/bytes/ranks=2: 4 of 4 tests"));
  EXPECT_EQ(nlohmann::json::parse(Read("results.json"))["score"], 5);
}

TEST_F(Grading, ThePageAndTheTracesShowTheRuns) {
  ends_["demo.first"] = Status::kDeadlock;
  GradeOptions options = What({"demo"});
  options.html = In("deep/report");
  options.trace = In("traces");
  EXPECT_EQ(Run(options), 1);
  const std::string page = Read("deep/report/index.html");
  EXPECT_THAT(page, HasSubstr("aria-label=\"Timeline of values/ranks=2: 1 operations"));
  EXPECT_THAT(page, HasSubstr("Rank 0 waits in Barrier"));
  EXPECT_THAT(page, HasSubstr("Timeline of <b>values/ranks=2</b>, which passed"));
  EXPECT_THAT(page, HasSubstr("Next: demo.first&#10;      ./lab hint demo.first<")) << "without the terminal's colours";
  const auto trace = nlohmann::json::parse(Read("traces/demo.extra.bytes-ranks-2.json"));
  EXPECT_EQ(trace["traceEvents"][0]["args"]["name"], "rank 0 of demo.extra bytes/ranks=2");
  EXPECT_THAT(out_, HasSubstr(fmt::format("Written: {}/index.html, {}/ (4 files for ui.perfetto.dev), {}",
                                          In("deep/report"), In("traces"), In("card.json"))));
}

TEST_F(Grading, AFullDiskCostsTheFileButNotTheScore) {
  GradeOptions options = What({"demo"});
  options.gradescope = "/dev/full";
  options.junit = "/dev/full";
  options.html = In("report");
  EXPECT_EQ(Run(options), 3);
  EXPECT_EQ(card_["score"], 2) << "the other files are written";
  EXPECT_TRUE(Exists("report/index.html"));
  EXPECT_THAT(out_, HasSubstr("Total  2 of 2, bonus 1 of 1"));
  EXPECT_THAT(out_, Not(HasSubstr("/dev/full")));
  EXPECT_EQ(CountOf(err_, "cannot write"), 2) << "once for each, however often it was tried:\n" << err_;
  EXPECT_THAT(err_, HasSubstr("lab: cannot write /dev/full: the disk of /dev is full; free some space"));
}

TEST_F(Grading, AFolderThatVanishesCostsTheTracesButNotTheScore) {
  before_case_ = [&](const ListedCase&) { std::filesystem::remove_all(In("traces")); };
  GradeOptions options = What({"demo"});
  options.trace = In("traces");
  EXPECT_EQ(Run(options), 3);
  EXPECT_EQ(card_["score"], 2);
  EXPECT_EQ(CountOf(err_, "cannot write"), 1) << err_;
}

TEST_F(Grading, AMachineThatCannotIsNotAFailureOfTheStudent) {
  before_case_ = [](const ListedCase& listed) {
    if (listed.part == "demo.second") throw EnvironmentError("the referee ended by signal 9");
  };
  EXPECT_EQ(Run(What({"demo"})), 3);
  EXPECT_EQ(card_["modules"][0]["parts"][0]["score"], 1);
  EXPECT_EQ(card_["modules"][0]["parts"][1]["cases"][0]["message"], "the referee ended by signal 9");
  EXPECT_FALSE(Exists(".lab/progress.json"));
}

TEST_F(Grading, NoCaseOnSoManyRanksIsAMistake) {
  const SessionRunner none = [](const SessionOptions&) -> SessionResult {
    throw UsageError("no case runs on 7 ranks");
  };
  GradeOptions options = What({"demo"});
  options.ranks = 7;
  EXPECT_THROW(Grade(MakeContext(), options, none), UsageError);
}

TEST_F(Grading, ACurveIsDrawn) {
  const SessionRunner fake = Fake();
  const SessionRunner curves = [&](const SessionOptions& options) {
    SessionResult result = fake(options);
    result.curves.push_back({"demo.first", "curve/ranks=2", "mlp", {2, 1}, {2, 1}, {0.1, 0.1}});
    return result;
  };
  testing::internal::CaptureStdout();
  EXPECT_EQ(Grade(MakeContext(), What({"demo"}), curves), 0);
  EXPECT_THAT(testing::internal::GetCapturedStdout(),
              HasSubstr(".lab/curves/exercises/demo.first.curve-ranks-2.mlp.svg"));
  EXPECT_THAT(Read(".lab/curves/exercises/demo.first.curve-ranks-2.mlp.svg"), HasSubstr("demo.first: mlp"));
}

TEST_F(Grading, WhatCannotBeBuiltIsNotGraded) {
  Script("cmake", "exit 1\n");
  testing::internal::CaptureStderr();
  EXPECT_THROW(Grade(MakeContext(), What({"demo"}), Fake()), EnvironmentError);
  testing::internal::GetCapturedStderr();
  EXPECT_TRUE(asked_.empty());
}

}  // namespace
