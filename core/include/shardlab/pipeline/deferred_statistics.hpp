#pragma once

#include <memory>

#include "shardlab/base/contract.hpp"
#include "shardlab/layers/batch_norm.hpp"

namespace shardlab {

/// Contract: running statistics of whole mini-batches.
///
/// Micro-batches are normalised by their own statistics; the running mean and variance are updated once a mini-batch,
/// at its last micro-batch, by the mean and the unbiased variance of all its values:
///
///     mean = (1/N) sum over all micro-batches of x        var = 1/(N-1) sum of (x - mean)^2        N values a channel
///     running = (1 - momentum) running + momentum new     num_batches_tracked grows by one
///
/// So they are those of one process that normalises the whole mini-batch, to the last digits, and do not depend on how
/// it was cut.
///
/// Every norm of the model, on every weight version, may be tracked by one object; versions of a norm share their
/// running statistics. Micro-batches of one mini-batch come in order and before those of the next.
///
/// Keep sums that lose nothing: E[x^2] - mean^2 in float32 is wrong in every digit where the mean is 1000 times the
/// standard deviation. Merge means and sums of squared differences instead (Chan's rule).
/// Source: torchgpipe's DeferredBatchNorm, arXiv 2004.09910.
SHARDLAB_CONTRACT std::shared_ptr<BatchStatistics> MakeDeferredStatistics();

}  // namespace shardlab
