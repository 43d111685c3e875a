// The program behind `lab schedule`, as its user meets it: what it prints, what it writes, and how it says no.

#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

#include "shardlab/plan/text.hpp"
#include "shardlab/plan/traits.hpp"

namespace shardlab {
namespace {

namespace fs = std::filesystem;

struct Result {
  int status = -1;
  std::string out;
  std::string err;
};

std::string Read(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

class Program : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "schedule_XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  Result Run(const std::string& arguments, const std::string& program = SHARDLAB_SCHEDULE) const {
    const std::string command = "cd '" + folder_.string() + "' && COLUMNS=100 timeout 60 '" + program + "' " +
                                arguments + " >'out' 2>'err' </dev/null";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, Read(folder_ / "out"), Read(folder_ / "err")};
  }

  // One line on standard error, nothing on standard output, exit status 2.
  void ExpectRefused(const std::string& arguments, const std::string& words) const {
    const Result result = Run(arguments);
    EXPECT_EQ(result.status, 2) << arguments << "\n" << result.err;
    EXPECT_EQ(result.out, "") << arguments;
    EXPECT_NE(result.err.find(words), std::string::npos) << arguments << "\n" << result.err;
    EXPECT_EQ(result.err.find('\n'), result.err.size() - 1) << arguments << "\n" << result.err;
  }

  fs::path folder_;
};

TEST_F(Program, EveryScheduleIsDrawn) {
  for (const std::string& name : ScheduleNames()) {
    const Result result = Run(name + " --stages 4 --micro-batches 8");
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.err, "");
    EXPECT_EQ(result.out.find(name + ": "), 0u) << result.out;
    EXPECT_EQ(result.out.find("not the contract's order"), std::string::npos) << result.out;
    EXPECT_NE(result.out.find("\nrank 3   "), std::string::npos) << result.out;
    EXPECT_NE(result.out.find("makespan "), std::string::npos) << result.out;
    EXPECT_EQ(result.out.find('\033'), std::string::npos) << "colour, but this is no terminal";
  }
}

TEST_F(Program, SaysWhatTheFormulasSay) {
  const Result result = Run("1f1b --stages 4 --micro-batches 8 --bytes 1000");
  EXPECT_NE(result.out.find("makespan 33, bubble 27.3 %"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("48 messages of 48,000 bytes in all"), std::string::npos) << result.out;
  EXPECT_NE(Run("interleaved --stages 4 --chunks 2 --micro-batches 8").out.find("bubble 15.8 %"), std::string::npos);
  EXPECT_NE(Run("wpipe --stages 4 --micro-batches 4 --updates 2").out.find("2 + 1"), std::string::npos);
  // Ten layers on four stages: 3 3 2 2.
  EXPECT_NE(
      Run("naive --stages 4 --micro-batches 1 --layers 10 --forward 10 --backward 20").out.find("\n0          36"),
      std::string::npos);
}

TEST_F(Program, WritesWhatItCanReadAgain) {
  const Result written = Run("zb-h1 --stages 3 --micro-batches 4 --csv s.csv --text s.txt --svg s.svg --trace s.json");
  ASSERT_EQ(written.status, 0);
  EXPECT_NE(written.out.find("\nWritten: s.svg, s.json (for ui.perfetto.dev or chrome://tracing), s.csv, s.txt\n"),
            std::string::npos)
      << written.out;
  EXPECT_EQ(ToPyTorchCsv(ReadSchedule(Read(folder_ / "s.txt"))), Read(folder_ / "s.csv"));
  EXPECT_NE(Read(folder_ / "s.svg").find("</svg>"), std::string::npos);
  EXPECT_NE(Read(folder_ / "s.json").find("traceEvents"), std::string::npos);
  for (const char* file : {"s.csv", "s.txt"}) {
    const Result again = Run(std::string("--check ") + file);
    EXPECT_EQ(again.status, 0) << again.err;
    EXPECT_NE(again.out.find("makespan "), std::string::npos);
  }
  ASSERT_EQ(Run("zb-h1 --stages 3 --micro-batches 4 --text s.txt --communication").status, 0);
  EXPECT_NE(Read(folder_ / "s.txt").find("0SEND_F0"), std::string::npos);
  EXPECT_EQ(Run("--check s.txt").status, 0);
}

TEST_F(Program, ABrokenScheduleIsShown) {
  std::ofstream(folder_ / "broken.csv") << "0F0,0B0,0F1,0B1\n1F1,1B1,1F0,1B0\n";
  const Result result = Run("--check broken.csv");
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err,
            "broken.csv: deadlock: rank 0 is at 0B0 and waits for 1B0 or 1I0 of rank 1; rank 1 is at 1F1 and waits for "
            "0F1 of "
            "rank 0\n"
            "  rank 0   0F0 [0B0] 0F1 0B1       step 1: waits for 1B0 or 1I0, step 3 of rank 1\n"
            "  rank 1       [1F1] 1B1 1F0 1B0   step 0: waits for 0F1, step 2 of rank 0\n");
}

