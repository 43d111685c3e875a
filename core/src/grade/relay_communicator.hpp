#pragma once

#include <chrono>
#include <memory>

#include "shardlab/comm/communicator.hpp"
#include "shardlab/launch/process.hpp"

namespace shardlab::grade {

/// The world of `size` ranks whose messages all pass through the Relay at the other end of `socket`.
///
/// Collectives are one contribution to the relay and one part from each of the others; sums are made by every rank in
/// the order of ranks, so that all have the same bits. A send is complete at once. An operation that is not complete
/// after `limit` throws CommError. Without `collectives` there are none: each is refused with ContractError.
std::shared_ptr<Communicator> MakeRelayCommunicator(launch::Fd socket, int rank, int size,
                                                    std::chrono::milliseconds limit, bool collectives = true);

}  // namespace shardlab::grade
