// What a person types and reads, except grading itself.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cancel.hpp"
#include "run_program.hpp"
#include "tree.hpp"

namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

class Cli : public Tree {};

/// One line on standard error, with these words in it.
void ExpectOneLine(const std::string& text, const std::string& words) {
  EXPECT_THAT(text, AllOf(StartsWith("lab: "), HasSubstr(words)));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
}

TEST_F(Cli, BadInputSaysWhatThereIsAndWhatIsNearest) {
  struct Mistake {
    const char* arguments;
    std::vector<const char*> words;
  };
  const std::vector<Mistake> mistakes = {
      {"graed", {"unknown command 'graed'", "did you mean 'grade'?", "hint", "doctor"}},
      {"--sovled", {"unknown command '--sovled'"}},
      {"grade dmeo", {"unknown module 'dmeo'", "did you mean 'demo'?", "demo, other"}},
      {"grade demo.frist", {"unknown part of demo 'frist'", "did you mean 'first'?", "first, second, extra"}},
      {"grade demoo.first", {"unknown module 'demoo'", "did you mean 'demo'?"}},
      {"grade frist", {"did you mean 'demo.first'?"}},
      {"grade --solution", {"unknown option of lab grade '--solution'", "did you mean '--solutions'?", "--seed"}},
      {"grade --jsn=x", {"'--jsn'", "did you mean '--json'?"}},
      {"grade --seed few", {"--seed"}},
      {"grade --ranks 0", {"--ranks"}},
      {"grade --solutions", {"no solutions in this tree"}},
      {"hint demo.secnd", {"did you mean 'second'?"}},
      {"hint demo", {"name one of its parts", "demo.first, demo.second"}},
      {"reset demi", {"did you mean 'demo'?"}},
      {"reset", {"what"}},
      {"diff demo other", {"'other' is one word too many"}},
      {"bench edti", {"unknown bench 'edti'", "did you mean 'edit'?"}},
      {"bench --jsno x", {"did you mean '--json'?"}},
  };
  for (const Mistake& mistake : mistakes) {
    SCOPED_TRACE(mistake.arguments);
    const Ended ended = Lab(mistake.arguments);
    EXPECT_EQ(ended.status, 2);
    for (const char* word : mistake.words) ExpectOneLine(ended.err, word);
    EXPECT_THAT(ended.out, IsEmpty());
  }
  EXPECT_EQ(Built(), "") << "mistakes are found before anything is built";
}

TEST_F(Cli, ResultFilesThatCannotBeWrittenAreFoundBeforehand) {
  EXPECT_EQ(Lab("grade --json " + In("nowhere/card.json")).status, 2);
  ExpectOneLine(Lab("grade --json " + In("nowhere/card.json")).err, "there is no folder " + In("nowhere"));
  EXPECT_EQ(Lab("grade --junit " + In("graders")).status, 2);
  EXPECT_EQ(Lab("grade --json /proc/card.json").status, 3);
  ExpectOneLine(Lab("grade --json /proc/card.json").err, "cannot write /proc/card.json");
  EXPECT_EQ(Lab("grade --gradescope " + In("nowhere/results.json")).status, 2);
  EXPECT_EQ(Lab("grade --html " + In("graders/demo/rubric.toml")).status, 2);
  ExpectOneLine(Lab("grade --html " + In("graders/demo/rubric.toml")).err, "rubric.toml is a file; name a folder");
  EXPECT_EQ(Lab("grade --trace /proc/traces").status, 3);
  ExpectOneLine(Lab("grade --trace /proc/traces").err, "cannot make the folder /proc/traces");
  EXPECT_EQ(Built(), "");
}

TEST_F(Cli, AnEnvironmentThatIsWrongIsNamed) {
  setenv("LAB_JOBS", "none", 1);
  EXPECT_EQ(Lab("").status, 2);
  setenv("LAB_JOBS", "1", 1);
  setenv("LAB_ROOT", "/proc", 1);
  EXPECT_EQ(Lab("").status, 2);
  ExpectOneLine(Lab("").err, "LAB_ROOT is \"/proc\"");
}

TEST_F(Cli, FindsItsTreeByItself) {
  unsetenv("LAB_ROOT");
  const Ended ended = Lab("");  // LAB_BUILD is set: its CMakeCache.txt knows the tree
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("A demonstration"));
}

