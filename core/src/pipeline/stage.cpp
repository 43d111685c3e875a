#include "shardlab/pipeline/stage.hpp"

#include "shardlab/base/errors.hpp"

namespace shardlab {

Tensors Stage::BackwardInput(int, const Tensors&) {
  throw ContractError(
      "this stage's backward is whole: a schedule with its halves I and W needs stages of MakeSplitStage");
}

void Stage::BackwardWeight(int) { BackwardInput(0, {}); }

}  // namespace shardlab
