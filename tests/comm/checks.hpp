#pragma once

#include <string>

#include "shardlab/comm/communicator.hpp"

/// What every backend must do, as bodies that throw when it does not: run over Gloo and over the Mailbox.

namespace shardlab::test {

/// Throws `message` unless `holds`.
void Check(bool holds, const std::string& message);

/// All collectives on sizes 0, 1, odd and uneven, several dtypes, blocking and not.
void CheckCollectives(Communicator& comm);
/// Order, tags, both directions at once, empty tensors, tensors of unknown shape.
void CheckMessages(Communicator& comm);
/// Subgroup and Split: members, order, messages and collectives inside, side by side.
void CheckSubgroups(Communicator& comm);
/// Random floats: every rank ends with the bits that rank 0 has.
void CheckSameBits(Communicator& comm);

}  // namespace shardlab::test
