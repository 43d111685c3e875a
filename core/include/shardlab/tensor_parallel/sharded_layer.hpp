#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

/// \file
/// What the layers of tensor parallelism have in common.
///
/// T ranks hold one layer together. A tensor is *replicated* when every rank holds the same one, with the same bits;
/// *sharded* along a dimension of size n when rank t holds the slice SplitRange(n, T, t) of it, which may be empty; and
/// *partial* when the value is the sum over all ranks of what they hold.
///
/// Letters for sizes: B rows (samples), I input features, O output features, H hidden features, D normalised features,
/// C channels. A small letter is this rank's part of that size: x_BI is replicated, x_Bi is a shard, and the sizes of
/// x_Bi over all ranks sum to I. In front of B there may be nothing else, but where a text says "a row", any number of
/// leading dimensions is allowed: x [..., I].
///
/// The rules, the same for every layer:
///  - It is made from the FULL weights, the same on every rank, and keeps a copy of its shard: nobody has to agree on
///    seeds, and the T ranks together are exactly the layer of one process. Of a weight that is cut it keeps nothing
///    else. What was given is left as it is. It may want a gradient, as a Linear's weight does: the shard is a leaf of
///    its own.
///  - Every rank makes it, calls forward, and calls backward in the same order; forward and backward make the same
///    calls on the communicator on every rank, also on one whose shard is empty.
///  - A layer may run several times before the first backward, and the backwards come in any order, the same on every
///    rank. Each result is a tensor of its own. Of a forward a layer keeps what its backward needs, until the graph is
///    gone.
///  - Layers know nothing of each other: several live at once, on one communicator or on several.
///  - An input needs a gradient on every rank or on none. When it needs none, no communication is made for it.
///  - The gradient of a shard is the slice of the gradient that one process gets. Replicated parameters get the same
///    gradient on every rank, bit for bit.
///  - Weights and inputs are floating point, all of one dtype, and so is what comes out; inputs may be non-contiguous.

namespace shardlab {

/// A layer, of which this rank holds a part: a module of LibTorch with parameters that an optimizer can be given, and
/// with forward.
class ShardedLayer : public torch::nn::Module {
 public:
  ~ShardedLayer() override;

  /// What goes in and what comes out is said where the layer is made.
  virtual at::Tensor forward(const at::Tensor& x) = 0;
};

}  // namespace shardlab
