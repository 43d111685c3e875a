#include "shardlab/plan/traits.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/suggest.hpp"

namespace shardlab {

namespace {

Layout OneChunk(int ranks, int /*chunks*/) { return Layout::Linear(ranks); }

// Weight versions, of P ranks, stage s and update t.
int Newest(int, int, int t) { return t; }
int OneBehind(int, int, int t) { return std::max(t - 1, 0); }
int AsFarBehindAsTheLastStage(int P, int, int t) { return std::max(t - (P - 1), 0); }
int BehindByTheStagesThatFollow(int P, int s, int t) { return std::max(t - (P - 1 - s), 0); }
int FirstHalfOneBehind(int P, int s, int t) { return s < P ? OneBehind(P, s, t) : t; }

}  // namespace

const std::vector<ScheduleTraits>& AllScheduleTraits() {
  constexpr auto kFlush = Updates::kAfterAFlush;
  constexpr auto kEach = Updates::kEachMicroBatch;
  constexpr auto kBatch = Updates::kEachBatch;
  // clang-format off
  static const std::vector<ScheduleTraits> table = {
      // name              layout          chunks  halves  rounds  updates  version
      {"naive",            OneChunk,            1, false,  false,  kFlush,  Newest},
      {"gpipe",            OneChunk,            1, false,  false,  kFlush,  Newest},
      {"1f1b",             OneChunk,            1, false,  false,  kFlush,  Newest},
      {"interleaved",      &Layout::Looped,     0, false,  true,   kFlush,  Newest},
      {"interleaved-any",  &Layout::Looped,     0, false,  false,  kFlush,  Newest},
      {"looped-bfs",       &Layout::Looped,     0, false,  false,  kFlush,  Newest},
      {"zb-h1",            OneChunk,            1, true,   false,  kFlush,  Newest},
      {"zb-h2",            OneChunk,            1, true,   false,  kFlush,  Newest},
      {"interleaved-zb",   &Layout::Looped,     0, true,   false,  kFlush,  Newest},
      {"zb-v",             &Layout::Vee,        2, true,   false,  kFlush,  Newest},
      {"dualpipe-v",       &Layout::Vee,        2, true,   false,  kFlush,  Newest},
      {"pipedream",        OneChunk,            1, false,  false,  kEach,   BehindByTheStagesThatFollow},
      {"pipedream-vsync",  OneChunk,            1, false,  false,  kEach,   AsFarBehindAsTheLastStage},
      {"2bw",              OneChunk,            1, false,  false,  kBatch,  OneBehind},
      {"wpipe",            &Layout::Looped,     2, false,  true,   kBatch,  FirstHalfOneBehind},
  };
  // clang-format on
  return table;
}

const ScheduleTraits& TraitsOf(std::string_view name) {
  const auto& all = AllScheduleTraits();
  const auto found = std::find_if(all.begin(), all.end(), [&](const ScheduleTraits& one) { return one.name == name; });
  if (found == all.end()) throw UsageError(UnknownName("schedule", std::string(name), ScheduleNames()));
  return *found;
}

std::vector<std::string> ScheduleNames() {
  std::vector<std::string> names;
  for (const ScheduleTraits& one : AllScheduleTraits()) names.push_back(one.name);
  return names;
}

std::string OnlyTheseTake(const std::string& option, bool (*takes)(const ScheduleTraits&)) {
  std::vector<std::string> names;
  for (const ScheduleTraits& one : AllScheduleTraits()) {
    if (takes(one)) names.push_back(one.name);
  }
  const std::string last = names.back();
  names.pop_back();
  const std::string list = names.empty() ? last : fmt::format("{} and {}", fmt::join(names, ", "), last);
  return fmt::format("only {} {} {}", list, names.empty() ? "takes" : "take", option);
}

}  // namespace shardlab
