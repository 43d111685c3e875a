#pragma once

#include <cstdint>
#include <vector>

#include "shardlab/base/contract.hpp"
#include "shardlab/layers/layer.hpp"
#include "shardlab/layers/stage_module.hpp"

/// \file
/// Contracts: a mini-batch in pieces. B samples in m pieces, n_i samples in piece i.
///
///     B = 10, m = 4      [ 0 1 2 | 3 4 5 | 6 7 | 8 9 ]      the first B % m pieces have one sample more
///
///     loss of the mini-batch   = (1/B) * sum over its samples
///                              = sum over i of (n_i / B) * (mean loss of piece i)
///
/// Where the pieces differ in size the mean of their means is another number, with other gradients. In data parallelism
/// the pieces of several mini-batches make one update; B is then the samples of all of them.

namespace shardlab {

/// The pieces of a mini-batch: min(m, B) of them, as SplitRange cuts it.
/// \param step which update it is for.
/// \returns piece i with `index`, `count`, `samples` and `batch` filled in.
/// \throws ContractError unless B and m are at least 1.
SHARDLAB_CONTRACT std::vector<MicroBatch> MicroBatches(int64_t samples, int microbatches, int64_t step = 0);

/// The samples of piece `at` of every tensor: views of dimension 0, nothing is copied.
/// \param batch tensors with `at.batch` samples each.
/// \throws ContractError for a tensor with another number of samples.
SHARDLAB_CONTRACT Tensors SamplesOf(const Tensors& batch, const MicroBatch& at);

/// A piece's share of the loss of its update: n_i / B times its mean loss, with B = `at.update_samples`, or `at.batch`
/// where that is 0. The sum of the shares is the loss, and the sum of their gradients is its gradient.
SHARDLAB_CONTRACT LossShare ShareOf(LossFunction mean_loss);

}  // namespace shardlab
