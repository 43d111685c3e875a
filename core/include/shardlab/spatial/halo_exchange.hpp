#pragma once

#include <memory>

#include <ATen/core/Tensor.h>

#include "shardlab/base/contract.hpp"
#include "shardlab/comm/communicator.hpp"
#include "shardlab/plan/box.hpp"

/// \file
/// Contract: pixels that travel between ranks. A halo exchange, wide or narrow; tiles that become others; tiles that
/// become the whole image: all of them say who holds what, and who needs what (shardlab/plan/box.hpp).
///
///     rank 0 has  [0:4, 0:4]           needs  [0:4, 0:5]
///     rank 1 has  [0:4, 4:8]           needs  [0:4, 3:8]
///
///          0 1 2 3   4 5 6 7              0 1 2 3(4)  (3)4 5 6 7
///        +---------+---------+           +----------++----------+
///        | rank 0  | rank 1  |    --->   | rank 0   || rank 1   |
///        +---------+---------+           +----------++----------+
///                   <---- 4 ---- 3 ---->

namespace shardlab {

/// Gives each rank the pixels that it needs, and in the backward brings their gradients home.
///
/// The elements that travel are those of Moves(from, to): one message for each pair (owner, reader) of different ranks,
/// where the owners' boxes do not overlap; what a rank has itself it copies. All receives are posted and all messages sent
/// before the first is waited for, so that an exchange takes one round.
///
/// Backward is the same list reversed: what a reader got for an element goes back to the owner, who ADDS it to the
/// gradient that it has already. An element that nobody needs gets 0. So <exchange(x), y> = <x, backward(y)>.
///
/// \param x [B, C, h, w]: the pixels `from[rank]` of an image, float32 or float64, any strides; it is left as it is. B and C are the
///          same on every rank; either may be 0. When it needs no gradient, no message is made for one: it needs one on
///          every rank or on none.
/// \param from,to a box of two dimensions (rows, columns) for each rank of `comm`; the same on every rank. Boxes may be empty
///                and may overlap, within `from` too.
/// \returns a new contiguous tensor [B, C, h', w'] with the pixels of to[rank].
/// \throws ContractError when a rank needs what nobody has, as Moves does, and unless x has the sizes of from[rank]; both on
/// every rank and before a message is sent, or on this rank alone where x is wrong on it alone.
/// Cost: the messages above; their bytes are B * C * volume of the moves between ranks. The same backward.
SHARDLAB_CONTRACT at::Tensor ExchangePixels(const at::Tensor& x, const Distribution& from, const Distribution& to,
                                            std::shared_ptr<Communicator> comm);

}  // namespace shardlab
