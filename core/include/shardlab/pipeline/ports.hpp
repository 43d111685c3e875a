#pragma once

#include <map>
#include <memory>
#include <vector>

#include "shardlab/comm/communicator.hpp"
#include "shardlab/layers/layer.hpp"
#include "shardlab/pipeline/link.hpp"
#include "shardlab/pipeline/positions.hpp"
#include "shardlab/pipeline/skips.hpp"
#include "shardlab/plan/layout.hpp"

/// \file
/// Whom a rank of a pipeline talks to: the links that a chunk has, to its neighbours and to those that it shares a skip
/// with; and who holds the same weights.

namespace shardlab {

/// One end of a link.
struct Port {
  std::shared_ptr<Link> link;  ///< the other end is another chunk's, here or on another rank
  /// Whether SEND and RECV of the schedule move what goes through it: so for a neighbour on another rank. What goes to
  /// a chunk of this rank is handed over at once, and skips go along with the boundary.
  bool in_schedule = false;
};

/// All links of one chunk, in the order in which its stage has its inputs and outputs.
struct ChunkPorts {
  std::vector<Port> in;   ///< from the chunk before (none: the first), then the skips that are popped here
  std::vector<Port> out;  ///< to the chunk behind (none: the last), then the skips that are stashed here
};

/// Links every chunk of this rank. Channels are counted over all boundaries and then over all skips, so that both ends
/// of a link know the same one without a message.
/// \param balance layers of each stage, which sum to the layers of the model.
/// \param skips those that cross a boundary, as SkipRoutes gives them; each copy of the model has its own.
/// \param device where what is received shall be.
/// \param tiles where positions of the layout have several ranks; none: rank r of `comm` is position r. Ranks of two
///              positions with as many tiles are linked tile by tile; a single rank behind tiles joins them.
/// \returns by chunk, those of this rank.
/// \throws ContractError where positions of several ranks are linked that differ in their number, unless the later is one
/// rank and `tiles.join` is there.
std::map<int, ChunkPorts> ConnectChunks(const Layout& layout, const LayerSequence& model,
                                        const std::vector<int>& balance, const std::vector<SkipRoute>& skips,
                                        const std::shared_ptr<Communicator>& comm, at::Device device,
                                        const TiledStages& tiles = {});

/// The ranks that hold the same weights as this one. In a bidirectional layout the mirrored rank does:
///
///     bidirectional 3, two of them in data parallelism            groups
///
///     ranks of `all`   0 1 2    stages   0+2  1+1  2+0            {0, 2, 3, 5}  {1, 4}
///                      3 4 5             0+2  1+1  2+0
///
/// \param all the ranks of all pipelines; each calls this, with a layout that is the same everywhere.
/// \param rank this one's rank in its pipeline.
std::shared_ptr<Communicator> SameWeights(const Layout& layout, int rank, Communicator& all);

}  // namespace shardlab
