#include "catalogue.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/suggest.hpp"
#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/policies.hpp"

namespace shardlab {

namespace {

constexpr int kDefaultChunks = 2;
constexpr int kDefaultUpdates = 3;

// The micro-batches of a run of several updates.
int Total(const ScheduleRequest& request) {
  const int updates = request.updates.value_or(kDefaultUpdates);
  if (updates < 1) throw UsageError(fmt::format("{}: a run has at least 1 update, not {}", request.name, updates));
  if (request.microbatches > std::numeric_limits<int>::max() / updates) {
    throw UsageError(
        fmt::format("{}: {} updates of {} micro-batches are too many", request.name, updates, request.microbatches));
  }
  return request.microbatches * updates;
}

struct Entry {
  std::string name;
  bool has_chunks;
  bool has_updates;
  Schedule (*make)(const ScheduleRequest&);
};

const std::vector<Entry>& Catalogue() {
  using Request = ScheduleRequest;
  static const std::vector<Entry> entries = {
      {"naive", false, false, [](const Request& r) { return Flush(Naive(r.stages, r.microbatches)); }},
      {"gpipe", false, false, [](const Request& r) { return Flush(GPipe(r.stages, r.microbatches)); }},
      {"1f1b", false, false, [](const Request& r) { return Flush(OneFOneB(r.stages, r.microbatches)); }},
      {"interleaved", true, false,
       [](const Request& r) {
         return Flush(InterleavedOneFOneB(r.stages, r.chunks.value_or(kDefaultChunks), r.microbatches));
       }},
      {"zb-h1", false, false, [](const Request& r) { return Flush(ZeroBubbleH1(r.stages, r.microbatches)); }},
      {"zb-h2", false, false, [](const Request& r) { return Flush(ZeroBubbleH2(r.stages, r.microbatches)); }},
      {"pipedream", false, false, [](const Request& r) { return StashWeights(OneFOneB(r.stages, r.microbatches)); }},
      {"pipedream-vsync", false, false,
       [](const Request& r) { return StashWeightsVerticalSync(OneFOneB(r.stages, r.microbatches)); }},
      {"2bw", false, true,
       [](const Request& r) { return DoubleBufferWeights(OneFOneB(r.stages, Total(r)), r.microbatches); }},
      {"wpipe", false, true,
       [](const Request& r) {
         // Said of an update, not of the run, whose micro-batches the generator is asked for.
         if (r.microbatches % r.stages != 0) {
           throw UsageError(fmt::format(
               "wpipe: {} micro-batches an update on {} ranks: they must be a multiple of the ranks, such as {}",
               r.microbatches, r.stages, (int64_t{r.microbatches} / r.stages + 1) * r.stages));
         }
         return GroupWeights(WPipe(r.stages, Total(r)), r.microbatches);
       }},
  };
  return entries;
}

}  // namespace

std::vector<std::string> ScheduleNames() {
  std::vector<std::string> names;
  for (const Entry& entry : Catalogue()) names.push_back(entry.name);
  return names;
}

Schedule MakeSchedule(const ScheduleRequest& request) {
  const auto& entries = Catalogue();
  const auto entry =
      std::find_if(entries.begin(), entries.end(), [&](const Entry& e) { return e.name == request.name; });
  if (entry == entries.end()) throw UsageError(UnknownName("schedule", request.name, ScheduleNames()));
  if (request.chunks && !entry->has_chunks) {
    throw UsageError(
        fmt::format("{} decides by itself how many chunks a rank has: only interleaved takes --chunks", request.name));
  }
  if (request.updates && !entry->has_updates) {
    throw UsageError(
        fmt::format("{} does not run on from update to update: only 2bw and wpipe take --updates", request.name));
  }
  if (request.stages < 1) throw UsageError(fmt::format("a pipeline needs at least 1 stage, not {}", request.stages));
  if (request.microbatches < 1) {
    throw UsageError(fmt::format("a mini-batch is cut into at least 1 micro-batch, not {}", request.microbatches));
  }
  return entry->make(request);
}

}  // namespace shardlab
