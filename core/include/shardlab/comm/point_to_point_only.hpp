#pragma once

#include <memory>

#include "shardlab/comm/communicator.hpp"
#include "shardlab/comm/record.hpp"

namespace shardlab {

/// `inner` without its collectives: for exercises that build them from sends and receives. A collective, and Split,
/// which needs one, throws ContractError; Subgroup works and gives a communicator with the same limits.
std::shared_ptr<Communicator> MakePointToPointOnly(std::shared_ptr<Communicator> inner);

/// What such a communicator throws: \throws ContractError that says what is there instead of `collective`.
[[noreturn]] void RefuseCollective(OpKind collective);

}  // namespace shardlab