TEST_F(Program, SaysNoInOneLine) {
  ExpectRefused("", "name a schedule (naive, gpipe");
  ExpectRefused("1f2b --stages 4 --micro-batches 8", "unknown schedule '1f2b': did you mean '1f1b'?");
  ExpectRefused("gpipe", "give --stages and --micro-batches");
  ExpectRefused("gpipe --stages 4 --micro-batches 0", "at least 1 micro-batch, not 0");
  ExpectRefused("gpipe --stages 0 --micro-batches 4", "at least 1 stage, not 0");
  ExpectRefused("gpipe --stages x --micro-batches 4", "--stages x: not a number that this option takes");
  ExpectRefused("gpipe --stages 4 --micro-batches 2.5", "--micro-batches 2.5: not a number that this option takes");
  ExpectRefused("gpipe --stages 4 --micro-batches -1", "at least 1 micro-batch, not -1");
  ExpectRefused("gpipe --stages 4 --stages 3 --micro-batches 1", "--stages: give it once, with one value");
  ExpectRefused("gpipe --micro-batches 4 --stages", "--stages: give it once, with one value");
  ExpectRefused("gpipe 1f1b --stages 2 --micro-batches 2", "1f1b (lab schedule --help)");
  ExpectRefused("gpipe --stages 99999999999 --micro-batches 4", "not a number that this option takes");
  ExpectRefused("gpipe --stages 70000 --micro-batches 4", "more than 65536 chunks");
  ExpectRefused("gpipe --stages 4 --micro-batches 2000000", "1 to 1000000 micro-batches");
  ExpectRefused("gpipe --stages 65536 --micro-batches 1000000", "more than 4000000 forwards");
  ExpectRefused("gpipe --stages 8 --micro-batches 4 --layers 5", "a model of 5 layers cannot be cut into 8 stages");
  ExpectRefused("interleaved --stages 4 --micro-batches 6", "a multiple of the ranks, such as 8");
  ExpectRefused("interleaved --stages 4 --micro-batches 8 --chunks 0", "at least 1 chunk, not 0");
  ExpectRefused("interleaved --stages 4 --micro-batches 8 --chunks 1",
                "a rank needs 2 chunks or more; with 1 use 1f1b");
  ExpectRefused("wpipe --stages 4 --micro-batches 6",
                "6 micro-batches an update on 4 ranks: they must be a multiple of the ranks, such as 8");
  ExpectRefused("gpipe --stages 4 --micro-batches 8 --chunks 2", "and interleaved-zb take --chunks");
  ExpectRefused("gpipe --stages 4 --micro-batches 8 --updates 2", "only 2bw and wpipe take --updates");
  ExpectRefused("wpipe --stages 4 --micro-batches 4 --updates 0", "at least 1 update, not 0");
  ExpectRefused("2bw --stages 4 --micro-batches 3", "at least as many micro-batches as there are stages, 4, not 3");
  ExpectRefused("gpipe --stages 2 --micro-batches 2 --forward -1", "--forward -1: a time is 0 or more");
  ExpectRefused("gpipe --stages 2 --micro-batches 2 --forward 1e308",
                "--forward 1e+308: a time is 0 or more, and at most");
  ExpectRefused("gpipe --stages 2 --micro-batches 2 --bytes 9223372036854775807",
                "--bytes 9223372036854775807: a tensor has 0 bytes or more, and at most 1e+12");
  ExpectRefused("dualpipe-v --stages 2 --micro-batches 4 --pair 0", "--pair 0: the share is above 0 and at most 1");
  ExpectRefused("gpipe --stages 400 --micro-batches 400 --svg s.svg",
                "--svg: 320,400 actions are too many to look at: draw at most 200,000");
  ExpectRefused("gpipe --stages 2 --micro-batches 2 --message=-1", "--message -1: a time is 0 or more");
  ExpectRefused("gpipe --stages 2 --micro-batches 2 --bytes=-1", "--bytes -1");
  ExpectRefused("gpipe --stages 3 --micro-batches 2 --backward 1,2", "one for each of the 3 stages");
  ExpectRefused("gpipe --stages 2 --micro-batches 2 --weight 3", "more than the whole --backward 2");
  ExpectRefused("gpipe --stages 2 --micro-batches 2 --recompute sometimes",
                "unknown mode of recomputation 'sometimes'");
  ExpectRefused("gpipe --stages 2 --micro-batches 2 --svg /nowhere/s.svg", "there is no folder /nowhere");
  ExpectRefused("pipedream --stages 2 --micro-batches 2 --csv s.csv", "PyTorch's CSV cannot say");
  ExpectRefused("gpipe --wrong", "--wrong");
  ExpectRefused("--check nowhere.csv", "nowhere.csv: No such file");
  ExpectRefused("gpipe --check s.csv", "give one of the two");
  std::ofstream(folder_ / "bad.csv") << "0F0,0B0\n1F0,what\n";
  ExpectRefused("--check bad.csv", "bad.csv: line 2, cell 2: 'what' is not an action");
  ExpectRefused("--check bad.csv --stages 2", "from the file: leave them out");
  ExpectRefused("gpipe --stages 2 --micro-batches 2 --svg x --csv x", "--svg and --csv both name x: give two files");
  ExpectRefused("--check bad.csv --text bad.csv", "--text would overwrite the file that is checked");
}

