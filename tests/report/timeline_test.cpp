// From announcements to spans, pictures and traces.
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "../texts.hpp"
#include "sample.hpp"
#include "shardlab/report/timeline.hpp"
#include "shardlab/report/wait_graph.hpp"

namespace shardlab {
namespace {

using grade::CaseOutcome;
using grade::Status;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(Timeline, PutsPostsWaitsAndMessagesTogether) {
  const Timeline timeline = MakeTimeline(sample::RingRun(3));
  ASSERT_EQ(timeline.spans.size(), 6u);
  ASSERT_EQ(timeline.messages.size(), 3u);
  for (const TimelineMessage& message : timeline.messages) {
    const TimelineSpan& send = timeline.spans[message.send];
    const TimelineSpan& receive = timeline.spans[message.receive];
    EXPECT_EQ(send.op, OpKind::kSend);
    EXPECT_EQ(receive.op, OpKind::kRecv);
    EXPECT_EQ(receive.rank, (send.rank + 1) % 3);
    EXPECT_FALSE(send.asynchronous) << "it was posted and waited for at once";
    EXPECT_TRUE(receive.asynchronous) << "the send lies between its post and the wait";
  }
  // Rank 0: the mark at 0, then every 100 microseconds the next record.
  const TimelineSpan& receive = timeline.spans[0];
  EXPECT_EQ(receive.rank, 0);
  EXPECT_DOUBLE_EQ(receive.posted_us, 100);
  EXPECT_DOUBLE_EQ(receive.blocked_us, 500);
  EXPECT_DOUBLE_EQ(receive.ended_us, 600);
  EXPECT_THAT(receive.what, HasSubstr("Recv from rank 2, tag 0, float64 [3], at ring.cpp:31"));
  EXPECT_TRUE(timeline.ranks[0].returned);
  EXPECT_DOUBLE_EQ(timeline.ranks[0].last_us, 700);
  EXPECT_EQ(timeline.marks.size(), 3u);
}

TEST(Timeline, WhatNeverEndsStaysOpen) {
  const Timeline timeline = MakeTimeline(sample::RingRun(3, true));
  size_t open = 0;
  for (const TimelineSpan& span : timeline.spans) {
    if (span.ended()) continue;
    ++open;
    EXPECT_EQ(span.rank, 0);
    EXPECT_EQ(span.op, OpKind::kRecv);
  }
  EXPECT_EQ(open, 1u);
  EXPECT_FALSE(timeline.ranks[0].returned);
  const std::string svg = TimelineSvg(timeline, "Timeline of x");
  EXPECT_THAT(svg, HasSubstr("Rank 0 waits in Recv from rank 2, tag 0, float64 [3], at ring.cpp:31. Rank 1 returned."));
  EXPECT_EQ(Count(svg, "tl-recv tl-stuck\""), 1u);
  EXPECT_THAT(svg, HasSubstr(">fails or never ends<"));
  EXPECT_THAT(TimelineSvg(MakeTimeline(sample::RingRun(3)), "x"), Not(HasSubstr("tl-stuck")));
}

TEST(Timeline, ALongStretchOfNothingIsCutAndSaid) {
  CaseOutcome run = sample::RingRun(2);
  for (grade::Event& event : run.events) {
    if (event.record.kind == RecordKind::kReturn) event.record.time_ns += 5'000'000'000;
  }
  const std::string svg = TimelineSvg(MakeTimeline(run), "x");
  EXPECT_THAT(svg, HasSubstr(">5 s cut<"));
  EXPECT_EQ(Count(svg, "class=\"tl-cut\""), 1u);
  EXPECT_THAT(TimelineSvg(MakeTimeline(sample::RingRun(2)), "x"), Not(HasSubstr("tl-cut")));
}

TEST(Timeline, KeepsTheEndOfALongRun) {
  Timeline timeline = MakeTimeline(sample::RingRun(8));
  const TimelineSpan last = timeline.spans.back();
  KeepLast(timeline, 5);
  ASSERT_EQ(timeline.spans.size(), 5u);
  EXPECT_EQ(timeline.left_out, 11u);
  EXPECT_EQ(timeline.spans.back().what, last.what);
  for (const TimelineMessage& message : timeline.messages) {
    ASSERT_LT(message.send, 5u);
    ASSERT_LT(message.receive, 5u);
    EXPECT_EQ(timeline.spans[message.receive].rank, timeline.spans[message.send].peer);
  }
}

TEST(Timeline, SurvivesNonsense) {
  CaseOutcome run = sample::RingRun(2);
  for (size_t i = 0; i < 40; ++i) {
    grade::Event event = run.events[i % run.events.size()];
    event.rank = static_cast<int>(i % 5) - 1;
    event.record.kind = static_cast<RecordKind>(i % 14);
    event.record.op = static_cast<OpKind>(i % 13);
    event.record.id = i * 0x123456789abcdefu;
    event.record.time_ns = i % 2 == 0 ? INT64_MIN + static_cast<int64_t>(i) : INT64_MAX;
    event.record.peer = static_cast<int>(i) - 20;
    event.record.thread = 65535;
    event.record.dims = -7;
    std::fill(std::begin(event.record.name), std::end(event.record.name) - 1, '\xfe');
    run.events.push_back(event);
  }
  const Timeline timeline = MakeTimeline(run);
  EXPECT_LT(TimelineSvg(timeline, "x").size(), 200'000u);
  EXPECT_TRUE(json::accept(ToChromeTrace({timeline}, "x")));
  EXPECT_TRUE(MakeTimeline(CaseOutcome()).spans.empty());
  EXPECT_THAT(TimelineSvg(MakeTimeline(CaseOutcome()), "x"), HasSubstr("</svg>"));
}

TEST(Trace, IsWhatPerfettoReads) {
  const json trace = json::parse(
      ToChromeTrace({MakeTimeline(sample::RingRun(3)), MakeTimeline(sample::RingRun(3))}, "demo.ring values/ranks=3"));
  std::map<std::string, int> phases;
  std::map<int, std::string> processes;
  std::map<int, json> starts, ends;  // of the arrows
  std::vector<json> slices;
  for (const json& event : trace.at("traceEvents")) {
    ASSERT_TRUE(event.at("pid").is_number_integer() && event.at("tid").is_number_integer()) << event;
    EXPECT_GT(event.at("pid"), 0) << "process 0 is the idle one";
    const std::string phase = event.at("ph");
    ++phases[phase];
    if (phase == "M" && event.at("name") == "process_name") processes[event.at("pid")] = event.at("args").at("name");
    if (phase == "s") starts[event.at("id")] = event;
    if (phase == "f") ends[event.at("id")] = event;
    if (phase == "X") slices.push_back(event);
    EXPECT_TRUE(phase == "M" || event.at("ts").is_number()) << event;
  }
  EXPECT_EQ(processes.size(), 3u) << "both runs on the same three";
  EXPECT_EQ(processes[2], "rank 1 of demo.ring values/ranks=3");
  EXPECT_EQ(phases["b"], 6) << "a receive a rank and run is under way in the background";
  EXPECT_EQ(phases["e"], phases["b"]);
  EXPECT_EQ(phases["i"], 6) << "a mark a rank and run";
  ASSERT_EQ(starts.size(), 6u);
  ASSERT_EQ(ends.size(), 6u);
  const auto inside = [&](const json& end, const std::string& name) {
    return std::any_of(slices.begin(), slices.end(), [&](const json& slice) {
      const double begin = slice["ts"], length = slice["dur"], at = end["ts"];
      return slice["pid"] == end["pid"] && slice["tid"] == end["tid"] && begin <= at && at < begin + length &&
             slice["name"].get<std::string>().rfind(name, 0) == 0;
    });
  };
  for (const auto& [id, start] : starts) {
    EXPECT_LE(start["ts"].get<double>(), ends[id]["ts"].get<double>());
    EXPECT_TRUE(inside(start, "Send to")) << start;
    EXPECT_TRUE(inside(ends[id], "Recv from")) << ends[id];
  }
}

TEST(WaitGraph, DrawsTheCycleAndWhoIsGone) {
  std::vector<grade::Waiting> waits(3);
  waits[0] = {0, {1}, "Recv from rank 1", "a.cpp:1", true};
  waits[1] = {1, {0}, "Recv from rank 0", "a.cpp:1", true};
  waits[2] = {3, {1, 7}, "AllReduce", "a.cpp:2", false};
  const std::string svg = WaitGraphSvg(waits);
  EXPECT_EQ(Count(svg, "<path class=\"wg-edge wg-cycle\""), 2u);
  EXPECT_EQ(Count(svg, "<path class=\"wg-edge\""), 2u);
  EXPECT_EQ(Count(svg, "wg-gone"), 1u) << "rank 7";
  EXPECT_EQ(Count(svg, "<text"), 4u);
  EXPECT_THAT(svg,
              HasSubstr("Rank 0 waits for rank 1, in the cycle. Rank 1 waits for rank 0, in the cycle. Rank 3 waits "
                        "for rank 1 and 7."));
}

TEST(WaitGraph, ManyRanksAndNonsense) {
  std::vector<grade::Waiting> waits;
  for (int rank = 0; rank < 128; ++rank) waits.push_back({rank, {(rank + 1) % 128}, "Recv", "", rank > 100});
  const std::string svg = WaitGraphSvg(waits);
  EXPECT_EQ(Count(svg, "<circle"), 16u);
  EXPECT_THAT(svg, HasSubstr("and 112 more ranks"));
  EXPECT_THAT(svg, AllOf(HasSubstr(">rank 101<"), Not(HasSubstr(">rank 2<")))) << "the cycle comes first";
  EXPECT_EQ(WaitGraphSvg({}), "");
  EXPECT_EQ(WaitGraphSvg({{-4, {-1}, "", "", true}}), "");
  EXPECT_THAT(WaitGraphSvg({{0, {0}, "", "", true}}), HasSubstr("wg-self"));
}

}  // namespace
}  // namespace shardlab
