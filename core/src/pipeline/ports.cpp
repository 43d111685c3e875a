#include "shardlab/pipeline/ports.hpp"

#include <string>

#include <ATen/ATen.h>

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
  for (int chunk = 0; chunk + 1 < layout.chunks(); ++chunk) {
    if (const Port port = connect(chunk, chunk + 1, true); port.link) ports[chunk + 1].in.push_back(port);
  }
  // Skips come in the order of their stashes; a chunk has them in the order of its pops.
  std::map<std::string, Port> coming;
  for (const SkipRoute& skip : skips) coming[skip.name] = connect(skip.from, skip.to, false);
  int layer = 0;
  for (int chunk = 0; chunk < layout.chunks(); ++chunk) {
    const int end = layer + balance[static_cast<size_t>(chunk)];
    for (; layer < end; ++layer) {
      for (const std::string& name : model[static_cast<size_t>(layer)].pops) {
        const auto found = coming.find(name);
        if (found != coming.end() && found->second.link) ports[chunk].in.push_back(found->second);
      }
    }
  }
  return ports;
}

}  // namespace shardlab
