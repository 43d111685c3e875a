// Grading as a function: several trees at a time in one process, with real hosts and referees (those of tests/grade that
// need no LibTorch).
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "grade_once.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/launch/process.hpp"
#include "tree.hpp"

namespace {

using namespace shardlab;
using namespace shardlab::cli;
using grade::CaseResult;
using grade::ListedCase;
using grade::Status;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using Clock = std::chrono::steady_clock;

/// Sets a flag at the first word of what it waits for.
class Observer final : public GradeObserver {
 public:
  void Built(const BuildStep& step) override {
    const std::string text = fmt::format("{}/{} {}", step.done, step.total, step.subject);
    if (steps.empty() || steps.back() != text) steps.push_back(text);
    if (cancel_at_build) cancel = true;
  }
  void Begins(const Rubric& module) override { modules.push_back(module.id); }
  void Starts(const ListedCase& listed) override {
    if (listed.id == cancel_at_case) cancel = true;
  }
  void Judged(const CaseResult& result) override { judged.push_back(result.id); }
  void Changed(const std::function<ScoreCard()>& so_far) override { scores.push_back(so_far().modules.at(0).score); }

  bool cancel_at_build = false;
  std::string cancel_at_case;
  std::atomic<bool> cancel{false};
  std::vector<std::string> steps, modules, judged;
  std::vector<double> scores;
};

class Once : public Tree {
 protected:
  void SetUp() override {
    Tree::SetUp();
    Script("cmake",
           "case \"$*\" in\n"
           "*/slow/*) echo '[1/9] Building CXX object a.cpp.o'; sleep 60;;\n"
           "*/broken/*) echo 'FAILED: x.o'; echo 'x.cpp:3:1: error: no such thing'; exit 1;;\n"
           "*) echo '[1/2] Building CXX object a.cpp.o'; echo '[2/2] Linking';;\n"
           "esac\n");
  }

  /// A tree whose module `tests` has the parts `good`, which passes, and `rough`, which crashes and does not end.
  SourceTree Make(const std::string& name) {
    Write(name + "/graders/tests/rubric.toml", R"(
id = "tests"
title = "Tests"
[[part]]
id = "good"
title = "What is right"
points = 2
files = ["a.cpp"]
[[part]]
id = "rough"
title = "What is wrong"
points = 1
files = ["b.cpp"]
)");
    std::filesystem::create_symlink(SHARDLAB_CMAKE, In(name + "/cmake"));
    Write(name + "/build/CMakeCache.txt", "");
    Write(name + "/build/build.ninja", "build referee_tests_plain: phony bin/referee_tests_plain\n");
    std::filesystem::create_directories(In(name + "/build/bin"));
    std::filesystem::create_symlink(PLAIN_HOST, In(name + "/build/bin/host_tests_plain_exercises"));
    std::filesystem::create_symlink(PLAIN_REFEREE, In(name + "/build/bin/referee_tests_plain"));
    SourceTree tree;
    tree.root = In(name);
    tree.build = In(name + "/build");
    return tree;
  }

  static GradeOnceOptions Only(const std::string& part, const Observer& observer) {
    GradeOnceOptions options;
    options.what = {"tests." + part};
    options.quick = true;
    options.seed = 7;
    options.cancel = &observer.cancel;
    return options;
  }

