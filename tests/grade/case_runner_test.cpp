// What the supervisor makes of everything that a student's code can do to it.

#include <dirent.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/comm/record.hpp"
#include "shardlab/grade/case_runner.hpp"
#include "shardlab/grade/wire.hpp"
#include "shardlab/launch/process.hpp"

namespace shardlab::grade {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

Frame Doubles(const std::vector<double>& values) {
  Frame frame;
  frame.dtype = 7;
  frame.shape = {static_cast<int64_t>(values.size())};
  frame.bytes.resize(values.size() * sizeof(double));
  std::memcpy(frame.bytes.data(), values.data(), frame.bytes.size());
  return frame;
}

std::vector<double> DoublesFrom(const Frame& frame) {
  std::vector<double> values(frame.bytes.size() / sizeof(double));
  std::memcpy(values.data(), frame.bytes.data(), frame.bytes.size());
  return values;
}

std::set<std::string> FilesIn(const std::string& folder) {
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.insert(entry.path().filename());
  return files;
}

/// The descriptors of this process.
size_t OpenDescriptors() {
  size_t count = 0;
  if (DIR* dir = opendir("/proc/self/fd")) {
    while (readdir(dir) != nullptr) ++count;
    closedir(dir);
  }
  return count;
}

/// One warm host for all tests. After each of them nothing may be left: no process but the host, no file, no
/// descriptor.
class CaseRunnerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    // Ranks, and what they start, inherit it; other programs write to the usual folder.
    char name[] = "/tmp/shardlab-test-XXXXXX";
    folder_ = new std::string(mkdtemp(name));
    setenv("TMPDIR", folder_->c_str(), 1);
    runner_ = new CaseRunner(SHARDLAB_TEST_HOST);
    CaseRequest request;
    request.body = "nothing";
    ASSERT_EQ(runner_->Run(request).status, Status::kPassed);
  }
  static void TearDownTestSuite() {
    delete runner_;
    EXPECT_TRUE(launch::ChildrenOf(getpid()).empty());
    std::filesystem::remove_all(*folder_);
    delete folder_;
  }

  /// Descriptors and threads of the host, which every case leaves as they were.
  static std::pair<size_t, int> HostHas() {
    const pid_t host = runner_->host_pid();
    return {FilesIn("/proc/" + std::to_string(host) + "/fd").size(), launch::ThreadCount(host)};
  }

  void SetUp() override {
    descriptors_ = OpenDescriptors();
    host_ = runner_->host_pid();
    host_has_ = HostHas();
  }
  void TearDown() override {
    // (A host that a case has ended is loading again.)
    if (runner_->host_pid() == host_) {
      EXPECT_EQ(HostHas(), host_has_);
    }
    const std::vector<pid_t> left = launch::DescendantsOf(getpid());
    ASSERT_EQ(left.size(), 2u) << "the host, and its keeper";
    EXPECT_EQ(left[1], runner_->host_pid());
    EXPECT_EQ(OpenDescriptors(), descriptors_);
    EXPECT_THAT(FilesIn(*folder_), ::testing::IsEmpty());
  }

  static CaseRequest Request(const std::string& body, int ranks, double limit_s = 10) {
    CaseRequest request;
    request.body = body;
    request.ranks = ranks;
    request.limit_s = limit_s;
    return request;
  }

  static CaseOutcome Run(const std::string& body, int ranks, double limit_s = 10) {
    return runner_->Run(Request(body, ranks, limit_s));
  }

  static CaseRunner* runner_;
  static std::string* folder_;
  size_t descriptors_ = 0;
  pid_t host_ = -1;
  std::pair<size_t, int> host_has_;
};

CaseRunner* CaseRunnerTest::runner_ = nullptr;
std::string* CaseRunnerTest::folder_ = nullptr;

TEST_F(CaseRunnerTest, RunsABodyOnEveryRankAndBringsBackItsOutputs) {
  CaseRequest request = Request("sum", 3);
  for (int rank = 0; rank < 3; ++rank) request.inputs.push_back(EncodeFrames({{"mine", Doubles({1.0 + rank, 10})}}));
  const CaseOutcome outcome = runner_->Run(request);
  ASSERT_EQ(outcome.status, Status::kPassed) << outcome.message;
  ASSERT_EQ(outcome.ranks.size(), 3u);
  for (int rank = 0; rank < 3; ++rank) {
    const Frames& outputs = outcome.ranks[static_cast<size_t>(rank)].outputs;
    EXPECT_EQ(DoublesFrom(outputs.at("sum")), (std::vector<double>{6, 30}));
    EXPECT_EQ(DoublesFrom(outputs.at("rank")), std::vector<double>{static_cast<double>(rank)});
    EXPECT_EQ(outcome.costs[static_cast<size_t>(rank)].collectives, 1);
    EXPECT_EQ(outcome.costs[static_cast<size_t>(rank)].collective_bytes, 16);
  }
  // On every rank: the mark, the all-reduce's post, the wait for it, its end, the return.
  EXPECT_EQ(outcome.events.size(), 15u);
  EXPECT_STREQ(outcome.events[0].record.name, "before");
}