TEST_F(Cli, HelpListsTheSubcommands) {
  const Ended ended = Lab("--help");
  EXPECT_EQ(ended.status, 0);
  for (const char* command :
       {"grade", "hint", "reset", "diff", "train", "schedule", "data", "bench", "test", "docs", "doctor"}) {
    EXPECT_THAT(ended.out, HasSubstr(std::string("\n  ") + command));
  }
  EXPECT_EQ(Lab("help").out, ended.out);
  EXPECT_THAT(Lab("grade --help").out, HasSubstr("--junit"));
}

TEST_F(Cli, TheBoardShowsPointsAndWhatIsNext) {
  Ended board = Lab("");
  EXPECT_EQ(board.status, 0);
  EXPECT_THAT(board.out, AllOf(HasSubstr("o first   0 of 1  The first part\n"), HasSubstr("0 of 2, bonus 0 of 1\n"),
                               HasSubstr("Total  0 of 4, bonus 0 of 1\nNext: demo.first, The first part\n"),
                               HasSubstr("exercises/demo/a.cpp")));
  Write(".lab/progress.json", R"({"schema": 1, "parts": {
    "demo.first": {"best": 1, "last": 1, "max": 1, "status": "passed", "hints": 1},
    "demo.second": {"best": 0.5, "last": 0, "max": 1, "status": "deadlock", "hints": 0}}})");
  board = Lab("");
  EXPECT_THAT(board.out, AllOf(HasSubstr("+ first   1 of 1    The first part"), HasSubstr("passed, 1 hint\n"),
                               HasSubstr("x second  0.5 of 1  The second part"), HasSubstr("now 0, deadlock\n"),
                               HasSubstr("Total  1.5 of 4, bonus 0 of 1\nNext: demo.second, ")));
}

TEST_F(Cli, ABrokenProgressFileIsNamed) {
  Write(".lab/progress.json", "{");
  EXPECT_EQ(Lab("").status, 2);
  ExpectOneLine(Lab("").err, "progress.json cannot be understood: delete it");
}

TEST_F(Cli, HintsComeOneAtATime) {
  Write("exercises/demo/hints/first.md", "Think.\n\n---\n\nThink of a ring.\n\n---\nSend right.\n");
  EXPECT_THAT(Lab("hint demo.first").out,
              AllOf(HasSubstr("demo.first: hint 1 of 3\n\nThink.\n"), Not(HasSubstr("ring"))));
  EXPECT_THAT(Lab("hint first").out, AllOf(HasSubstr("hint 2 of 3\n\nThink of a ring.\n"), Not(HasSubstr("Send"))));
  EXPECT_THAT(Lab("hint").out, HasSubstr("hint 3 of 3\n\nSend right.\n"));
  EXPECT_THAT(Lab("hint demo.first").out, AllOf(HasSubstr("hint 3 of 3"), HasSubstr("That was the last one")));
  EXPECT_THAT(Lab("hint demo.first --restart").out, HasSubstr("hint 1 of 3"));
  EXPECT_EQ(Lab("hint demo.second").status, 3) << "a part without hints";
}

TEST_F(Cli, AHintsParagraphsFitTheTerminalAndItsCodeStays) {
  Write("exercises/demo/hints/first.md", "One\ntwo\nthree.\n\n- a list\n- stays\n\n```\nint x;\nint y;\n```\n");
  EXPECT_THAT(Lab("hint first").out,
              HasSubstr("\n\nOne two three.\n\n- a list\n- stays\n\n```\nint x;\nint y;\n```\n"));
}

TEST_F(Cli, ResetBringsTheStubsBackAndKeepsWhatWasThere) {
  Write("exercises/demo/a.cpp", "my work\n");
  std::filesystem::remove(In("exercises/demo/b.cpp"));
  Write("exercises/demo/notes.txt", "mine");
  const Ended reset = Lab("reset demo");
  EXPECT_EQ(reset.status, 0) << reset.err;
  EXPECT_EQ(Read("exercises/demo/a.cpp"), "// stub of a.cpp\n");
  EXPECT_EQ(Read("exercises/demo/b.cpp"), "// stub of b.cpp\n");
  EXPECT_EQ(Read("exercises/demo/notes.txt"), "mine");
  const size_t at = reset.out.find(".lab/backup/");
  ASSERT_NE(at, std::string::npos) << reset.out;
  const std::string backup = reset.out.substr(at, reset.out.find('\n', at) - at);
  EXPECT_EQ(Read(backup + "/a.cpp"), "my work\n");
  EXPECT_THAT(Lab("reset demo").out, HasSubstr("nothing to reset"));
}

