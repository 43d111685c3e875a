#pragma once

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"

namespace shardlab {

/// Returns on no rank before every rank has called it.
///
/// The dissemination barrier: in round k every rank tells rank + 2^k that it, and everybody it has heard of, is here,
/// and hears the same from rank - 2^k. After ceil(log2 T) rounds everybody has heard of all T ranks, also where T is
/// no power of two.
///
/// Cost: ceil(log2 T) rounds, one message of at most 8 bytes a rank and round. Only that a message arrives matters, not
/// what is in it.
///
/// \param comm point-to-point messages only; any number of ranks.
/// \throws CommError when a message fails or does not arrive in time.
///
/// Source: D. Hensgen, R. Finkel, U. Manber, "Two algorithms for barrier synchronization", 1988.
SHARDLAB_CONTRACT void Barrier(Communicator& comm);

}  // namespace shardlab
