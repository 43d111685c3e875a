#include <string>
#include <vector>

#include "schedule_checks.hpp"

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
  return {{"interleaved", 2, 2, 2}, {"interleaved", 2, 6, 3}, {"interleaved", 3, 3, 2},
          {"interleaved", 3, 9, 4}, {"interleaved", 4, 8, 2}, {"interleaved", 5, 10, 3}};
}

}  // namespace

// ------------------------------------------------------------------------------------------------ gpipe

SHARDLAB_PLAIN_CASE(gpipe, lists_of_naive, kValue) { ExpectMakespans(t, Linear("naive", {1, 2, 4, 7}), OfNaive); }
SHARDLAB_PLAIN_CASE(gpipe, lists_of_gpipe, kValue) { ExpectMakespans(t, Linear("gpipe", {1, 2, 4, 7}), OfGPipe); }
SHARDLAB_PLAIN_CASE(gpipe, lists_with_an_update, kValue) {
  ExpectMakespans(t, Linear("gpipe", {1, 2, 4, 7}, true), OfGPipe);
}
SHARDLAB_PLAIN_CASE(gpipe, what_the_lists_keep, kCost) {
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
  ExpectRefused(t, {{"interleaved", 2, 3, 2}, {"interleaved", 4, 6, 2}, {"interleaved", 3, 1, 2}});
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

// ------------------------------------------------------------------------------------------------ 2bw

SHARDLAB_PLAIN_CASE(2bw, lists, kValue) {
  ExpectMakespans(
      t, {{"2bw", 1, 1, 1, 4}, {"2bw", 2, 2, 1, 4}, {"2bw", 2, 5, 1, 3}, {"2bw", 3, 3, 1, 4}, {"2bw", 4, 7, 1, 3}},
      OfTwoBuffered);
}

SHARDLAB_PLAIN_CASE(2bw, numbers_that_do_not_fit, kRobustness) {
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

SHARDLAB_PLAIN_CASE(wpipe, numbers_that_do_not_fit, kRobustness) {
  ExpectRefused(t, {{"wpipe", 4, 3, 2, 4}, {"wpipe", 2, 3, 2, 2}});
}

}  // namespace shardlab::grade
