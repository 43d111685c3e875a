// The drawings, on schedules small enough to read.

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "../texts.hpp"
#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/policies.hpp"
#include "shardlab/plan/draw.hpp"
#include "shardlab/plan/more_generators.hpp"
#include "shardlab/plan/passes.hpp"

namespace shardlab {
namespace {

TEST(Draw, TextIsTheTextbookFigure) {
  const Schedule schedule = AddCommunication(OneFOneB(3, 4));
  EXPECT_EQ(DrawText(schedule, Simulate(schedule)),
            "time     0              5              10             15\n"
            "rank 0   F0 F1 F2 ............B0--- F3 B1--- ...B2--- ...B3---\n"
            "rank 1   ...F0 F1 ......B0--- F2 B1--- F3 B2--- ...B3--- ......\n"
            "rank 2   ......F0 B0--- F1 B1--- F2 B2--- F3 B3--- ............\n"
            "         F forward   B backward   . idle\n");
}

TEST(Draw, TextTellsTheChunksOfARankApart) {
  const Schedule schedule = InterleavedOneFOneB(2, 2, 2);
  const Simulation run = Simulate(schedule);
  EXPECT_EQ(DrawText(schedule, run),
            "time     0       2       4       6       8       10      12      14\n"
            "rank 0   0F0 0F1 2F0 2F1 ........2B0---- ....2B1---- 0B0---- 0B1----\n"
            "rank 1   ....1F0 1F1 3F0 3B0---- 3F1 3B1---- 1B0---- 1B1---- ........\n"
            "         F forward   B backward   0F1 chunk 0, micro-batch 1   . idle\n");
  // Small letters where there is less room.
  EXPECT_EQ(DrawText(schedule, run, {60, false, false}),
            "time     0              5              10\n"
            "rank 0   F0 F1 f0 f1 ......b0--- ...b1--- B0--- B1---\n"
            "rank 1   ...F0 F1 f0 b0--- f1 b1--- B0--- B1--- ......\n"
            "         F forward   B backward   f b of its second chunk\n"
            "         . idle\n");
}

TEST(Draw, APairIsOneBox) {
  const Schedule schedule = DualPipeV(1, 4);
  const Simulation run = Simulate(schedule, CostModel::Uniform(2, 4, 2));
  EXPECT_EQ(DrawText(schedule, run),
            "time     0              5              10             15             20\n"
            "rank 0   F0 f0 F1 b0--- f1--+B0- F2--+b1- f2--+B1- F3--+b2- f3--+B2- b3--- I3 W3\n"
            "         F forward   B backward   I gradient of the input   W gradient of the weights\n"
            "         f b i w of its second chunk   + a pair, at once   . idle\n");
  const std::string svg = DrawSvg(schedule, run);
  EXPECT_EQ(Count(svg, "height=\"13\""), 5u) << "the backward is the lower half of the box";
  EXPECT_EQ(Count(svg, "a pair, at once"), 1u);
}

TEST(Draw, TextWithoutRoomForLabelsKeepsTheLetters) {
  const Schedule schedule = GPipe(2, 9);
  EXPECT_EQ(DrawText(schedule, Simulate(schedule), {42, false, false}),
            "time     0         10        20\n"
            "rank 0   FFFFFFFFF...B8B7B6B5B4B3B2B1B0\n"
            "rank 1   .FFFFFFFFFB8B7B6B5B4B3B2B1B0..\n"
            "         F forward   B backward   . idle\n");
}

TEST(Draw, TextKeepsToTheWidth) {
  for (const size_t width : {40u, 72u, 100u}) {
    for (const Schedule& schedule :
         {GPipe(4, 3), OneFOneB(12, 40), GroupWeights(WPipe(4, 16), 4), ZeroBubbleH2(3, 200)}) {
      const Simulation run = Simulate(schedule);
      const std::string text = DrawText(schedule, run, {width, false, false});
      size_t lines = 0;
      for (size_t begin = 0; begin < text.size(); ++lines) {
        const size_t end = text.find('\n', begin);
        EXPECT_LE(end - begin, width) << text;
        begin = end + 1;
      }
      EXPECT_GE(lines, schedule.ranks.size() + 2);
      EXPECT_EQ(text.find('\033'), std::string::npos) << "an escape sequence without colour";
    }
  }
}

TEST(Draw, TextLeavesOutTheMiddleOfALongSchedule) {
  const Schedule schedule = OneFOneB(2, 500);
  const std::string text = DrawText(schedule, Simulate(schedule), {80, false, false});
  EXPECT_NE(text.find("F0"), std::string::npos) << text;
  EXPECT_NE(text.find(" ~ "), std::string::npos) << text;
  EXPECT_NE(text.find("B499"), std::string::npos) << text;
  EXPECT_EQ(text.find("F250"), std::string::npos) << text;
}

TEST(Draw, TextOfMeasuredTimesIsDrawnWhole) {
  const Schedule schedule = GPipe(2, 2);
  Simulation run;
  const auto span = [](Action action, double begin, double end) {
    Span made;
    made.action = action;
    made.begin = begin;
    made.end = end;
    return made;
  };
  run.ranks = {{span(Action::Forward(0, 0), 0, 0.001), span(Action::Forward(0, 1), 0.001, 0.002),
                span(Action::Backward(0, 1), 30, 39.5), span(Action::Backward(0, 0), 39.5, 50)},
               {span(Action::Forward(1, 0), 0.5, 9.5), span(Action::Forward(1, 1), 9.5, 20),
                span(Action::Backward(1, 1), 20, 30), span(Action::Backward(1, 0), 30, 38)}};
  run.makespan = 50;
  EXPECT_EQ(DrawText(schedule, run, {59, false, false, 100}),  // half of 50 columns
            "time     0         20        40\n"
            "rank 0   FF.............B1-- B0--\n"
            "rank 1   F0-- F1-- B1-- B0- ......\n"
            "         F forward   B backward   . idle\n")
      << "what takes next to no time has a column, nothing is cut, and the scale is the one that was asked for";
}

TEST(Draw, TextNamesAnActionThatIsCut) {
  const Schedule schedule = GPipe(1, 1);
  EXPECT_EQ(DrawText(schedule, Simulate(schedule, CostModel::Uniform(1, 200)), {40, false, false}),
            "time     0              5   ~        200\n"
            "rank 0   F0 B0------------- ~ ---------\n"
            "         F forward   B backward   . idle\n"
            "         ~ cut: needs 612 columns\n");
}

TEST(Draw, ColourNamesMicrobatchesOnly) {
  const Schedule schedule = GPipe(2, 3);
  const std::string text = DrawText(schedule, Simulate(schedule), {100, true, true});
  EXPECT_NE(text.find("\033[38;5;231;48;5;25m0"), std::string::npos) << text;
  EXPECT_NE(text.find("numbers are micro-batches"), std::string::npos) << text;
  // A backward is as wide as two forwards, down to its last column.
  EXPECT_NE(text.find("\033[38;5;231;48;5;25m0  1  2  \033[0m"), std::string::npos) << text;
  EXPECT_NE(text.find("m2     1     0     \033[0m\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("F0"), std::string::npos) << text;
  // Every colour is ended before its line is.
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    const std::string line = text.substr(begin, end - begin);
    const size_t last = line.rfind('\033');
    if (last != std::string::npos) {
      EXPECT_EQ(line.compare(last, 4, "\033[0m"), 0) << line;
    }
    begin = end + 1;
  }
}

TEST(Draw, NothingToDraw) {
  CostModel free;
  free.forward = free.backward_input = free.backward_weight = {0};
  const Schedule schedule = Naive(1, 1);
  EXPECT_EQ(DrawText(schedule, Simulate(schedule, free)), "nothing in this schedule takes time\n");
  EXPECT_NE(DrawSvg(schedule, Simulate(schedule, free)).find("</svg>"), std::string::npos);
}

TEST(Draw, SvgHasEveryActionStepAndMessage) {
  const Schedule schedule = AddCommunication(StashWeights(OneFOneB(3, 5)));
  CostModel costs = CostModel::Uniform(2, 4);
  costs.message = {1};
  const std::string svg = DrawSvg(schedule, Simulate(schedule, costs));
  EXPECT_EQ(Count(svg, "<g><title>"), 3 * 5 * 2u);
  EXPECT_EQ(Count(svg, "class=\"step\""), 3 * 5 + 1u);  // and the legend
  EXPECT_EQ(Count(svg, "class=\"msg\""), 2 * 2 * 5u + 1);
  EXPECT_EQ(Count(svg, "max "), 3u);
  EXPECT_NE(svg.find("<title>1F2@1: "), std::string::npos);
  EXPECT_NE(svg.find("prefers-color-scheme:dark"), std::string::npos);
  EXPECT_EQ(Count(svg, "<svg "), Count(svg, "</svg>"));
}

TEST(Draw, SvgEscapesNames) {
  Schedule schedule = GPipe(2, 2);
  schedule.name = "<a & b>";
  const std::string svg = DrawSvg(schedule, Simulate(schedule));
  EXPECT_NE(svg.find("&lt;a &amp; b&gt;"), std::string::npos);
}

TEST(Draw, TraceIsWhatPerfettoReads) {
  const Schedule schedule = AddCommunication(Flush(InterleavedOneFOneB(2, 2, 4)));
  const Simulation run = Simulate(schedule);
  const auto trace = nlohmann::json::parse(ToChromeTrace(schedule, run, 10));
  std::map<std::string, int> phases;
  std::set<std::string> threads;
  std::map<int, std::vector<std::string>> flows;
  double last = 0;
  for (const auto& event : trace.at("traceEvents")) {
    const std::string phase = event.at("ph");
    ++phases[phase];
    EXPECT_TRUE(event.at("pid").is_number_integer());
    EXPECT_TRUE(event.at("tid").is_number_integer());
    if (phase == "M" && event.at("name") == "thread_name") threads.insert(event.at("args").at("name"));
    if (phase == "X") last = std::max(last, event.at("ts").get<double>() + event.at("dur").get<double>());
    if (phase == "s" || phase == "f") flows[event.at("id")].push_back(phase);
  }
  EXPECT_EQ(phases["X"], 2 * 2 * 4 * 2);
  EXPECT_EQ(phases["i"], 4) << "the steps take no time";
  EXPECT_EQ(last, 10 * run.makespan);
  EXPECT_EQ(threads, (std::set<std::string>{"rank 0", "rank 1"}));
  EXPECT_EQ(flows.size(), run.messages.size());
  for (const auto& [id, ends] : flows) EXPECT_EQ(ends, (std::vector<std::string>{"s", "f"}));
}

// A viewer draws an arrow only where both ends lie in slices of their threads, and puts a thread that has its process's
// number first.
TEST(Draw, TraceOfSeveralRunsKeepsThemApart) {
  const Schedule schedule = AddCommunication(ZeroBubbleH1(3, 4));
  const Simulation plan = Simulate(schedule);
  Simulation run = plan;
  run.messages.clear();  // nobody measures those
  const auto trace = nlohmann::json::parse(ToChromeTrace({{"plan", schedule, plan}, {"run", schedule, run}}, 10));
  std::map<int, std::string> processes;
  std::map<int, std::vector<std::pair<double, double>>> slices;  // by thread
  std::map<int, int> process_of;
  for (const auto& event : trace.at("traceEvents")) {
    const int pid = event.at("pid"), tid = event.at("tid");
    if (event.at("name") == "process_name") {
      processes[pid] = event.at("args").at("name");
      continue;
    }
    if (event.at("name") == "process_sort_index") continue;
    EXPECT_NE(pid, tid);
    EXPECT_EQ(process_of.emplace(tid, pid).first->second, pid) << "a thread of two processes";
    if (event.at("ph") == "X")
      slices[tid].push_back({event.at("ts"), event.at("ts").get<double>() + event.at("dur").get<double>()});
  }
  EXPECT_EQ(processes, (std::map<int, std::string>{{1, "plan: zb-h1 (3 ranks, 4 micro-batches)"},
                                                   {2, "run: zb-h1 (3 ranks, 4 micro-batches)"}}));
  EXPECT_EQ(slices.size(), 6u);
  std::map<int, int> arrows;  // by process
  for (const auto& event : trace.at("traceEvents")) {
    if (event.at("ph") != "s" && event.at("ph") != "f") continue;
    ++arrows[event.at("pid")];
    const double time = event.at("ts");
    EXPECT_TRUE(std::any_of(slices[event.at("tid")].begin(), slices[event.at("tid")].end(), [&](const auto& slice) {
      return slice.first <= time && time < slice.second;
    })) << event;
  }
  EXPECT_EQ(arrows, (std::map<int, int>{{1, 2 * 16}, {2, 2 * 16}}));
}

}  // namespace
}  // namespace shardlab
