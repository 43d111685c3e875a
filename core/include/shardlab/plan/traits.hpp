#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "shardlab/plan/layout.hpp"

/// \file
/// What distinguishes the schedules that have a name. Whoever must treat some of them in another way asks for the trait,
/// never for the name.

namespace shardlab {

/// When a stage's optimizer steps.
enum class Updates {
  kAfterAFlush,     ///< at the end of the lists, when the pipeline is empty: synchronous
  kEachMicroBatch,  ///< behind each micro-batch's backward
  kEachBatch,       ///< behind a batch's last backward, while the next batch is on its way already
};

/// One schedule by name.
struct ScheduleTraits {
  std::string name;                                  ///< "1f1b", as `lab schedule` calls it
  Layout (*layout)(int ranks, int chunks);           ///< where its chunks are, for so many a rank
  int chunks_per_rank;                               ///< 0: as many as asked for
  bool splits_backward;                              ///< its backward comes in two halves, I and W
  bool whole_rounds;                                 ///< the micro-batches of an update are a multiple of the ranks
  Updates updates;                                   ///< when the optimizer steps
  int (*version)(int ranks, int stage, int update);  ///< the weights that stage computes update on; 0: the initial ones

  /// Whether a user says how many chunks a rank has.
  bool TakesChunks() const { return chunks_per_rank == 0; }
  /// Whether updates do not wait for a flush: several weight versions are in use, and a run of many updates is one list.
  bool IsAsynchronous() const { return updates != Updates::kAfterAFlush; }
  /// How many chunks a rank has, where `asked` were asked for.
  int ChunksPerRank(int asked) const { return TakesChunks() ? asked : chunks_per_rank; }
  /// Where its chunks are. \throws ScheduleError as Layout does.
  Layout MakeLayout(int ranks, int asked_chunks) const { return layout(ranks, ChunksPerRank(asked_chunks)); }
};

/// All of them: naive, gpipe, 1f1b, interleaved, interleaved-any, looped-bfs, zb-h1, zb-h2, interleaved-zb, zb-v,
/// dualpipe-v, pipedream, pipedream-vsync, 2bw, wpipe.
const std::vector<ScheduleTraits>& AllScheduleTraits();

/// The traits of the schedule called `name`.
/// \throws UsageError that names the nearest when there is none.
const ScheduleTraits& TraitsOf(std::string_view name);

/// The names of all, in the order of the table.
std::vector<std::string> ScheduleNames();

/// "only 2bw and wpipe take --updates": for who gave `option` to a schedule that has no use for it.
/// \param takes which schedules have; it is true of at least one.
std::string OnlyTheseTake(const std::string& option, bool (*takes)(const ScheduleTraits&));

}  // namespace shardlab
