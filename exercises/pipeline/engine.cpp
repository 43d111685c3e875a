#include "shardlab/pipeline/engine.hpp"

// TASK pipeline.gpipe: MakeEngine
//
// Run a schedule. Write a class that derives from Engine: a loop over this rank's list, and one method for each kind of
// action.
//
//     RECV_F          F                    SEND_F                  RECV_B           B                  SEND_B
//       |               \                    |                       |                \                  |
//       +--> link --> [stage] --> outbox ----+--> link               +--> link ---> [stage] --> outbox --+--> link
//
// A Link (shardlab/pipeline/link.hpp) takes a tuple of tensors from a chunk to the next one, and their gradients back:
// it finds the shapes, chooses the tags and keeps what it sends as long as it must. ConnectChunks
// (shardlab/pipeline/ports.hpp) makes those of this rank's chunks.
//
// Begin with F, B, their four messages and STEP. That is enough for naive, gpipe, 1f1b and interleaved:
//
//   F        inputs: SamplesOf the data in the first chunk, Link::Take in others; in the last chunk the targets behind
//            them, and what comes out is the micro-batch's share of the loss
//   B        gradients: Link::TakeGradients, nothing in the last chunk
//   STEP     WeightStore::Update
//
//  * Who is first and last, and which stage a chunk is, says Layout::chunk; LayersOf gives a stage's layers.
//  * The micro-batch of an action is its number for stages and links; PipelineSetup says what null stands for.
//  * Two neighbouring chunks on the same rank have no SEND and RECV (Port::in_schedule says so): fill their link right
//    behind F and B.
//  * MicroBatches fills in what it knows. `training`, `statistics` (of the setup), `first` and `update_samples` (of the
//    mini-batch; in data parallelism they keep the pipelines' dropout apart and make their losses add up) are left to
//    you. REDUCE_GRAD, which such a run has in front of STEP: AllReduce of every gradient over
//    PipelineSetup::same_weights.
//  * A loss that you keep must be a number. As a tensor it holds its graph, and with it all activations.
//  * Links keep a window of sends: SetWindow(SendWindow(schedule)).
//  * What goes wrong is thrown on as FailureAt(schedule, rank, step, Brief(error)); NotImplemented goes through as is.
//
// Later parts add: evaluation, clipping and the learning rate (train); R (recompute); Release of weight versions
// (pipedream); I and W (zero_bubble); the skips, whose ports stand behind the boundary's (skips).
//
// The contract: shardlab/pipeline/engine.hpp.

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