TEST_F(Program, AFileThatIsNoScheduleIsRefusedInOneLine) {
  const std::string own = "layout linear 2\nmicro-batches 1\n";
  struct {
    std::string text, words;
  } const files[] = {
      {"", "there is no action in this file: write a line for each rank, such as 0F0,0F1,0B0,0B1"},
      {"\n  \n\n", "there is no action in this file"},
      {"# nothing\n", "there is no action in this file"},
      {"once upon a time\n", "line 1, cell 1: there is a space or a semicolon between actions"},
      {"0F0 0B0\n1F0 1B0\n", "separate them by commas, or begin the file with the lines 'layout linear 2'"},
      {"0F0;0B0\n", "a space or a semicolon between actions"},
      {"stage,0\n0F0,0B0\n", "line 1, cell 1: 'stage' is not an action"},
      {std::string("0F0,0B0\n\0\n", 10), "this is no text"},
      {std::string(1000000, 'x'), "'xxxxxxxxxxxxxxxxxxxxxxxx...' is not an action"},
      {"0F0,\x1b[31m\n", "line 1, cell 2: '?[31m' is not an action"},
      {"0F0,99999999999F0\n", "line 1, cell 2: '99999999999F0' is not an action"},
      {"0F99999999,0B0\n", "a mini-batch is cut into 1 to 1000000 micro-batches, not 100000000"},
      {"70000000F0\n", "more than 65536 chunks"},
      {"0F0,0B0\n0F1,0B1\n", "line 2, cell 1: 0F1 is here, and as many actions of stage 0 are on line 1"},
      {"0F0,0F1,0B0,1B1,0B1\n1F0,1B0,1F1\n", "line 1, cell 4: 1B1 is here, and stage 1 is on line 2, with 3 of its"},
      {"(0F0;0B0\n", "is no pair such as (0F7;7B3)OVERLAP_F_B"},
      {"(0F0;0F1)OVERLAP_F_B\n", "a pair is a forward and a backward"},
      {"layout linear " + std::string(200000, '1') + "\n", "is not a layout"},
      {"micro-batches " + std::string(200000, 'x') + "\n", "'xxxxxxxxxxxxxxxxxxxxxxxx...' is not a number"},
      {"schedule " + std::string(200000, 'x') + "\n", "has more than 64 letters"},
      {std::string("schedule \x1b[31m\nlayout linear 1\n"), "the name '?[31m' has more than 64 letters, or some that"},
      {"rank " + std::string(200000, 'x') + ": 0F0\n", "is not a number of a rank"},
      {"rank:" + std::string(200000, 'x') + "\n", "begins no line"},
      {"layout linear 2\nrank 0: 0F0\n", "there is no line 'micro-batches'"},
      {"micro-batches 1\nrank 0: 0F0\n", "there is no line 'layout', such as 'layout linear 4'"},
      {"layout linear 0\nmicro-batches 1\n", "line 1: a pipeline needs at least 1 stage, not 0"},
      {"layout ring 4\nmicro-batches 1\n", "line 1: 'ring 4' is not a layout"},
      {"layout linear 2\nmicro-batches 0\n", "a mini-batch is cut into 1 to 1000000 micro-batches, not 0"},
      {"layout linear 2\nmicro-batches many\n", "line 2: 'many' is not a number of micro-batches"},
      {own + "rank 5: 0F0\n", "there is a list for rank 5, but the layout 'linear 2' has the ranks 0 to 1"},
      {own + "rank 0 0F0\n", "line 3: a rank's list begins like 'rank 0:'"},
      {own + "rank 0: 0F0\nrank 0: 0B0\n", "line 4: a second list of rank 0"},
      {own + "ranks 0: 0F0\n", "line 3: 'ranks' begins no line"},
      {own + "  0F0\n", "line 3: an indented line continues a 'rank' line"},
  };
  for (const auto& [text, words] : files) {
    std::ofstream(folder_ / "file") << text;
    ExpectRefused("--check file", words);
    EXPECT_LT(Run("--check file").err.size(), 500u) << words;
  }
  fs::create_directory(folder_ / "folder");
  ExpectRefused("--check folder", "cannot read folder: it is a folder");
  ExpectRefused("--check /dev/zero", "this is a device: name a file");
  std::ofstream(folder_ / "large").close();
  fs::resize_file(folder_ / "large", std::uintmax_t{1} << 34);  // takes no room on the disk
  ExpectRefused("--check large", "a file of more than 256 MiB is no schedule");
}

