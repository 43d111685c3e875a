#pragma once

#include "cut.hpp"
#include "shardlab/comm/device_mesh.hpp"
#include "task.hpp"

/// \file
/// The trainer: the same for every mesh. How an update is made is a Runner's affair.
///
///     mesh data=2,pipe=3,tensor=1     stage 0        stage 1        stage 2
///
///         replica 0                   rank 0 ------> rank 1 ------> rank 2       its part of the batch
///         replica 1                   rank 3 ------> rank 4 ------> rank 5       the other part
///
/// Along tensor there are several of this picture, one behind the other: between layers tensors are whole, so a rank
/// talks to the rank of the next stage that is at its own place.

namespace shardlab::train {

/// How training on a mesh went, and of what.
struct Trained {
  Figures figures;  ///< the same on every rank
  Cut cut;
};

/// Trains as the task says, from its checkpoint on where it has one, and saves where that was asked for. Called on all
/// ranks; rank 0 prints how a pipeline was cut, and plan and run of a step.
Trained TrainOnMesh(const Task& task, DeviceMesh& mesh);

/// Trains all steps in this process, on the same parts of every batch as the mesh.
/// \param cut where the stages are; matters to asynchronous schedules, whose stages compute on older weights.
Figures TrainInOneProcess(const Task& task, const Cut& cut);

}  // namespace shardlab::train
