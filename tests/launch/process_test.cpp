// What a program that is started gets from the one that starts it.

#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "shardlab/base/errors.hpp"
#include "shardlab/launch/process.hpp"
#include "shardlab/launch/process_tree.hpp"

namespace shardlab::launch {
namespace {

/// The exit status of a shell that is asked whether it has the descriptor.
int StatusOfShellAskedFor(int descriptor, int channel) {
  ProgramSpec spec;
  spec.program = "/bin/sh";
  spec.arguments = {"-c", "test -e /proc/$$/fd/" + std::to_string(descriptor)};
  spec.channel = channel;
  int status = -1;
  EXPECT_TRUE(Reap(StartProgram(spec), 20, &status));
  return status;
}

TEST(StartProgram, HandsOnTheChannelAndNothingElseThatIsOpen) {
  const auto [mine, theirs] = MakeSockets(SOCK_STREAM);
  const Fd folder(open("/", O_RDONLY | O_DIRECTORY));  // as shells leave them: without O_CLOEXEC
  ASSERT_GT(folder.get(), 3);
  EXPECT_EQ(StatusOfShellAskedFor(3, theirs.get()), 0);
  EXPECT_NE(StatusOfShellAskedFor(folder.get(), theirs.get()), 0);
  EXPECT_NE(StatusOfShellAskedFor(folder.get(), -1), 0);
}

/// A shell that ends with status 7 and leaves a process of another session behind.
ProgramSpec LeavesAnOrphan() {
  ProgramSpec spec;
  spec.program = "/bin/sh";
  spec.arguments = {"-c", "setsid sleep 1000 & sleep 0.1; exit 7"};
  return spec;
}

int CountOf(const ProcessTree& tree) { return static_cast<int>(tree.Others().size()); }

TEST(ProcessTree, KeepsItsOwnOrphansAndKnowsHowTheProgramEnded) {
  {
    ProcessTree one(LeavesAnOrphan()), other(LeavesAnOrphan());
    for (ProcessTree* tree : {&one, &other}) {
      int status = 0;
      ASSERT_TRUE(tree->AwaitEnd(20, &status));
      EXPECT_EQ(WEXITSTATUS(status), 7);
      EXPECT_EQ(CountOf(*tree), 1);
    }
    one.KillOrphans();
    EXPECT_EQ(CountOf(one), 0);
    EXPECT_EQ(CountOf(other), 1) << "those of another tree are left alone";
  }
  EXPECT_TRUE(ChildrenOf(getpid()).empty());
}

TEST(ProcessTree, KillsWhatForksWhileItIsBeingKilled) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);  // so that what the keeper left would come to this process
  ProgramSpec spec;
  spec.program = "/bin/sh";
  spec.arguments = {"-c", "while :; do (setsid sleep 1000 &); done"};
  auto tree = std::make_unique<ProcessTree>(spec);
  int seen = 0;  // at once; the shells in between come and go
  for (const Deadline deadline(20); seen < 5 && !deadline.Passed();) {
    usleep(1000);
    seen = CountOf(*tree);
  }
  EXPECT_GE(seen, 5);
  tree.reset();
  EXPECT_TRUE(ChildrenOf(getpid()).empty());
  prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST(ProcessTree, AProgramThatIsNotThereIsAnErrorAndLeavesNothing) {
  ProgramSpec spec;
  spec.program = "/nonexistent/program";
  EXPECT_THROW(ProcessTree{spec}, EnvironmentError);
  EXPECT_TRUE(ChildrenOf(getpid()).empty());
}

}  // namespace
}  // namespace shardlab::launch
