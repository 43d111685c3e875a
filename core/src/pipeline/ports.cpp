#include "shardlab/pipeline/ports.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/balance.hpp"

namespace shardlab {

namespace {

// The links between two positions, of which this rank is in at least one.
class Connector {
 public:
  Connector(const std::shared_ptr<Communicator>& comm, at::Device device, const TiledStages& tiles, int positions)
      : comm_(comm), device_(device), tiles_(tiles) {
    if (tiles_.positions.ranks.empty()) tiles_.positions = OneRankEach(positions);
  }

  int position() const { return tiles_.positions.Of(comm_->rank()); }

  // This rank's end of the link between two positions; `layer`: the one that makes what travels, `first` and `count` of its
  // outputs.
  std::unique_ptr<Link> Between(int from, int to, int channel, size_t layer, size_t first, size_t count) const {
    const std::vector<int>& givers = tiles_.positions.ranks.at(static_cast<size_t>(from));
    const std::vector<int>& takers = tiles_.positions.ranks.at(static_cast<size_t>(to));
    const bool gives = position() == from;
    const std::vector<int>& mine = gives ? givers : takers;
    const auto tile = static_cast<size_t>(std::find(mine.begin(), mine.end(), comm_->rank()) - mine.begin());
    if (givers.size() == takers.size()) return LinkTo((gives ? takers : givers)[tile], channel);
    if (takers.size() != 1 || !tiles_.join) {
      throw ContractError(
          fmt::format("a position of {} ranks cannot be linked to one of {}", givers.size(), takers.size()));
    }
    if (gives) return LinkTo(takers[0], channel);
    std::vector<std::unique_ptr<Link>> links;
    for (const int giver : givers) links.push_back(LinkTo(giver, channel));
    const std::vector<Tiling>& out = tiles_.plan.at(layer).out;
    const auto begin = out.begin() + static_cast<std::ptrdiff_t>(first);
    return tiles_.join(std::move(links), {begin, begin + static_cast<std::ptrdiff_t>(count)});
  }

  // Of the outputs of a layer on tiles, how many there are; 0 for layers that are not on tiles.
  size_t Outputs(size_t layer) const { return layer < tiles_.plan.size() ? tiles_.plan[layer].out.size() : 0; }

 private:
  std::unique_ptr<Link> LinkTo(int rank, int channel) const { return MakeLink(comm_, rank, channel, device_); }

  std::shared_ptr<Communicator> comm_;
  at::Device device_;
  TiledStages tiles_;
};

}  // namespace

std::map<int, ChunkPorts> ConnectChunks(const Layout& layout, const LayerSequence& model,
                                        const std::vector<int>& balance, const std::vector<SkipRoute>& skips,
                                        const std::shared_ptr<Communicator>& comm, at::Device device,
                                        const TiledStages& tiles) {
  const Connector connector(comm, device, tiles, layout.ranks());
  const int me = connector.position();
  std::map<int, ChunkPorts> ports;
  for (int chunk = 0; chunk < layout.chunks(); ++chunk) {
    if (layout.chunk(chunk).rank == me) ports[chunk];
  }
  int channel = 0;
  // The link's end for chunk `to`; nothing when that is on another rank.
  const auto connect = [&](int from, int to, bool has_actions, size_t layer, size_t first, size_t count) {
    const int from_rank = layout.chunk(from).rank;
    const int to_rank = layout.chunk(to).rank;
    const int number = channel++;
    if (from_rank != me && to_rank != me) return Port();
    const bool local = from_rank == to_rank;
    const Port port{local ? MakeLocalLink() : connector.Between(from_rank, to_rank, number, layer, first, count),
                    has_actions && !local};
    if (from_rank == me) ports[from].out.push_back(port);
    return to_rank == me ? port : Port();
  };
  std::map<std::pair<int, int>, int> chunk_of;  // by replica and stage
  for (int from = 0; from < layout.chunks(); ++from) {
    chunk_of[{layout.chunk(from).replica, layout.chunk(from).stage}] = from;
    const int to = layout.chunk(from).next;
    if (to < 0) continue;
    const auto last = static_cast<size_t>(LayersOf(balance, layout.chunk(from).stage).end - 1);
    const size_t outputs = connector.Outputs(last), stashes = model[last].stashes.size();
    if (const Port port = connect(from, to, true, last, 0, outputs - std::min(outputs, stashes)); port.link) {
      ports[to].in.push_back(port);
    }
  }
  // Skips come in the order of their stashes; a chunk has them in the order of its pops.
  std::map<std::pair<int, std::string>, Port> coming;  // by replica and name
  for (int replica = 0; replica < layout.replicas(); ++replica) {
    for (const SkipRoute& skip : skips) {
      size_t layer = 0, place = 0;  // where it is stashed, and which of the layer's outputs it is
      for (; layer < model.size(); ++layer) {
        const auto& names = model[layer].stashes;
        const auto found = std::find(names.begin(), names.end(), skip.name);
        if (found == names.end()) continue;
        place = connector.Outputs(layer) - std::min(connector.Outputs(layer), static_cast<size_t>(names.end() - found));
        break;
      }
      coming[{replica, skip.name}] =
          connect(chunk_of.at({replica, skip.from}), chunk_of.at({replica, skip.to}), false, layer, place, 1);
    }
  }
  for (auto& [chunk, mine] : ports) {
    const Range layers = LayersOf(balance, layout.chunk(chunk).stage);
    for (int64_t layer = layers.begin; layer < layers.end; ++layer) {
      for (const std::string& name : model[static_cast<size_t>(layer)].pops) {
        const auto found = coming.find({layout.chunk(chunk).replica, name});
        if (found != coming.end() && found->second.link) mine.in.push_back(found->second);
      }
    }
  }
  return ports;
}

std::shared_ptr<Communicator> SameWeights(const Layout& layout, int rank, Communicator& all) {
  int first = layout.stages();  // of the stages that the rank holds: which they all are follows from it
  for (const int chunk : layout.ChunksOf(rank)) first = std::min(first, layout.chunk(chunk).stage);
  return all.Split(first, all.rank(), "same weights");
}

}  // namespace shardlab
