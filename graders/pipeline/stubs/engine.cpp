#include "shardlab/pipeline/engine.hpp"

// TASK pipeline.gpipe: MakeEngine
//
// The contract is the header above, the figure is in section 4 of the handout. Write a class that derives from Engine:
// a loop over this rank's list, and one method for each kind of action.
//
// Begin with F, B, their four messages and STEP: that runs naive, gpipe, 1f1b and interleaved. REDUCE_GRAD stands in
// front of STEP in the lists of data-parallel runs. Later parts add evaluation, clipping and the learning rate
// (train); R (recompute); Release of weight versions (pipedream); I and W (zero_bubble); the skips, whose ports stand
// behind the boundary's (skips).
//
// Before you write:
//
//  * Which chunks has this rank, which layers has each, and who is first and last? (Layout, LayersOf)
//  * What makes a chunk's weights, what its stage, and what stands for null? (PipelineSetup, StageModule, ShareOf)
//  * Where is a micro-batch's output between F and SEND_F? Which entry is the last to need what you keep?
//  * Two neighbouring chunks on one rank have no SEND and RECV (Port::in_schedule). When do you fill their link?
//  * MicroBatches fills in what it knows. Who fills in `training`, `statistics`, `first` and `update_samples`?
//  * What does a loss hold on to, if you keep it as a tensor?
//  * How many sends may a link have under way? (SetWindow, SendWindow)
//  * Where do you know rank, entry and cause of what goes wrong? (FailureAt(schedule, rank, step, Brief(error));
//    NotImplemented is thrown on as it is.)
//  * From what does the next Run count its versions? (WeightStore::Restart)

#include <torch/torch.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/balance.hpp"
#include "shardlab/pipeline/clip.hpp"
#include "shardlab/pipeline/micro_batches.hpp"
#include "shardlab/pipeline/ports.hpp"
#include "shardlab/pipeline/recompute.hpp"
#include "shardlab/pipeline/skips.hpp"
#include "shardlab/plan/passes.hpp"
#include "shardlab/plan/validate.hpp"

namespace shardlab {

std::unique_ptr<Engine> MakeEngine(PipelineSetup setup, std::shared_ptr<Communicator> comm) {
  (void)setup, (void)comm;
  throw NotImplemented("pipeline.gpipe: MakeEngine (exercises/pipeline/engine.cpp)");
}

}  // namespace shardlab
