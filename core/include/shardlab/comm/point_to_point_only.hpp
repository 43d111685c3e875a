#pragma once

#include <memory>

#include "shardlab/comm/communicator.hpp"

namespace shardlab {

/// `inner` without its collectives: for exercises that build them from sends and receives. A collective, and Split,
/// which needs one, throws ContractError; Subgroup works and gives a communicator with the same limits.
std::shared_ptr<Communicator> MakePointToPointOnly(std::shared_ptr<Communicator> inner);

}  // namespace shardlab
