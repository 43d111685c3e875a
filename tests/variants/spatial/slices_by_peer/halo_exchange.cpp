#include "shardlab/spatial/halo_exchange.hpp"

#include <map>
#include <memory>
#include <vector>

#include <ATen/ATen.h>

#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/base/errors.hpp"

namespace shardlab {

namespace {

at::Tensor Part(const at::Tensor& x, const Box& box, const Box& outer) {
  const Range rows = box.ranges[0], columns = box.ranges[1];
  return x.narrow(2, rows.begin - outer.ranges[0].begin, rows.size())
      .narrow(3, columns.begin - outer.ranges[1].begin, columns.size());
}

struct Way {
  Box have, want;
  std::vector<Move> moves;
};

at::Tensor Go(const at::Tensor& x, const Way& way, Communicator& comm) {
  std::map<int, std::vector<Box>> in, out;
  for (const Move& move : way.moves) {
    if (move.to == comm.rank()) in[move.from].push_back(move.box);
    if (move.from == comm.rank()) out[move.to].push_back(move.box);
  }
  std::map<int, std::pair<at::Tensor, std::unique_ptr<Work>>> coming;
  std::vector<std::pair<at::Tensor, std::unique_ptr<Work>>> going;
  const int64_t images = x.size(0) * x.size(1);
  for (const auto& [peer, boxes] : in) {
    if (peer == comm.rank() || images == 0) continue;
    int64_t elements = 0;
    for (const Box& box : boxes) elements += box.volume() * images;
    at::Tensor buffer = at::empty({elements}, x.options());
    auto work = comm.IRecv(buffer, peer, 7);
    coming[peer] = {buffer, std::move(work)};
  }
  for (auto it = out.rbegin(); it != out.rend(); ++it) {
    if (it->first == comm.rank() || images == 0) continue;
    std::vector<at::Tensor> parts;
    for (const Box& box : it->second) parts.push_back(Part(x, box, way.have).reshape({-1}));
    at::Tensor packed = at::cat(parts);
    auto work = comm.ISend(packed, it->first, 7);
    going.emplace_back(packed, std::move(work));
  }
  std::vector<int64_t> sizes{x.size(0), x.size(1), way.want.ranges[0].size(), way.want.ranges[1].size()};
  at::Tensor y = at::zeros(sizes, x.options());
  for (auto& [peer, boxes] : in) {
    int64_t place = 0;
    if (peer != comm.rank() && images > 0) coming.at(peer).second->Wait();
    for (const Box& box : boxes) {
      at::Tensor target = Part(y, box, way.want);
      if (peer == comm.rank()) {
        target.add_(Part(x, box, way.have));
      } else if (images > 0) {
        target.add_(coming.at(peer).first.narrow(0, place, target.numel()).view(target.sizes()));
        place += target.numel();
      }
    }
  }
  for (auto& one : going) one.second->Wait();
  return y;
}

}  // namespace

at::Tensor ExchangePixels(const at::Tensor& x, const Distribution& from, const Distribution& to,
                          std::shared_ptr<Communicator> comm) {
  const auto me = static_cast<size_t>(comm->rank());
  const Way there{from.at(me), to.at(me), Moves(from, to)};
  const std::vector<int64_t> wanted = Sizes(there.have);
  if (x.dim() != 4 || x.sizes().slice(2) != at::IntArrayRef(wanted)) throw ContractError("x is not what this rank has");
  const Way back{there.want, there.have, Reversed(there.moves)};
  return Apply({"exchange", [=](const at::Tensor& t) { return Go(t, there, *comm); },
                [=](const at::Tensor& t) { return Go(t, back, *comm); }},
               x);
}

}  // namespace shardlab
