#include "shardlab/tensor_parallel/shard_box.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"

namespace shardlab {

Box ShardBox(at::IntArrayRef full, at::IntArrayRef part, int ranks, int rank) {
  Box box = WholeBox(full.vec());
  if (full == part) return box;
  int cut = 0;
  for (size_t dim = 0; dim < full.size() && full.size() == part.size(); ++dim) {
    if (full[dim] == part[dim]) continue;
    box.ranges[dim] = SplitRange(full[dim], ranks, rank);
    cut += box.ranges[dim].size() == part[dim] ? 1 : 2;
  }
  if (cut == 1) return box;
  throw ContractError(fmt::format(
      "rank {} of {} has a tensor of [{}], which is neither the whole of [{}] nor its slice of one dimension", rank,
      ranks, fmt::join(part, ", "), fmt::join(full, ", ")));
}

at::Tensor ViewOfBox(const at::Tensor& tensor, const Box& box, const Box& outer) {
  const Box inside = Relative(box, outer);
  at::Tensor view = tensor;
  for (size_t dim = 0; dim < inside.ranges.size(); ++dim) {
    view = view.narrow(static_cast<int64_t>(dim), inside.ranges[dim].begin, inside.ranges[dim].size());
  }
  return view;
}

}  // namespace shardlab
