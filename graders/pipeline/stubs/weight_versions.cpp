#include "shardlab/pipeline/weights.hpp"

// TASK pipeline.pipedream: MakeWeightVersions
//
// The weights of a chunk, in as many versions as are in use. Write a class that derives from WeightStore.
//
//     At(0)   w0 <--- graphs of micro-batches in flight        Update     w0   <--- graphs, as before
//             ^                                                            |   copy
//         optimizer                                                       w1 <--- optimizer
//
//  * A version that is in use never changes. autograd keeps leaves by reference, and an optimizer changes them without
//    telling autograd: the backward would be wrong and say nothing.
//  * A version is a module of its own: call the StageFactory again and copy the values of the newest one.
//  * The optimizer's momentum has to come along: MoveOptimizer.
//  * The gradients of an update may lie on several versions: Gradients() adds them up.
//  * Released before the update: no copy is needed. With a flush there is never a second version.
//  * Buffers (BatchNorm's running statistics) are shared: at::Tensor::set_data.
//
// Your engine calls Release behind the last entry of its list that computes with a version.
//
// The contract: shardlab/pipeline/weights.hpp.

#include <torch/torch.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

std::unique_ptr<WeightStore> MakeWeightVersions(StageFactory make, OptimizerMaker optimizer) {
  (void)make, (void)optimizer;
  throw NotImplemented("pipeline.pipedream: MakeWeightVersions (exercises/pipeline/weight_versions.cpp)");
}

}  // namespace shardlab
