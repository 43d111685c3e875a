#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/base/where.hpp"
#include "shardlab/comm/communicator.hpp"
#include "shardlab/comm/record.hpp"

namespace shardlab {

/// One call on a communicator, as a value: what backends execute and decorators look at.
struct Operation {
  /// Which operation.
  OpKind kind = OpKind::kBarrier;
  /// The other rank of a point-to-point message, the root of a broadcast; a rank of the communicator's group.
  int peer = -1;
  /// Of a point-to-point message.
  int tag = 0;
  /// Of an all-reduce.
  ReduceOp reduce = ReduceOp::kSum;
  /// What is sent, one tensor or one a rank.
  std::vector<at::Tensor> inputs;
  /// What is written; AllReduce, Broadcast and a receive write their one tensor.
  std::vector<at::Tensor> outputs;
  /// The line that called.
  Where where;
};

/// "Recv from rank 3, tag 2, float32 [2, 3]": for error messages.
std::string Describe(const Operation& operation);
/// "float32 [2, 3]".
std::string Describe(const at::Tensor& tensor);
/// What a message with this tensor carries.
inline int64_t BytesOf(const at::Tensor& tensor) {
  return tensor.numel() * static_cast<int64_t>(tensor.element_size());
}

/// Does what a collective does, given the operations of all ranks of the group in their order: for groups of one rank,
/// and for ranks that share an address space. Sums in the order of ranks.
void ExecuteCollective(const std::vector<const Operation*>& operations);

/// Work that is complete from the start.
std::unique_ptr<Work> CompletedWork();

}  // namespace shardlab
