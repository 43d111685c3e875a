#pragma once

#include <cstddef>

#include "shardlab/grade/body.hpp"
#include "shardlab/pipeline/engine.hpp"
#include "training_plan.hpp"

/// \file
/// What a plan is for an engine: the setup, the lists and the data.

namespace shardlab::grade {

/// \param most_versions set to the most weight versions held at once, when not null.
PipelineSetup SetupFor(const TrainingPlan& plan, int* most_versions = nullptr);

/// What the plan runs, complete: with steps, recomputation and messages.
Schedule ScheduleOf(const TrainingPlan& plan, int microbatches, int updates);

/// The mini-batch of an update, of what the referee gave this rank.
MiniBatch BatchOf(RankContext& ctx, const TrainingPlan& plan, size_t update);

}  // namespace shardlab::grade
