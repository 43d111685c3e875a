#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"

namespace shardlab {

/// Packs tensors one behind the other into one, so that they can travel in one message.
///
/// The copying is divided among the OpenMP threads that the process may use (omp_get_max_threads()). Each element of
/// the result is written by one thread, so that the result has the same bits however many there are.
///
/// \param tensors at least one, all of one dtype on the CPU; any shapes (also without elements) and strides. They are
///                left as they are. They may require a gradient; the result requires none.
/// \returns a new contiguous tensor of one dimension: the elements of tensors[0] in row-major order, then those of
///          tensors[1], ...
SHARDLAB_CONTRACT at::Tensor Flatten(const std::vector<at::Tensor>& tensors);

/// Unpacks what Flatten packed: writes the elements of `flat` into the tensors of `into`, in their order.
///
/// Divided among the OpenMP threads like Flatten.
///
/// \param flat contiguous, one dimension, as many elements as the tensors of `into` together, and their dtype.
/// \param into what is written, in place: any shapes and strides; no two of them share memory.
SHARDLAB_CONTRACT void Unflatten(const at::Tensor& flat, const std::vector<at::Tensor>& into);

}  // namespace shardlab
