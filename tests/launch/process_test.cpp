// What a program that is started gets from the one that starts it.

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/socket.h>

#include <string>

#include "shardlab/launch/process.hpp"

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

}  // namespace
}  // namespace shardlab::launch
