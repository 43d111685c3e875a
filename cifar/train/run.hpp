#pragma once

#include <memory>

#include "request.hpp"
#include "shardlab/comm/communicator.hpp"

/// \file
/// What one rank does: it trains, and rank 0 says how it went.

namespace shardlab::train {

/// Trains as the request says, on the ranks of `world`; with `compare` rank 0 trains the single process afterwards.
///
/// Along the data axis every group of ranks takes its slice of each batch (SplitRange), and the gradients are averaged
/// by the communication module; along the tensor axis the model is cut by the tensor_parallel module, along the pipe
/// axis it is run by the pipeline module's engine. Rank 0 prints.
/// \throws std::runtime_error when the two runs differ although float64 was compared; whatever the modules throw.
void TrainRank(const TrainRequest& request, std::shared_ptr<Communicator> world);

}  // namespace shardlab::train