TEST_F(Cli, ResetOfAPartLeavesTheOthers) {
  Write("exercises/demo/a.cpp", "my work\n");
  Write("exercises/demo/b.cpp", "my other work\n");
  EXPECT_EQ(Lab("reset demo.second").status, 0);
  EXPECT_EQ(Read("exercises/demo/a.cpp"), "my work\n");
  EXPECT_EQ(Read("exercises/demo/b.cpp"), "// stub of b.cpp\n");
}

TEST_F(Cli, ResetReplacesNothingThatItCannotKeep) {
  Write("exercises/demo/a.cpp", "my work\n");
  Write(".lab/backup", "a file where the folder should be");
  EXPECT_EQ(Lab("reset demo").status, 3);
  EXPECT_EQ(Read("exercises/demo/a.cpp"), "my work\n");
}

TEST_F(Cli, DiffGoesFromTheStubToMine) {
  EXPECT_EQ(Lab("diff demo").out, "demo is as it was shipped.\n");
  Write("exercises/demo/b.cpp", "// stub of b.cpp\nmine\n");
  const Ended diff = Lab("diff demo");
  EXPECT_EQ(diff.status, 0);
  EXPECT_THAT(diff.out, AllOf(StartsWith("--- stub/exercises/demo/b.cpp\n+++ mine/exercises/demo/b.cpp\n"),
                              HasSubstr("\n+mine\n"), Not(HasSubstr("a.cpp"))));
}

TEST_F(Cli, WhatBuildsNothingDoesNotWaitForABuild) {
  Write("exercises/demo/README.md", "A handout.\n");
  Write("exercises/demo/hints/first.md", "A hint.\n");
  const int lock = open(In("build/.lab-lock").c_str(), O_RDWR | O_CREAT, 0666);
  ASSERT_EQ(flock(lock, LOCK_EX), 0);
  for (const char* arguments :
       {"", "help", "--help", "grade --help", "hint demo.first", "diff demo", "reset demo.first"}) {
    const Ended ended = Lab(arguments);
    EXPECT_EQ(ended.status, 0) << arguments << ": " << ended.err;
    EXPECT_EQ(ended.err, "") << arguments;
  }
  close(lock);
  EXPECT_EQ(Built(), "");
}

TEST_F(Cli, TrainAndScheduleBecomeTheirPrograms) {
  for (const std::string name : {"train", "schedule"}) {
    Write("build/bin/" + name + "_exercises", "#!/bin/sh\necho mine \"$@\"\nexit 7\n", true);
    Write("build/bin/" + name + "_solutions", "#!/bin/sh\necho solutions \"$@\"\n", true);
    const Ended student = Lab(name + " --mesh data=2,tensor=2 --help");
    EXPECT_EQ(student.status, 7);
    EXPECT_EQ(student.out, "mine --mesh data=2,tensor=2 --help\n") << "a student's tree has no solutions";
  }
  Write("solutions/demo/a.cpp", "");
  EXPECT_EQ(Lab("train --compare").out, "solutions --compare\n");
  EXPECT_EQ(Lab("train --steps 3 --mine").out, "mine --steps 3\n");
  EXPECT_THAT(Built(), HasSubstr("--target train_solutions"));
  EXPECT_EQ(Lab("schedule gpipe --forward -1").out, "solutions gpipe --forward -1\n");
  EXPECT_THAT(Built(), HasSubstr("--target schedule_solutions"));
}

