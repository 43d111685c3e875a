#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/grade/referee.hpp"

/// \file
/// The differentiable operators, as one process sees them, and how each goes wrong.

namespace shardlab::grade {

using Tensors = std::vector<at::Tensor>;
using Matrix = std::vector<std::vector<int64_t>>;  ///< [a][b]: rows from rank a to rank b

/// An operator on all ranks together, as one process sees it.
struct Operator {
  nlohmann::json params;                            ///< for the body
  std::vector<std::vector<int64_t>> input, output;  ///< shapes, one a rank
  std::function<Tensors(const Tensors&)> forward;   ///< all ranks' results of all ranks' inputs
  std::function<Tensors(const Tensors&)> backward;  ///< all ranks' gradients of all ranks' gradients
  bool replicated_input = false;                    ///< the same input on every rank: one value, not T
  bool replicated_output = false;                   ///< likewise
  /// What a rank's result may be when it is wrong, of all ranks' inputs; and its gradient, of all ranks' gradients.
  std::function<Label(const Tensors& x, int rank)> forward_mistakes = nullptr;
  std::function<Label(const Tensors& g, int rank)> backward_mistakes = nullptr;
};

/// \name The operators on `ranks` ranks
///@{
using Shape = std::vector<int64_t>;
Operator CopyOnRanks(int ranks, const Shape& shape = {3, 4});
Operator ReduceOnRanks(int ranks, const Shape& shape = {3, 4});
/// \param whole the shape of the whole tensor, which is cut along `dim`.
Operator ScatterOnRanks(int ranks, const std::vector<int64_t>& whole, int64_t dim);
Operator GatherOnRanks(int ranks, const std::vector<int64_t>& whole, int64_t dim);
/// SendReceive to the right, in a circle or with ends.
Operator ShiftOnRanks(int ranks, bool circle, const Shape& shape = {3, 4});
/// \param row the shape of a row.
Operator AllToAllOnRanks(const Matrix& rows, const Shape& row = {3});
///@}

/// The same on every rank.
inline Tensors Everywhere(int ranks, const at::Tensor& value) { return Tensors(ranks, value); }

}  // namespace shardlab::grade