TEST_F(Program, WhateverEndsALineOrQuotesACellIsRead) {
  for (const std::string text : {"0F0,0B0\r\n1F0,1B0\r\n",
                                 "\xef\xbb\xbf"
                                 "0F0,0B0\n1F0,1B0",
                                 "\"0F0\",\"0B0\"\n\"1F0\", \"1B0\"\n", "0F0,,0B0\n,1F0,,1B0,\n",
                                 "layout linear 2\r\nmicro-batches 1\r\nrank 0: 0F0 0B0\r\nrank 1: 1F0 1B0\r\n"}) {
    std::ofstream(folder_ / "file") << text;
    const Result result = Run("--check file");
    EXPECT_EQ(result.status, 0) << text << result.err;
    EXPECT_NE(result.out.find("2 ranks, 1 micro-batch\n"), std::string::npos) << text << result.out;
  }
}

// Pairs are one action; what is passed over is said.
TEST_F(Program, TablesOfPyTorchsPipeliningAreRead) {
  std::ofstream(folder_ / "vee.csv") << "0UNSHARD,0F0,3F0,3I0,3W0,0F1,(3F1;0B0)OVERLAP_F_B,3B1,0B1,0RESHARD\n"
                                        "1F0,2F0,1F1,2F1,2B0,1B0,2B1,1B1\n";
  const Result result = Run("--check vee.csv --text vee.txt");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("\nskipped 1 RESHARD and 1 UNSHARD: "), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("f1--+B0-"), std::string::npos) << result.out;
  EXPECT_NE(Read(folder_ / "vee.txt").find(" (3F1;0B0)OVERLAP_F_B "), std::string::npos);
  std::ofstream(folder_ / "needs.csv") << "0F0,0B0\n(1F0;1B0)OVERLAP_F_B\n";
  const Result needs = Run("--check needs.csv");
  EXPECT_EQ(needs.status, 1);
  EXPECT_NE(needs.err.find("the two of a pair run at once, and 1B0 needs 1F0: make them two entries"),
            std::string::npos)
      << needs.err;
  EXPECT_NE(needs.err.find("[(1F0;] 1B0)"), std::string::npos) << needs.err;
}