TEST_F(CaseRunnerTest, CountsMessagesBytesAndRounds) {
  CaseRequest request = Request("ring_step", 4);
  for (int rank = 0; rank < 4; ++rank) request.inputs.push_back(EncodeFrames({{"mine", Doubles({1, 2, 3})}}));
  const CaseOutcome outcome = runner_->Run(request);
  ASSERT_EQ(outcome.status, Status::kPassed) << outcome.message;
  for (const RankCost& cost : outcome.costs) {
    EXPECT_EQ(cost.messages, 1);
    EXPECT_EQ(cost.bytes_sent, 24);
    EXPECT_EQ(cost.rounds, 1);
  }
}

TEST_F(CaseRunnerTest, NamesTheRankThatThrows) {
  const CaseOutcome outcome = Run("throws", 3);
  EXPECT_EQ(outcome.status, Status::kFailed);
  EXPECT_THAT(outcome.message, HasSubstr("rank 1 threw std::runtime_error: the chunk sizes do not add up"));
  EXPECT_EQ(outcome.ranks[1].status, Status::kFailed);
  EXPECT_LT(outcome.seconds, 1);
}

TEST_F(CaseRunnerTest, CutsLibTorchsBacktrace) {
  const CaseOutcome outcome = Run("throws_torch_error", 2);
  EXPECT_EQ(outcome.status, Status::kFailed);
  EXPECT_THAT(outcome.message,
              AllOf(HasSubstr("threw"), HasSubstr("must match the size"), Not(HasSubstr("Exception raised"))));
}

TEST_F(CaseRunnerTest, GivesTheTaskOfAStub) {
  const CaseOutcome outcome = Run("not_implemented", 2);
  EXPECT_EQ(outcome.status, Status::kNotImplemented);
  EXPECT_EQ(outcome.message, "not implemented yet: tests.part: Function (exercises/tests/file.cpp)");
}

TEST_F(CaseRunnerTest, AStubOnOneRankIsTheCauseOfItsPeersTrouble) {
  const CaseOutcome outcome = Run("one_not_implemented", 3);
  EXPECT_EQ(outcome.status, Status::kNotImplemented);
  EXPECT_LT(outcome.seconds, 1);
}

TEST_F(CaseRunnerTest, NamesTheSignalOfACrash) {
  const CaseOutcome outcome = Run("segfault", 3);
  EXPECT_EQ(outcome.status, Status::kCrashed);
  EXPECT_THAT(outcome.message, HasSubstr("rank 1 was killed by SIGSEGV"));
  EXPECT_LT(outcome.seconds, 1);
}

TEST_F(CaseRunnerTest, ShowsWhatACrashedRankPrintedLast) {
  const CaseOutcome outcome = Run("aborts", 2);
  EXPECT_EQ(outcome.status, Status::kCrashed);
  EXPECT_THAT(outcome.message,
              AllOf(HasSubstr("rank 0 was killed by SIGABRT"), HasSubstr("assertion failed: offset < size")));
}

TEST_F(CaseRunnerTest, AnExceptionThatLeavesAThreadIsACrash) {
  const CaseOutcome outcome = Run("uncaught_in_thread", 1);
  EXPECT_EQ(outcome.status, Status::kCrashed);
  EXPECT_THAT(outcome.message, AllOf(HasSubstr("SIGABRT"), HasSubstr("nobody catches this")));
}

TEST_F(CaseRunnerTest, ExitInTheMiddleIsNoSuccess) {
  const CaseOutcome outcome = Run("exits", 2);
  EXPECT_EQ(outcome.status, Status::kCrashed);
  EXPECT_THAT(outcome.message, HasSubstr("rank 0 called exit(0) in the middle of the body"));
}