TEST_F(Cli, AProgramOfMineSaysWhichStubsRunInIt) {
  for (const std::string name : {"train", "schedule"}) {
    Write("build/bin/" + name + "_exercises", "#!/bin/sh\necho mine\n", true);
    Write("build/bin/" + name + "_solutions", "#!/bin/sh\necho solutions\n", true);
  }
  Write("solutions/demo/a.cpp", "");
  Write("build/exercises/demo/a.cpp.error.txt",
        "exercises/demo/a.cpp does not compile: its stub takes its place.\nexercises/demo/a.cpp:3:1: error: no such "
        "thing\n");
  const std::string said =
      "lab: exercises/demo/a.cpp does not compile, so its stub runs:\nexercises/demo/a.cpp:3:1: error: no such thing\n";
  EXPECT_THAT(Lab("train").err, Not(HasSubstr("stub"))) << "there it is the solutions that run";
  EXPECT_THAT(Lab("train --mine").err, HasSubstr(said));
  EXPECT_THAT(Lab("schedule --mine").err, Not(HasSubstr("stub"))) << "schedules are made without this file";
  Write("build/build.ninja",
        "build graders/demo/CMakeFiles/demo_plain_exercises.dir/__/__/exercises/demo/a.cpp.o: CXX a.cpp\n");
  EXPECT_THAT(Lab("schedule --mine").err, HasSubstr(said));
}

TEST_F(Cli, ABuildThatFailsShowsWhatTheCompilerSaid) {
  Script("cmake",
         "echo '[1/3] Building CXX object x.o'\necho 'FAILED: x.o'\necho 'g++ -O1 -o x.o -c x.cpp'\n"
         "echo 'x.cpp:3:1: error: no such thing'\necho '[2/3] Building CXX object y.o'\nexit 1\n");
  const Ended ended = Lab("data");
  EXPECT_EQ(ended.status, 3);
  EXPECT_THAT(ended.err, AllOf(HasSubstr("x.cpp:3:1: error: no such thing\n"),
                               HasSubstr("lab: cifar_data could not be built"), Not(HasSubstr("-c x.cpp"))));
}

TEST_F(Cli, AProgramThatThisBuildDoesNotHaveIsNamed) {
  Script("cmake", "echo \"ninja: error: unknown target 'cifar_data'\"\nexit 1\n");
  EXPECT_EQ(Lab("data").status, 3);
  EXPECT_EQ(Lab("data").err, "lab: this build has no cifar_data\n");
}

TEST_F(Cli, TestsThatFailAreNotAnEnvironmentThatFails) {
  Script("ctest", "echo \"$@\"\necho '50% tests passed'\nexit 8\n");
  const Ended ended = Lab("test report");
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.out,
              AllOf(HasSubstr("--output-on-failure"), HasSubstr("-R report"), HasSubstr("50% tests passed")));
  Script("ctest", "exit 0\n");
  EXPECT_EQ(Lab("test").status, 0);
}

TEST_F(Cli, DocsSaysWhereTheSiteIs) {
  EXPECT_EQ(Lab("docs").status, 3) << "nothing was made";
  Write("build/docs/index.html", "");
  EXPECT_EQ(Lab("docs").out, In("build/docs/index.html") + "\n");
}

TEST_F(Cli, BenchRunsProgramsOfItsOwnAndKeepsTheirTables) {
  Write(
      "build/build.ninja",
      "build bench_data: phony bin/bench_data\nbuild bench_toy: phony bin/bench_toy\nbuild lib.so: phony lib/lib.so\n");
  Write("build/bin/bench_toy", "#!/bin/sh\necho toy \"$@\"\n", true);
  Write("build/bin/bench_data", "#!/bin/sh\necho figures of data\n", true);
  EXPECT_THAT(Lab("bench data").out, HasSubstr("figures of data")) << "a command's name is a bench's name too";
  const Ended ended = Lab("bench toy --steps 3 --json " + In("bench.json"));
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(ended.out, "toy --steps 3\n");
  EXPECT_THAT(Read("bench.json"), HasSubstr("\"toy --steps 3\""));
  EXPECT_THAT(Lab("bench tay").err, HasSubstr("did you mean 'toy'? There are build, edit, data, toy."));
}

TEST_F(Cli, BenchEditSavesAFileOfEachModuleAndBuildsItsHost) {
  Write("build/build.ninja", "build host_demo_exercises: phony bin/host_demo_exercises\n");
  const auto before = std::filesystem::last_write_time(In("exercises/demo/a.cpp"));
  std::filesystem::last_write_time(In("exercises/demo/a.cpp"), before - std::chrono::hours(1));
  const Ended ended = Lab("bench edit --json " + In("bench.json"));
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_THAT(ended.out, AllOf(HasSubstr("demo                 exercises/demo/a.cpp"), Not(HasSubstr("other"))));
  EXPECT_GE(std::filesystem::last_write_time(In("exercises/demo/a.cpp")), before);
  EXPECT_EQ(Read("exercises/demo/a.cpp"), "// stub of a.cpp\n");
  EXPECT_THAT(Read("bench.json"), AllOf(HasSubstr("\"module\": \"demo\""), HasSubstr("\"seconds\": ")));
}