  /// Grades a part of a tree that has nothing to do with what else goes on, again and again; how often it went well.
  static int GradeUntil(const std::atomic<bool>& enough, const SourceTree& tree) {
    int well = 0;
    do {
      Observer observer;
      const GradeResult result = GradeOnce(tree, Only("good", observer), observer);
      if (!result.card.AllPassed() || result.cancelled || result.problem) return -1;
      ++well;
    } while (!enough);
    return well;
  }
};

TEST_F(Once, TellsWhatHappensAndLeavesTheProcessAsItWas) {
  const SourceTree tree = Make("one");
  const std::string folder = std::filesystem::current_path();
  struct sigaction before {};
  sigaction(SIGINT, nullptr, &before);
  Observer observer;
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const GradeResult result = GradeOnce(tree, Only("good", observer), observer);
  EXPECT_EQ(testing::internal::GetCapturedStdout() + testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(result.card.Score(), 2);
  EXPECT_EQ(result.card.seed, 7u);
  EXPECT_THAT(observer.steps, ElementsAre("1/2 a.cpp", "2/2 Linking"));
  EXPECT_THAT(observer.modules, ElementsAre("tests"));
  EXPECT_THAT(observer.judged, ElementsAre("handed_back/ranks=1", "draws/ranks=1"));
  EXPECT_THAT(observer.scores, ElementsAre(0, 1, 2));
  struct sigaction after {};
  sigaction(SIGINT, nullptr, &after);
  EXPECT_EQ(after.sa_handler, before.sa_handler);
  EXPECT_EQ(std::filesystem::current_path(), folder);
  EXPECT_TRUE(launch::ChildrenOf(getpid()).empty());
}

TEST_F(Once, TwoTreesAtATimeDoNotMeet) {
  const SourceTree one = Make("one"), other = Make("other");
  std::atomic<bool> enough{false};
  int well = 0;
  std::thread neighbour([&] { well = GradeUntil(enough, one); });
  Observer observer;
  const GradeResult result = GradeOnce(other, Only("rough", observer), observer);
  enough = true;
  neighbour.join();
  EXPECT_GT(well, 0) << "what is right stays right beside what crashes";
  EXPECT_EQ(result.card.Score(), 0);
  const auto& cases = result.card.modules.at(0).parts.at(0).cases;
  ASSERT_EQ(cases.size(), 2u);
  EXPECT_EQ(cases[0].status, Status::kCrashed);
  EXPECT_EQ(cases[1].status, Status::kTimeout);
  EXPECT_TRUE(launch::ChildrenOf(getpid()).empty());
}

TEST_F(Once, ABuildIsCancelledAndTheOtherTreeGoesOn) {
  const SourceTree slow = Make("slow"), other = Make("other");
  Observer observer;
  observer.cancel_at_build = true;
  std::atomic<bool> enough{false};
  int well = 0;
  std::thread neighbour([&] { well = GradeUntil(enough, other); });
  const auto start = Clock::now();
  const GradeResult result = GradeOnce(slow, Only("good", observer), observer);
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(30));
  enough = true;
  neighbour.join();
  EXPECT_TRUE(result.cancelled);
  EXPECT_TRUE(observer.judged.empty());
  EXPECT_EQ(result.card.Score(), 0);
  EXPECT_GT(well, 0);
  EXPECT_TRUE(launch::ChildrenOf(getpid()).empty());
}

TEST_F(Once, ACaseIsCancelledAndARunBeginsAnew) {
  const SourceTree tree = Make("one");
  Observer observer;
  observer.cancel_at_case = "never_ends/ranks=1";
  const GradeResult result = GradeOnce(tree, Only("rough", observer), observer);
  EXPECT_TRUE(result.cancelled);
  EXPECT_THAT(observer.judged, ElementsAre("crashes/ranks=1"));
  Observer again;
  EXPECT_TRUE(GradeOnce(tree, Only("good", again), again).card.AllPassed());
}

TEST_F(Once, ATreeThatDoesNotBuildSaysWhyAndHarmsNoOther) {
  const SourceTree broken = Make("broken"), other = Make("other");
  std::atomic<bool> enough{false};
  int well = 0;
  std::thread neighbour([&] { well = GradeUntil(enough, other); });
  Observer observer;
  try {
    GradeOnce(broken, Only("good", observer), observer);
    ADD_FAILURE() << "it was built";
  } catch (const BuildError& error) {
    EXPECT_THAT(error.what(), HasSubstr("could not be built"));
    EXPECT_THAT(error.said(), HasSubstr("x.cpp:3:1: error: no such thing\n"));
  }
  enough = true;
  neighbour.join();
  EXPECT_GT(well, 0);
}

}  // namespace