TEST_F(CaseRunnerTest, ImmediateExitInTheMiddleIsNoSuccess) {
  const CaseOutcome outcome = Run("exits_at_once", 2);
  EXPECT_EQ(outcome.status, Status::kCrashed);
  EXPECT_THAT(outcome.message, HasSubstr("rank 0 ended with _exit(0) in the middle of the body"));
}

TEST_F(CaseRunnerTest, EndsAnEndlessLoopAtItsLimit) {
  const CaseOutcome outcome = Run("loops", 2, 1.0);
  EXPECT_EQ(outcome.status, Status::kTimeout);
  EXPECT_THAT(outcome.message, AllOf(HasSubstr("not done after 1 s"), HasSubstr("rank 0: its last operation: Barrier"),
                                     HasSubstr("bodies.cpp:")));
  EXPECT_GE(outcome.seconds, 1.0);
  EXPECT_LT(outcome.seconds, 2.5);
}

TEST_F(CaseRunnerTest, NamesADeadlockAtOnce) {
  const CaseOutcome outcome = Run("deadlock", 2);
  EXPECT_EQ(outcome.status, Status::kDeadlock);
  EXPECT_THAT(outcome.message,
              AllOf(HasSubstr("Send to rank 1"), HasSubstr("Send to rank 0"), HasSubstr("bodies.cpp:")));
  EXPECT_EQ(outcome.ranks[0].status, Status::kDeadlock);
  int64_t last_ns = 0;
  for (const Event& event : outcome.events) last_ns = std::max(last_ns, event.record.time_ns);
  EXPECT_LT(static_cast<double>(launch::MonotonicNs() - last_ns) / 1e9, 0.5);
}

TEST_F(CaseRunnerTest, NamesTheRankThatReturnedTooEarly) {
  const CaseOutcome outcome = Run("returns_early", 3);
  EXPECT_EQ(outcome.status, Status::kDeadlock);
  EXPECT_THAT(outcome.message, AllOf(HasSubstr("rank 0"), HasSubstr("returned"), HasSubstr("Barrier")));
  EXPECT_LT(outcome.seconds, 1);
}

TEST_F(CaseRunnerTest, NamesACollectiveWithDifferentShapes) {
  const CaseOutcome outcome = Run("all_reduce_shapes", 2);
  EXPECT_EQ(outcome.status, Status::kFailed);
  EXPECT_THAT(outcome.message, AllOf(HasSubstr("AllReduce"), HasSubstr("[4]"), HasSubstr("[3]")));
  EXPECT_LT(outcome.seconds, 1);
}

TEST_F(CaseRunnerTest, NamesTheMismatchAndNotTheCrashThatFollows) {
  const CaseOutcome outcome = Run("send_eight_receive_four", 2);
  EXPECT_EQ(outcome.status, Status::kFailed);
  EXPECT_THAT(outcome.message, AllOf(HasSubstr("[8]"), HasSubstr("[4]"), Not(HasSubstr("SIGABRT"))));
}

TEST_F(CaseRunnerTest, ADivisionInsideLibTorchIsNotCalledTheStudents) {
  const CaseOutcome outcome = Run("libtorch_divides_by_zero", 1);
  EXPECT_EQ(outcome.status, Status::kCrashed);
  EXPECT_THAT(outcome.message, AllOf(StartsWith("LibTorch divided by zero in its own code, not in yours"),
                                     HasSubstr("SHARDLAB_NO_ONEDNN=1 ./lab grade"), HasSubstr("killed by SIGFPE")));
  EXPECT_THAT(Run("divides_by_zero", 2).message, Not(HasSubstr("LibTorch")));
}

TEST_F(CaseRunnerTest, ACrashShowsTheStudentsFunctionsAndLines) {
  const CaseOutcome outcome = Run("divides_by_zero", 2);
  EXPECT_EQ(outcome.status, Status::kCrashed);
  EXPECT_THAT(outcome.message,
              AllOf(HasSubstr("rank 1 was killed by SIGFPE"), HasSubstr("\n    at ChunkLength (bodies.cpp:"),
                    Not(HasSubstr("RunRank")), Not(HasSubstr("OnSignal"))));
  ASSERT_EQ(outcome.stacks.size(), 1u);
  EXPECT_EQ(outcome.stacks[0].rank, 1);
  EXPECT_EQ(outcome.stacks[0].why, "SIGFPE");
  ASSERT_GE(outcome.stacks[0].frames.size(), 2u) << outcome.message;
  EXPECT_EQ(outcome.stacks[0].frames[0].function, "ChunkLength");
  EXPECT_THAT(outcome.stacks[0].frames[1].where, StartsWith("bodies.cpp:"));
}