TEST_F(Cli, BenchBuildMeasuresFirstBuildsInFoldersOfTheirOwn) {
  const auto script = [&](const std::string& more) {
    Write("lab", "#!/bin/sh\nset -e\nmkdir -p \"$LAB_BUILD/bin\"\n: > \"$LAB_BUILD/CMakeCache.txt\"\n" + more, true);
  };
  Write("build/build.ninja", "");
  script("");
  EXPECT_EQ(Lab("bench build").status, 2) << "this course has no module communication";
  Write("graders/communication/rubric.toml",
        "id = \"communication\"\ntitle = \"Messages\"\n[[part]]\nid = \"good\"\ntitle = \"A ring\"\npoints = 1\n"
        "files = [\"ring.cpp\"]\n");
  EXPECT_THAT(Lab("bench build").err, HasSubstr("to the first verdict: a grader could not be run"));
  script("ln -s " PLAIN_HOST
         " \"$LAB_BUILD/bin/host_communication_exercises\"\n"
         "ln -s " PLAIN_REFEREE " \"$LAB_BUILD/bin/referee_communication\"\n");
  const Ended ended = Lab("bench build --json " + In("bench.json"));
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_THAT(ended.out, AllOf(HasSubstr("to the first verdict"), HasSubstr("everything, tests too")));
  EXPECT_THAT(Read("bench.json"), AllOf(HasSubstr("\"processor_seconds\": "), HasSubstr("\"program_seconds\": ")));
  EXPECT_THAT(Built(), AllOf(HasSubstr("-bench-"), HasSubstr("--target all")));
  for (const auto& entry : std::filesystem::directory_iterator(root_)) {
    EXPECT_THAT(entry.path().filename(), Not(HasSubstr("-bench-"))) << "it was not removed";
  }
}

TEST_F(Cli, WhatAKilledBuildLeftHalfWrittenIsMadeAgain) {
  Write("build/.ninja_log", "# ninja log v5\n0\t1000\t1000000000000000000\tbin/half\tabc\n");
  Script("cmake", "echo half > '" + In("build/bin/half") + "'\nkill -9 $$\n");
  std::filesystem::create_directories(In("build/bin"));
  EXPECT_EQ(Lab("data").status, 3);
  EXPECT_TRUE(Exists("build/.lab-building"));
  Script("cmake", "[ ! -e '" + In("build/bin/half") + "' ] && echo clean > '" + In("seen") + "'\n");
  EXPECT_THAT(Lab("data").err, HasSubstr("lab: the last build was ended in the middle; 1 files"));
  EXPECT_TRUE(Exists("seen")) << "it was there when the next build began";
  EXPECT_FALSE(Exists("build/.lab-building"));
}

TEST_F(Cli, ASignalThatOnlyLabGetsReachesItsChild) {
  const auto start = std::chrono::steady_clock::now();
  const shardlab::cli::CancelOnSignal cancel;
  std::thread killer([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    kill(getpid(), SIGTERM);
  });
  shardlab::cli::RunOptions options;
  options.cancel = cancel.flag();
  EXPECT_EQ(shardlab::cli::RunProgram({"sleep", "30"}, options), 128 + SIGTERM);
  killer.join();
  EXPECT_EQ(cancel.signal(), SIGTERM);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST_F(Cli, AProgramThatIsNotThereHasStatus127) {
  EXPECT_EQ(shardlab::cli::RunProgram({"no-such-program-anywhere"}), 127);
}

TEST_F(Cli, DoctorNamesWhatItLooksAt) {
  const Ended ended = Lab("doctor");
  EXPECT_TRUE(ended.status == 0 || ended.status == 3) << ended.status;
  for (const char* what : {"compiler", "cmake", "LibTorch", "Gloo", "BLAS", "linker", "memory", "cores", "disk",
                           "sandbox", "CUDA", "gnuplot", "CIFAR"}) {
    EXPECT_THAT(ended.out, HasSubstr(what));
  }
}

}  // namespace
