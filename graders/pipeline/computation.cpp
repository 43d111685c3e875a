#include "computation.hpp"

#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/policies.hpp"

namespace shardlab::grade {

Schedule ComputationOf(const std::string& name, int ranks, int chunks, int microbatches, int updates) {
  const int all = microbatches * updates;
  if (name == "naive") return Naive(ranks, microbatches);
  if (name == "gpipe") return GPipe(ranks, microbatches);
  if (name == "1f1b") return OneFOneB(ranks, microbatches);
  if (name == "interleaved") return InterleavedOneFOneB(ranks, chunks, microbatches);
  if (name == "zb-h1") return ZeroBubbleH1(ranks, microbatches);
  if (name == "zb-h2") return ZeroBubbleH2(ranks, microbatches);
  if (name == "pipedream") return StashWeights(OneFOneB(ranks, all));
  if (name == "pipedream-vsync") return StashWeightsVerticalSync(OneFOneB(ranks, all));
  if (name == "2bw") return DoubleBufferWeights(OneFOneB(ranks, all), microbatches);
  if (name == "wpipe") return GroupWeights(WPipe(ranks, all), microbatches);
  throw ContractError("no such schedule: " + name);
}

}  // namespace shardlab::grade
