// How long a build still takes, from logs that are made up.
#include <sstream>

#include <gtest/gtest.h>

#include "build_time.hpp"

namespace {

using namespace shardlab::cli;

const char* const kLog =
    "# ninja log v5\n"
    "0\t40000\t1795540789276647076\ta.dir/cmake_pch.hxx.gch\t90d5e4732171f\n"
    "40000\t48000\t1795540789276647077\ta.dir/one.cpp.o\t2f90192b1240b9e7\n"
    "40000\t41000\t1795540789276647077\ta.dir/two.cpp.o\t2f90192b1240b9e7\n"
    "50000\t51000\t1795540789276647078\tbin/a program\t8d47fdea87b96154\n"
    "0\t2000\t1795540789276647079\ta.dir/two.cpp.o\t2f90192b1240b9e7\n"
    "12\t3";  // cut off when ninja was killed

std::map<std::string, double> Seconds() {
  std::istringstream log(kLog);
  return ReadStepSeconds(log);
}

const std::string kHeader = "Building CXX object a.dir/cmake_pch.hxx.gch", kOne = "Building CXX object a.dir/one.cpp.o",
                  kTwo = "Building CXX object a.dir/two.cpp.o";

TEST(BuildTime, TheLogSaysWhatAStepTookLast) {
  const auto seconds = Seconds();
  EXPECT_EQ(seconds.size(), 4u);
  EXPECT_EQ(seconds.at("a.dir/cmake_pch.hxx.gch"), 40);
  EXPECT_EQ(seconds.at("a.dir/two.cpp.o"), 2);
  EXPECT_EQ(seconds.at("bin/a program"), 1);
}

TEST(BuildTime, StepsWeighWhatTheyTook) {
  BuildClock clock(Seconds(), {kHeader, kOne, kTwo}, 1);
  EXPECT_EQ(clock.Share(), 0);
  EXPECT_EQ(clock.SecondsLeft(0), 50);
  clock.Done(kHeader);
  EXPECT_DOUBLE_EQ(clock.Share(), 0.8) << "one of three, but it is the long one";
  EXPECT_DOUBLE_EQ(clock.SecondsLeft(40), 10);
  clock.Done(kOne);
  clock.Done(kTwo);
  EXPECT_DOUBLE_EQ(clock.Share(), 1);
  EXPECT_EQ(clock.SecondsLeft(50), 0);
}

TEST(BuildTime, AMachineThatIsSlowerIsNoticed) {
  BuildClock clock(Seconds(), {kHeader, kOne, kTwo}, 1);
  clock.Done(kHeader);
  EXPECT_NEAR(clock.SecondsLeft(120), 10 * 3, 5) << "three times as slow as last time";
  BuildClock on_two(Seconds(), {kHeader, kOne, kTwo}, 2);
  EXPECT_EQ(on_two.SecondsLeft(0), 25);
}

TEST(BuildTime, WhatOtherJobsHaveHalfDoneCounts) {
  const std::string a = "Building CXX object a.o", b = "Building CXX object b.o", c = "Building CXX object c.o",
                    d = "Building CXX object d.o";
  const std::map<std::string, double> seconds = {{"a.o", 20}, {"b.o", 20}, {"c.o", 20}, {"d.o", 20}};
  BuildClock clock(seconds, {a, b, c, d}, 2);
  EXPECT_EQ(clock.SecondsLeft(0), 40);
  clock.Done(a);  // and b is all but done
  EXPECT_NEAR(clock.SecondsLeft(20), 30, 8);
}

TEST(BuildTime, StepsThatWereNeverDoneWeighWhatTheirKindTakes) {
  const std::string header = "Building CXX object b.dir/cmake_pch.hxx.gch", file = "Building CXX object b.dir/b.cpp.o",
                    unity = "Building CXX object b.dir/Unity/unity_0_cxx.cxx.o",
                    link = "Linking CXX shared library lib/libb.so";
  const auto seconds_of = [](const std::string& step) { return BuildClock({}, {step}, 1).SecondsLeft(0); };
  EXPECT_GT(seconds_of(header), 2 * seconds_of(file));
  EXPECT_GT(seconds_of(unity), 2 * seconds_of(file));
  EXPECT_GT(seconds_of(file), 2 * seconds_of(link));
  EXPECT_GT(seconds_of(link), 2 * seconds_of("Generating something"));
}

TEST(BuildTime, WhatWasNotForeseenDoesNoHarm) {
  BuildClock clock({}, {}, 2);
  EXPECT_EQ(clock.Share(), 0);
  EXPECT_EQ(clock.SecondsLeft(3), 0);
  clock.Done(kOne);
  EXPECT_EQ(clock.Share(), 1);
}

TEST(BuildTime, IsToldInRoundNumbers) {
  EXPECT_EQ(TimeLeftText(4), "");
  EXPECT_EQ(TimeLeftText(13), "about 15 s left");
  EXPECT_EQ(TimeLeftText(57), "about 1 min left");
  EXPECT_EQ(TimeLeftText(400), "about 7 min left");
}

}  // namespace
