#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "shardlab/comm/communicator.hpp"

namespace shardlab {

/// The world of `ranks` ranks that are threads of this process: one communicator a rank, for unit tests and planning.
///
/// The rules are those of every backend, kept to the letter: a send is complete when its receive is posted, a
/// collective and a Subgroup when every rank has called them; sums are made in the order of ranks. Two sides that do
/// not fit are both told with a CommError. An operation that is not complete after `limit` throws CommError.
std::vector<std::shared_ptr<Communicator>> MakeMailbox(
    int ranks, std::chrono::milliseconds limit = std::chrono::milliseconds(10000));

/// Runs `body` in one thread a rank of a new Mailbox and returns when all have returned. When a body throws, the
/// others' waits end with CommError, and what it threw comes out here.
void RunOnMailbox(int ranks, const std::function<void(Communicator&)>& body,
                  std::chrono::milliseconds limit = std::chrono::milliseconds(10000));

}  // namespace shardlab