TEST_F(CaseRunnerTest, ANullPointerAndAFullStackAreCalledThat) {
  EXPECT_THAT(Run("segfault", 2).message, HasSubstr("rank 1 was killed by SIGSEGV (access through a null pointer)"));
  const CaseOutcome outcome = Run("recursion_without_end", 1);
  EXPECT_THAT(outcome.message,
              AllOf(HasSubstr("its stack is full, from a recursion without end"), HasSubstr("at Deeper")));
  EXPECT_LE(outcome.stacks.at(0).frames.size(), 6u);
}

TEST_F(CaseRunnerTest, AnExceptionShowsWhereItWasThrownAndTheRestIsConsequence) {
  const CaseOutcome outcome = Run("throws_in_a_function", 3);
  EXPECT_EQ(outcome.status, Status::kFailed);
  EXPECT_THAT(
      outcome.message,
      AllOf(::testing::StartsWith("rank 2 threw std::out_of_range: vector"), HasSubstr("\n    at FirstOf (bodies.cpp:"),
            HasSubstr("\n    at the body throws_in_a_function (bodies.cpp:"), Not(HasSubstr("[127.0.0.1]"))));
  EXPECT_EQ(outcome.stacks.at(0).why, "exception");
  EXPECT_THAT(Run("throws_on_with_other_words", 1).message,
              AllOf(HasSubstr("(with three chunks)"), HasSubstr("\n    at FirstOf (bodies.cpp:")));
}

TEST_F(CaseRunnerTest, AnEndlessLoopShowsWhereItIs) {
  const CaseOutcome outcome = Run("spins_in_a_function", 2, 1.0);
  EXPECT_EQ(outcome.status, Status::kTimeout);
  EXPECT_THAT(outcome.message,
              AllOf(HasSubstr("rank 0: its last operation: Barrier"), HasSubstr("\n      at SpinUntil (bodies.cpp:")));
  ASSERT_EQ(outcome.stacks.size(), 2u);
  EXPECT_EQ(outcome.stacks[1].why, "still running");
  EXPECT_LT(outcome.seconds, 3.0);
}

TEST_F(CaseRunnerTest, AbortInAThreadAndTerminateAreNamed) {
  EXPECT_THAT(Run("aborts_in_a_thread", 1).message,
              AllOf(HasSubstr("SIGABRT"), HasSubstr("in a thread beside its main one")));
  EXPECT_THAT(
      Run("uncaught_in_thread", 1).message,
      HasSubstr("std::terminate (SIGABRT): nobody caught std::runtime_error: nobody catches this, in a thread"));
  EXPECT_THAT(
      Run("throws_where_nothing_may", 1).message,
      AllOf(HasSubstr("nobody caught std::runtime_error: no rank is left over"), HasSubstr("at PromisesNotTo")));
}

TEST_F(CaseRunnerTest, MisuseOfTheCommunicatorNamesTheLine) {
  EXPECT_THAT(Run("sends_to_itself", 2).message,
              AllOf(HasSubstr("Send (bodies.cpp:"), HasSubstr("rank 0 would talk to itself: copy the tensor instead")));
  EXPECT_THAT(Run("sends_a_transposed_tensor", 2).message,
              AllOf(HasSubstr("rank 0 threw"), HasSubstr("Send (bodies.cpp:"), HasSubstr("is not contiguous")));
  const CaseOutcome thrown_away = Run("throws_work_away", 2);
  EXPECT_EQ(thrown_away.status, Status::kFailed);
  EXPECT_THAT(thrown_away.message,
              HasSubstr("rank 0 threw away what ISend to rank 1, tag 3, float64 [4] (bodies.cpp:"));
  EXPECT_LT(thrown_away.seconds, 1);
  const CaseOutcome changed = Run("changes_what_it_sends", 2);
  EXPECT_EQ(changed.status, Status::kFailed);
  EXPECT_THAT(changed.message,
              HasSubstr("rank 0 changed the tensor of ISend to rank 1, tag 3, float64 [4] (bodies.cpp:"));
}

TEST_F(CaseRunnerTest, MemoryHasALimit) {
  CaseOutcome outcome = Run("wants_a_huge_tensor", 2, 60);
  EXPECT_EQ(outcome.status, Status::kFailed);
  EXPECT_THAT(outcome.message, AllOf(HasSubstr("a tensor of 64 GiB is too much"), HasSubstr("4 GiB are allowed")));
  CaseRequest request = Request("wants_much_memory", 1, 60);
  request.limits.memory_bytes = 256 << 20;
  outcome = runner_->Run(request);
  EXPECT_EQ(outcome.status, Status::kFailed);
  EXPECT_THAT(outcome.message, AllOf(HasSubstr("std::bad_alloc: no memory left"), HasSubstr("1 GiB more")));
}

