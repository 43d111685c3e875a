// The same attacks inside a sandbox, of both kinds: nothing that a submission reaches for outside is there.

#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "playground.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/launch/sandbox.hpp"

namespace {

using shardlab::EnvironmentError;
using shardlab::grade::Status;
using shardlab::launch::ProgramSpec;
using shardlab::launch::Sandbox;
using shardlab::launch::SandboxLimits;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr int64_t kMebi = 1 << 20;

SandboxLimits SmallLimits() {
  SandboxLimits limits;
  limits.temporary_bytes = 64 * kMebi;
  limits.file_bytes = 64 * kMebi;
  limits.memory_bytes = 1024 * kMebi;
  limits.processes = 150;
  return limits;
}

/// While it lives, bubblewrap fails as it does in a container that allows no namespaces.
class NoNamespaces {
 public:
  NoNamespaces() : path_before_(std::getenv("PATH")) {
    char name[] = "/tmp/shardlab-no-bwrap-XXXXXX";
    folder_ = mkdtemp(name);
    chmod(folder_.c_str(), 0755);
    std::ofstream(folder_ + "/bwrap")
        << "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n";
    chmod((folder_ + "/bwrap").c_str(), 0755);
    setenv("PATH", (folder_ + ":" + path_before_).c_str(), 1);
  }
  ~NoNamespaces() {
    setenv("PATH", path_before_.c_str(), 1);
    std::filesystem::remove_all(folder_);
  }

 private:
  std::string path_before_, folder_;
};

/// All attacks in one session.
struct Attacked {
  explicit Attacked(const std::shared_ptr<const Sandbox>& sandbox, int64_t fill_bytes) {
    playground.Allow(fill_bytes, 2048 * kMebi);
    auto options = playground.Options({"attacks"});
    options.sandbox = sandbox;
    session = RunSupervised(options, 90);
  }
  std::string Message(const std::string& attack) { return session.results[attack].message; }

  void ExpectNothingEarned() {
    ASSERT_THAT(session.error, IsEmpty());
    ASSERT_GT(session.results.size(), 20u);
    for (const auto& [attack, result] : session.results) {
      if (attack == "honest_afterwards") continue;
      EXPECT_NE(result.status, Status::kPassed) << attack;
    }
    EXPECT_EQ(session.results["honest_afterwards"].status, Status::kPassed) << Message("honest_afterwards");
    EXPECT_EQ(session.left, 0);
    EXPECT_THAT(playground.Leftovers(), IsEmpty());
    EXPECT_TRUE(playground.FilesAreUntouched());
  }
  void ExpectNotReached(const std::vector<std::string>& attacks) {
    for (const std::string& attack : attacks) EXPECT_THAT(Message(attack), Not(HasSubstr("REACHED"))) << attack;
  }

  Playground playground;
  Supervised session;
};

TEST(Sandbox, WithNamespacesNothingOutsideIsThere) {
  const std::string why_not = Sandbox::WhyNoNamespaces();
  if (!why_not.empty()) GTEST_SKIP() << why_not;
  Attacked attacked(Sandbox::Find(SmallLimits()), 200 * kMebi);
  attacked.ExpectNothingEarned();
  attacked.ExpectNotReached({"edits_files", "reads_memory", "reads_the_seed", "reads_the_solution", "sees_processes",
                             "opens_the_network", "fills_the_disk", "hogs_memory", "forks_without_end",
                             "calls_the_kernel", "kills_the_supervisor", "kills_the_referee", "stops_everybody"});
}

TEST(Sandbox, AnotherUserStandsInWhereThereAreNoNamespaces) {
  if (getuid() != 0) GTEST_SKIP() << "only root can use another user";
  const NoNamespaces none;
  const auto sandbox = Sandbox::Find(SmallLimits());
  EXPECT_THAT(sandbox->shortcomings(),
              AllOf(HasSubstr("No permissions to create new namespace"), HasSubstr("the network")));
  Attacked attacked(sandbox, 0);
  attacked.ExpectNothingEarned();
  attacked.ExpectNotReached({"edits_files", "reads_memory", "reads_the_seed", "hogs_memory", "forks_without_end",
                             "calls_the_kernel", "kills_the_supervisor", "kills_the_referee", "stops_everybody"});
  EXPECT_THAT(attacked.Message("reads_the_solution"), Not(HasSubstr("solution.cpp")));
}

TEST(Sandbox, WhereNeitherIsPossibleItSaysSo) {
  const NoNamespaces none;
  // Not root: in a process of its own.
  const pid_t pid = fork();
  if (pid == 0) {
    if (getuid() == 0 && setuid(65534) != 0) _exit(9);
    try {
      Sandbox::Find();
      _exit(1);
    } catch (const EnvironmentError& error) {
      const std::string message = error.what();
      const bool whole = message.find("No permissions to create new namespace") != std::string::npos &&
                         message.find("as root") != std::string::npos && message.find('\n') == std::string::npos;
      _exit(whole ? 0 : 2);
    }
  }
  int status = -1;
  waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(Sandbox, EachProgramIsAUserOfItsOwn) {
  if (getuid() != 0) GTEST_SKIP() << "another user gives each a user namespace";
  ProgramSpec program;
  program.program = "/usr/bin/id";
  const auto sandbox = Sandbox::Find();
  const auto user_of = [](const ProgramSpec& inside) {
    for (const std::string& word : inside.arguments) {
      if (word.rfind("--reuid=", 0) == 0) return word;
    }
    return std::string("nobody");
  };
  const ProgramSpec one = sandbox->Inside(program), other = sandbox->Inside(program);
  const ProgramSpec of_another = Sandbox::Find()->Inside(program);
  EXPECT_NE(user_of(one), user_of(other));
  EXPECT_NE(user_of(one), user_of(of_another));
  EXPECT_NE(user_of(other), user_of(of_another));
}

TEST(Session, WithoutALoopbackInterfaceSaysSo) {
  Playground playground;
  const auto options = playground.Options({"honest"});
  const pid_t pid = fork();
  if (pid == 0) {
    if (unshare(getuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET) != 0) _exit(77);
    _exit(RunSupervised(options, 60).error.find("the loopback interface, and it does not work here") !=
                  std::string::npos
              ? 0
              : 1);
  }
  int status = -1;
  waitpid(pid, &status, 0);
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no network namespaces here";
  EXPECT_EQ(status, 0);
}

TEST(Sandbox, ItsEnvironmentIsShort) {
  setenv("SHARDLAB_TEST_TOKEN", "secret", 1);
  ProgramSpec program;
  program.program = "/usr/bin/env";
  program.environment["OMP_NUM_THREADS"] = "1";
  const ProgramSpec inside = Sandbox::Find()->Inside(program);
  unsetenv("SHARDLAB_TEST_TOKEN");
  EXPECT_FALSE(inside.inherit_environment);
  EXPECT_EQ(inside.environment.count("OMP_NUM_THREADS"), 1u);
  EXPECT_EQ(inside.environment.count("SHARDLAB_TEST_TOKEN"), 0u);
  EXPECT_LE(inside.environment.size(), 6u);
}

}  // namespace
