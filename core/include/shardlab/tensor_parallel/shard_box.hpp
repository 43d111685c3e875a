#pragma once

#include <ATen/core/Tensor.h>

#include "shardlab/plan/box.hpp"

namespace shardlab {

/// The box of which rank `rank` of `ranks` holds the elements, seen from what it has: the whole tensor, or, where one
/// dimension is shorter, the slice SplitRange of it (see sharded_layer.hpp).
/// \param full the sizes of the full tensor.
/// \param part the sizes of what the rank has.
/// \throws ContractError when these are the sizes of neither.
Box ShardBox(at::IntArrayRef full, at::IntArrayRef part, int ranks, int rank);

/// The elements of a box, as a view of the tensor that holds the elements of `outer`.
/// \throws ContractError unless `outer` contains `box`.
at::Tensor ViewOfBox(const at::Tensor& tensor, const Box& box, const Box& outer);

}  // namespace shardlab
