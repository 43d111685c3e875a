#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "schedule_checks.hpp"
#include "shardlab/plan/text.hpp"
#include "shardlab/plan/validate.hpp"

// The lists of all schedules: valid, as quick and as small as their formulas promise.

namespace shardlab::grade {
namespace {

std::vector<AskedSchedule> Linear(const std::string& name, const std::vector<int>& microbatches, bool flush = false) {
  std::vector<AskedSchedule> asked;
  for (const int P : {1, 2, 3, 5}) {
    for (const int m : microbatches) asked.push_back({name, P, m, 1, 1, flush});
  }
  return asked;
}

std::vector<AskedSchedule> InterleavedSizes() {
  return {{"interleaved", 1, 1, 1}, {"interleaved", 1, 3, 2}, {"interleaved", 2, 2, 2}, {"interleaved", 2, 6, 3},
          {"interleaved", 3, 3, 2}, {"interleaved", 3, 9, 4}, {"interleaved", 4, 8, 2}, {"interleaved", 5, 10, 3}};
}

}  // namespace

// ------------------------------------------------------------------------------------------------ lists

SHARDLAB_PLAIN_CASE(lists, naive, kValue) { ExpectMakespans(t, Linear("naive", {1, 2, 4, 7}), OfNaive); }
SHARDLAB_PLAIN_CASE(lists, gpipe, kValue) { ExpectMakespans(t, Linear("gpipe", {1, 2, 4, 7}), OfGPipe); }
SHARDLAB_PLAIN_CASE(lists, with_an_update, kValue) { ExpectMakespans(t, Linear("gpipe", {1, 2, 4, 7}, true), OfGPipe); }
SHARDLAB_PLAIN_CASE(lists, an_update_of_every_chunk, kValue) {
  const PlainRun run = t.Ask("flush");
  std::string fault;
  try {
    const Schedule schedule = ParseSchedule(run.Text("schedule"));
    Validate(schedule);
    for (const int rank : {0, 1}) {
      const std::vector<Action> expected = {Action::Step(rank, 1), Action::Step(rank + 2, 1)};
      const auto& list = schedule.ranks[static_cast<size_t>(rank)];
      if (list.size() != 6 || !std::equal(expected.begin(), expected.end(), list.end() - 2)) {
        fault = fmt::format("rank {} must end with {} {}:\n{}", rank, ToString(expected[0]), ToString(expected[1]),
                            run.Text("schedule"));
        break;
      }
    }
  } catch (const ScheduleError& error) {
    fault = fmt::format("{}\n{}", error.what(), error.table());
  }
  t.Expect(fault.empty(), fmt::format("Flush of lists with two chunks a rank: {}", fault));
  t.Expect(run.Text("again") == "refused", "Flush of a schedule that has steps already must throw ScheduleError");
}

SHARDLAB_PLAIN_CASE(lists, backwards_begin_with_the_last_micro_batch, kRobustness) {
  const std::vector<AskedSchedule> asked = {{"gpipe", 1, 3}, {"gpipe", 3, 4}};
  const std::vector<std::string> texts = AskSchedules(t, asked);
  for (size_t i = 0; i < asked.size(); ++i) {
    const Schedule schedule = ExpectValid(t, asked[i], texts[i]);
    for (const auto& list : schedule.ranks) {
      for (size_t k = 0; k < list.size(); ++k) {
        const int m = asked[i].microbatches;
        const int number = static_cast<int>(k);
        const Action expected =
            number < m ? Action::Forward(list[k].chunk, number) : Action::Backward(list[k].chunk, 2 * m - 1 - number);
        t.Expect(list[k] == expected, fmt::format("{}: entry {} of a list is {}, and must be {}: all forwards, then "
                                                  "the backwards, the last micro-batch's first",
                                                  Describe(asked[i]), k, ToString(list[k]), ToString(expected)));
      }
    }
  }
}

SHARDLAB_PLAIN_CASE(lists, what_they_keep, kCost) {
  ExpectFootprints(t, Linear("gpipe", {1, 2, 4, 7}), OfGPipe);
  ExpectFootprints(t, Linear("naive", {1, 2, 4, 7}), OfNaive);
}

// ------------------------------------------------------------------------------------------------ 1f1b

SHARDLAB_PLAIN_CASE(1f1b, lists, kValue) { ExpectMakespans(t, Linear("1f1b", {1, 2, 4, 9}), OfOneFOneB); }

SHARDLAB_PLAIN_CASE(1f1b, what_the_lists_keep, kCost) {
  ExpectFootprints(t, Linear("1f1b", {1, 2, 4, 9}), OfOneFOneB);
  ExpectFootprints(t, {{"1f1b", 4, 8}, {"1f1b", 4, 1000}}, OfOneFOneB);
}

// ------------------------------------------------------------------------------------------------ interleaved

SHARDLAB_PLAIN_CASE(interleaved, lists, kValue) { ExpectMakespans(t, InterleavedSizes(), OfInterleaved); }

SHARDLAB_PLAIN_CASE(interleaved, what_the_lists_keep, kCost) { ExpectFootprints(t, InterleavedSizes(), OfInterleaved); }

SHARDLAB_PLAIN_CASE(interleaved, numbers_that_do_not_fit, kRobustness) {
  ExpectRefused(
      t, {{"interleaved", 2, 3, 2}, {"interleaved", 4, 6, 2}, {"interleaved", 3, 1, 2}, {"interleaved", 2, 2, 1}});
}

// ------------------------------------------------------------------------------------------------ zero_bubble

SHARDLAB_PLAIN_CASE(zero_bubble, lists_of_h1, kValue) {
  std::vector<AskedSchedule> asked;
  for (const int P : {1, 2, 3, 5}) {
    for (const int m : {P, P + 1, 2 * P + 3}) asked.push_back({"zb-h1", P, m});
  }
  ExpectMakespans(t, asked, OfH1);
}

SHARDLAB_PLAIN_CASE(zero_bubble, lists_of_h2, kValue) {
  std::vector<AskedSchedule> asked;
  for (const int P : {1, 2, 3, 5}) {
    for (const int m : {2 * P - 1, 2 * P, 3 * P + 2}) asked.push_back({"zb-h2", P, m});
  }
  ExpectMakespans(t, asked, OfH2);
}

SHARDLAB_PLAIN_CASE(zero_bubble, lists_of_few_micro_batches, kRobustness) {
  const std::vector<AskedSchedule> asked = {{"zb-h1", 1, 1}, {"zb-h1", 3, 1}, {"zb-h1", 3, 2}, {"zb-h1", 5, 4},
                                            {"zb-h2", 1, 1}, {"zb-h2", 3, 1}, {"zb-h2", 3, 2}, {"zb-h2", 5, 8}};
  const std::vector<std::string> texts = AskSchedules(t, asked);
  for (size_t i = 0; i < asked.size(); ++i) ExpectValid(t, asked[i], texts[i]);
  t.Expect(true, "");
}

SHARDLAB_PLAIN_CASE(zero_bubble, what_the_lists_keep, kCost) {
  ExpectFootprints(t, {{"zb-h1", 2, 4}, {"zb-h1", 3, 3}, {"zb-h1", 4, 9}}, OfH1);
  ExpectFootprints(t, {{"zb-h2", 2, 4}, {"zb-h2", 3, 5}, {"zb-h2", 4, 9}}, OfH2);
}

// ------------------------------------------------------------------------------------------------ pipedream

SHARDLAB_PLAIN_CASE(pipedream, lists, kValue) {
  std::vector<AskedSchedule> asked;
  for (const int P : {1, 2, 3, 5}) asked.push_back({"pipedream", P, 1, 1, 11});
  for (const int P : {1, 2, 3, 5}) asked.push_back({"pipedream-vsync", P, 1, 1, 11});
  ExpectMakespans(t, asked, OfPipeDream);
}

SHARDLAB_PLAIN_CASE(pipedream, versions_and_steps, kValue) {
  for (const char* name : {"pipedream", "pipedream-vsync"}) {
    ExpectVersions(t, {{name, 1, 1, 1, 3}, {name, 2, 1, 1, 1}, {name, 3, 1, 1, 2}, {name, 3, 1, 1, 9}});
  }
}

SHARDLAB_PLAIN_CASE(pipedream, lists_with_steps_already, kRobustness) {
  ExpectPolicyRefuses(t, "StashWeights", {"there are steps in the lists already"});
  ExpectPolicyRefuses(t, "StashWeightsVerticalSync", {"there are steps in the lists already"});
}

// ------------------------------------------------------------------------------------------------ 2bw

SHARDLAB_PLAIN_CASE(2bw, lists, kValue) {
  ExpectMakespans(
      t, {{"2bw", 1, 1, 1, 4}, {"2bw", 2, 2, 1, 4}, {"2bw", 2, 5, 1, 3}, {"2bw", 3, 3, 1, 4}, {"2bw", 4, 7, 1, 3}},
      OfTwoBuffered);
}

SHARDLAB_PLAIN_CASE(2bw, versions_and_steps, kValue) {
  ExpectVersions(t, {{"2bw", 1, 1, 1, 3}, {"2bw", 2, 2, 1, 4}, {"2bw", 3, 4, 1, 1}, {"2bw", 3, 5, 1, 3}});
}

SHARDLAB_PLAIN_CASE(2bw, numbers_that_do_not_fit, kRobustness) {
  ExpectPolicyRefuses(t, "DoubleBufferWeights",
                      {"there are steps in the lists already", "1 micro-batch an update, and 2 stages",
                       "5 micro-batches, which are not whole updates of 2"});
  ExpectRefused(t, {{"2bw", 4, 3, 1, 4}, {"2bw", 2, 1, 1, 4}});
}

// ------------------------------------------------------------------------------------------------ wpipe

SHARDLAB_PLAIN_CASE(wpipe, lists, kValue) {
  ExpectMakespans(t,
                  {{"wpipe", 1, 1, 2, 4},
                   {"wpipe", 2, 2, 2, 4},
                   {"wpipe", 3, 3, 2, 3},
                   {"wpipe", 4, 4, 2, 4},
                   {"wpipe", 2, 4, 2, 3}},
                  OfWPipe);
}

SHARDLAB_PLAIN_CASE(wpipe, versions_and_steps, kValue) {
  ExpectVersions(t, {{"wpipe", 1, 1, 2, 3}, {"wpipe", 2, 2, 2, 4}, {"wpipe", 3, 3, 2, 1}, {"wpipe", 2, 4, 2, 3}});
}

SHARDLAB_PLAIN_CASE(wpipe, numbers_that_do_not_fit, kRobustness) {
  ExpectPolicyRefuses(t, "GroupWeights",
                      {"there are steps in the lists already", "the layout is linear", "a rank has 3 chunks",
                       "3 micro-batches an update, which are no multiple of 2 ranks",
                       "5 micro-batches, which are not whole updates of 2"});
  ExpectRefused(t, {{"wpipe", 4, 3, 2, 4}, {"wpipe", 2, 3, 2, 2}});
}

}  // namespace shardlab::grade