TEST_F(CaseRunnerTest, FilesHaveALimit) {
  CaseRequest request = Request("writes_a_large_file", 1);
  request.limits.file_bytes = 8 << 20;
  CaseOutcome outcome = runner_->Run(request);
  EXPECT_EQ(outcome.status, Status::kCrashed);
  EXPECT_THAT(outcome.message, HasSubstr("it wrote more than 8 MiB to one file, which is the limit"));
  outcome = Run("opens_files_without_end", 1);
  EXPECT_EQ(outcome.status, Status::kFailed);
  EXPECT_THAT(outcome.message, HasSubstr("Too many open files (a rank may have 1024 files and connections open)"));
}

TEST_F(CaseRunnerTest, ProcessorTimeHasALimit) {
  EXPECT_THAT(Run("burns_processor_time", 1, 60).message, HasSubstr("it took more processor time than a case may"));
}

TEST_F(CaseRunnerTest, ProcessesAndThreadsHaveALimit) {
  CaseOutcome outcome = Run("forks_without_end", 2);
  EXPECT_EQ(outcome.status, Status::kCrashed);
  EXPECT_THAT(outcome.message, HasSubstr("32 are the most: something forks again and again"));
  EXPECT_LT(outcome.seconds, 5);
  CaseRequest request = Request("starts_threads_without_end", 1);
  request.limits.threads = 100;
  outcome = runner_->Run(request);
  EXPECT_EQ(outcome.status, Status::kCrashed);
  EXPECT_THAT(outcome.message, HasSubstr("something starts threads again and again"));
}

TEST_F(CaseRunnerTest, AMessageNobodyReceivesIsAFailure) {
  const CaseOutcome outcome = Run("never_received", 2);
  EXPECT_EQ(outcome.status, Status::kFailed);
  EXPECT_THAT(outcome.message, AllOf(HasSubstr("rank 0"), HasSubstr("rank 1"), HasSubstr("tag 5")));
}