// Time and memory grow with the number of actions and no faster; the limit of Run is generous.
TEST_F(Program, LargeFilesAndSchedulesTakeSeconds) {
  std::ofstream(folder_ / "commas.csv") << std::string(30 << 20, ',') << "0F0,0B0\n";
  EXPECT_EQ(Run("--check commas.csv").status, 0);
  const Result result = Run("naive --stages 500 --micro-batches 100");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("\nrank 63 "), std::string::npos);
  EXPECT_NE(result.out.find("\nand 436 more ranks\n"), std::string::npos);
  EXPECT_LT(result.out.size(), 20000u);
  EXPECT_EQ(Run("gpipe --stages 2 --micro-batches 2 --forward 1e12 --backward 1e-12").status, 0);
}

// A schedule that can be read and not run: what is missing is marked.
TEST_F(Program, AnIncompleteScheduleIsShown) {
  const std::pair<std::string, std::string> files[] = {
      {"0F0,0B0\n1F0\n", "rank 1, step 0: the backward 1B0 (or 1I0 and 1W0) is missing"},
      {"0F0,0B0,0B0\n1F0,1B0\n", "rank 0, step 2: 0B0 is already at step 1"},
      {"0F0,0F1,0B0\n1F0,1B0,1F1,1B1\n", "the backward 0B1"},
      {"layout linear 2\nmicro-batches 1\nrank 0: 0F0 0B0\n", "rank 1, step 0: the forward 1F0 is missing"},
      {"layout linear 2\nmicro-batches 1\nrank 0: 0F0 0B0 1F0\nrank 1: 1B0\n", "chunk 1 is on rank 1"}};
  for (const auto& [text, words] : files) {
    std::ofstream(folder_ / "file") << text;
    const Result result = Run("--check file");
    EXPECT_EQ(result.status, 1) << text;
    EXPECT_EQ(result.out, "") << text;
    EXPECT_NE(result.err.find(words), std::string::npos) << text << result.err;
    EXPECT_NE(result.err.find(']'), std::string::npos) << text << result.err;
  }
}

#ifdef SHARDLAB_SCHEDULE_STUBS
TEST_F(Program, AStubSaysWhatIsLeftToDo) {
  const Result result = Run("1f1b --stages 4 --micro-batches 8", SHARDLAB_SCHEDULE_STUBS);
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.err,
            "lab schedule: not implemented yet: pipeline.1f1b: OneFOneB (exercises/pipeline/generators_1f1b.cpp)\n");
}
#endif

}  // namespace
}  // namespace shardlab
