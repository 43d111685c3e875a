#include "shardlab/spatial/halo_exchange.hpp"

#include <memory>
#include <vector>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/spatial/pack.hpp"

// Pixels that travel
// ==================
// Who gives what to whom is a list of moves, computed from the boxes alone: every rank makes the same list and finds its own
// part in it. Forward and backward are one function on the list and on the list reversed:
//
//     forward    moves            (owner -> reader, box)       0 -> 0 [0:4, 0:4]   1 -> 0 [0:4, 4:5]   ...
//     backward   moves reversed   (reader -> owner, box)       0 -> 0 [0:4, 0:4]   0 -> 1 [0:4, 4:5]   ...
//
//     1  post a receive for every rank that gives me something
//     2  pack and send what I give: all boxes for one reader in one message
//     3  add what I give to myself, while the messages travel
//     4  add what arrives
//
// Everything is ADDED to zeros. Forward that is a copy, since an element arrives once. Backward it is the sum that calculus
// asks for: an element that was read by three ranks has three gradients.

namespace shardlab {

namespace {

// The boxes that travel between this rank and each other one, in the indices of the tensor on this side.
using BoxesByPeer = std::vector<std::vector<Box>>;

// [B, C] elements of the boxes.
int64_t Elements(const std::vector<Box>& boxes, int64_t images) {
  int64_t pixels = 0;
  for (const Box& box : boxes) pixels += box.volume();
  return pixels * images;
}

// Moves elements of x, the pixels `have`, to a new tensor of the pixels `want`.
at::Tensor Carry(const at::Tensor& x, const Box& have, const Box& want, const std::vector<Move>& moves,
                 Communicator& comm) {
  const int me = comm.rank();
  BoxesByPeer give(static_cast<size_t>(comm.size())), get(static_cast<size_t>(comm.size()));
  for (const Move& move : moves) {
    if (move.from == me) give[static_cast<size_t>(move.to)].push_back(Relative(move.box, have));
    if (move.to == me) get[static_cast<size_t>(move.from)].push_back(Relative(move.box, want));
  }
  const int64_t images = x.size(0) * x.size(1);
  std::vector<at::Tensor> arriving(get.size());
  std::vector<std::unique_ptr<Work>> receives(get.size()), sends;
  for (int peer = 0; peer < comm.size(); ++peer) {  // 1
    const auto& boxes = get[static_cast<size_t>(peer)];
    if (peer == me || boxes.empty() || images == 0) continue;
    arriving[static_cast<size_t>(peer)] = at::empty({Elements(boxes, images)}, x.options().requires_grad(false));
    receives[static_cast<size_t>(peer)] = comm.IRecv(arriving[static_cast<size_t>(peer)], peer);
  }
  for (int peer = 0; peer < comm.size(); ++peer) {  // 2
    const auto& boxes = give[static_cast<size_t>(peer)];
    if (peer != me && !boxes.empty() && images > 0) sends.push_back(comm.ISend(PackPixels(x, boxes), peer));
  }
  const at::Tensor result =
      at::zeros({x.size(0), x.size(1), want.ranges[0].size(), want.ranges[1].size()}, x.options().requires_grad(false));
  AddPackedPixels(PackPixels(x, give[static_cast<size_t>(me)]), get[static_cast<size_t>(me)], result);  // 3
  for (size_t peer = 0; peer < receives.size(); ++peer) {                                               // 4
    if (!receives[peer]) continue;
    receives[peer]->Wait();
    AddPackedPixels(arriving[peer], get[peer], result);
  }
  for (const auto& send : sends) send->Wait();
  return result;
}

void RequireSizes(const at::Tensor& x, const Box& box) {
  if (x.dim() != 4 || x.size(2) != box.ranges[0].size() || x.size(3) != box.ranges[1].size()) {
    throw ContractError(fmt::format("an exchange of the pixels {} takes [B, C, {}, {}], not [{}]", ToString(box),
                                    box.ranges[0].size(), box.ranges[1].size(), fmt::join(x.sizes(), ", ")));
  }
}

}  // namespace

at::Tensor ExchangePixels(const at::Tensor& x, const Distribution& from, const Distribution& to,
                          std::shared_ptr<Communicator> comm) {
  const std::vector<Move> moves = Moves(from, to);
  const Box have = from.at(static_cast<size_t>(comm->rank())), want = to.at(static_cast<size_t>(comm->rank()));
  RequireSizes(x, have);
  return Apply({"halo exchange", [=](const at::Tensor& pixels) { return Carry(pixels, have, want, moves, *comm); },
                [=](const at::Tensor& gradient) { return Carry(gradient, want, have, Reversed(moves), *comm); }},
               x);
}

}  // namespace shardlab
