#include "shardlab/pipeline/ports.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include <ATen/ATen.h>

#include "shardlab/pipeline/balance.hpp"

namespace shardlab {

std::map<int, ChunkPorts> ConnectChunks(const Layout& layout, const LayerSequence& model,
                                        const std::vector<int>& balance, const std::vector<SkipRoute>& skips,
                                        const std::shared_ptr<Communicator>& comm, at::Device device) {
  const int me = comm->rank();
  std::map<int, ChunkPorts> ports;
  for (int chunk = 0; chunk < layout.chunks(); ++chunk) {
    if (layout.chunk(chunk).rank == me) ports[chunk];
  }
  int channel = 0;
  // The link's end for chunk `to`; nothing when that is on another rank.
  const auto connect = [&](int from, int to, bool has_actions) {
    const int from_rank = layout.chunk(from).rank;
    const int to_rank = layout.chunk(to).rank;
    const int number = channel++;
    if (from_rank != me && to_rank != me) return Port();
    const bool local = from_rank == to_rank;
    const Port port{local ? MakeLocalLink() : MakeLink(comm, from_rank == me ? to_rank : from_rank, number, device),
                    has_actions && !local};
    if (from_rank == me) ports[from].out.push_back(port);
    return to_rank == me ? port : Port();
  };
  std::map<std::pair<int, int>, int> chunk_of;  // by replica and stage
  for (int from = 0; from < layout.chunks(); ++from) {
    chunk_of[{layout.chunk(from).replica, layout.chunk(from).stage}] = from;
    const int to = layout.chunk(from).next;
    if (to < 0) continue;
    if (const Port port = connect(from, to, true); port.link) ports[to].in.push_back(port);
  }
  // Skips come in the order of their stashes; a chunk has them in the order of its pops.
  std::map<std::pair<int, std::string>, Port> coming;  // by replica and name
  for (int replica = 0; replica < layout.replicas(); ++replica) {
    for (const SkipRoute& skip : skips) {
      coming[{replica, skip.name}] = connect(chunk_of.at({replica, skip.from}), chunk_of.at({replica, skip.to}), false);
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