TEST_F(CaseRunnerTest, LeavesNoDaemonBehind) {
  CaseRequest request = Request("leaves_a_daemon", 2);
  const std::string pid_file = "/tmp/shardlab-daemon-" + std::to_string(getpid());
  request.params["pid_file"] = pid_file;
  const CaseOutcome outcome = runner_->Run(request);
  EXPECT_EQ(outcome.status, Status::kPassed) << outcome.message;
  pid_t daemon = 0;
  std::ifstream(pid_file) >> daemon;
  std::filesystem::remove(pid_file);
  ASSERT_GT(daemon, 0);
  EXPECT_EQ(kill(daemon, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST_F(CaseRunnerTest, OutputHasALimit) {
  CaseRequest request = Request("too_much_output", 2);
  request.output_limit_bytes = 1 << 20;
  const CaseOutcome outcome = runner_->Run(request);
  EXPECT_EQ(outcome.status, Status::kFailed);
  EXPECT_THAT(outcome.message, AllOf(HasSubstr("'large' of 8388608 bytes does not fit")));
}

TEST_F(CaseRunnerTest, KeepsWhatARankPrints) {
  const CaseOutcome outcome = Run("prints", 2);
  EXPECT_EQ(outcome.status, Status::kPassed) << outcome.message;
  EXPECT_EQ(outcome.ranks[1].printed, "hello from rank 1\nand again");
}

TEST_F(CaseRunnerTest, PrintingWithoutEndCostsNoMemory) {
  const CaseOutcome outcome = Run("prints_without_end", 1, 0.5);
  EXPECT_EQ(outcome.status, Status::kTimeout);
  EXPECT_LT(outcome.ranks[0].printed.size(), 66'000u);
  EXPECT_THAT(outcome.ranks[0].printed, HasSubstr("only the first 64 KiB are kept"));
}

TEST_F(CaseRunnerTest, SurvivesABodyThatClosesItsDescriptors) {
  // Gloo's connections are among them; how the rank ends is open, but it ends, and the next case is well.
  const CaseOutcome outcome = Run("closes_everything", 1, 2);
  EXPECT_LT(outcome.seconds, 3);
  EXPECT_EQ(Run("nothing", 2).status, Status::kPassed);
}

TEST_F(CaseRunnerTest, DoesNotBelieveADamagedHeader) {
  CaseRequest request = Request("garbage_output", 2);
  request.params["bytes"] = kStackAreaOffset;
  const CaseOutcome outcome = runner_->Run(request);
  EXPECT_EQ(outcome.status, Status::kCrashed);
}

TEST_F(CaseRunnerTest, DoesNotBelieveDamagedTensors) {
  CaseRequest request = Request("garbage_output", 2);
  request.params["offset"] = kOutputHeaderBytes;
  const CaseOutcome outcome = runner_->Run(request);
  EXPECT_EQ(outcome.status, Status::kCrashed);
  EXPECT_THAT(outcome.message, HasSubstr("what it handed back is damaged"));
}

TEST_F(CaseRunnerTest, DoesNotBelieveNonsenseInTheAnnouncements) {
  const CaseOutcome outcome = Run("garbage_announcement", 1, 3);
  EXPECT_NE(outcome.status, Status::kPassed);
  EXPECT_LT(outcome.seconds, 4);
}

TEST_F(CaseRunnerTest, MissingParametersAndInputsAreNamed) {
  EXPECT_THAT(Run("wants_parameter", 1).message, HasSubstr("missing"));
  EXPECT_THAT(Run("wants_input", 1).message, HasSubstr("this rank has no input 'missing'; it has none"));
}

TEST_F(CaseRunnerTest, AHostThatDiesIsStartedAgain) {
  const pid_t before = runner_->host_pid();
  const CaseOutcome outcome = Run("kills_the_host", 2);
  EXPECT_EQ(outcome.status, Status::kCrashed);
  EXPECT_THAT(outcome.message, HasSubstr("was killed by SIGKILL"));
  EXPECT_NE(runner_->host_pid(), before);
  EXPECT_EQ(Run("nothing", 2).status, Status::kPassed);
}

TEST_F(CaseRunnerTest, RanksHaveOneThreadUnlessTold) {
  EXPECT_EQ(DoublesFrom(Run("threads", 1).ranks[0].outputs.at("threads")), std::vector<double>{1});
  CaseRequest request = Request("threads", 1);
  request.threads = 2;
  EXPECT_EQ(DoublesFrom(runner_->Run(request).ranks[0].outputs.at("threads")), std::vector<double>{2});
}

TEST_F(CaseRunnerTest, CancelEndsACaseAtOnce) {
  std::atomic<bool> cancel{false};
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    cancel = true;
  });
  const CaseOutcome outcome = runner_->Run(Request("loops", 2, 10), &cancel);
  later.join();
  EXPECT_EQ(outcome.status, Status::kSkipped);
  EXPECT_LT(outcome.seconds, 1);
}

TEST_F(CaseRunnerTest, RefusesWhatCannotBeRun) {
  EXPECT_THROW(Run("nothing", 0), ContractError);
  EXPECT_THROW(Run("nothing", 1000), ContractError);
  EXPECT_THROW(Run("nothing", 1, 0), ContractError);
  CaseRequest request = Request("nothing", 3);
  request.inputs.resize(2);
  EXPECT_THROW(runner_->Run(request), ContractError);
  EXPECT_THAT(Run("nosuch", 1).message, HasSubstr("this host has no body 'nosuch'"));
}

TEST(HostStart, AThreadStartedByAnInitialiserIsRefused) {
  CaseRunner runner(SHARDLAB_TEST_THREADED_HOST);
  CaseRequest request;
  request.body = "nothing";
  const CaseOutcome outcome = runner.Run(request);
  EXPECT_EQ(outcome.status, Status::kCrashed);
  EXPECT_THAT(outcome.message, HasSubstr("has 2 threads where one is expected"));
}

TEST(HostStart, ACrashInAnInitialiserIsNamedWithWhatItPrinted) {
  CaseRunner runner(SHARDLAB_TEST_CRASHING_HOST);
  CaseRequest request;
  request.body = "nothing";
  const CaseOutcome outcome = runner.Run(request);
  EXPECT_EQ(outcome.status, Status::kCrashed);
  EXPECT_THAT(outcome.message, AllOf(HasSubstr("SIGFPE"), HasSubstr("about to divide by zero")));
}

TEST(HostStart, AMissingProgramIsAnErrorOfTheEnvironment) {
  EXPECT_THROW(CaseRunner("/nonexistent/host"), EnvironmentError);
}

}  // namespace
}  // namespace shardlab::grade
