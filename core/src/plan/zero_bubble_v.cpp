#include <algorithm>
#include <map>
#include <utility>

#include "shardlab/plan/more_generators.hpp"

// ZB-V. Two ranks, four micro-batches, TF = TB = TW; rank r has the chunks r (written large) and 2P-1-r (small):
//
//     rank 0   F0 F1 F2 f0 i0 w0 f1 i1 w1 F3 I0 W0 f2 i2 w2 I1 W1 f3 i3 w3 I2 W2 I3 W3
//     rank 1      F0 f0 F1 f1 i0 w0 F2 I0 W0 f2 i1 w1 F3 I1 W1 f3 i2 w2 I2 i3 I3 W2 w3 W3
//              (1)       (2)     (3)            (4)                    (5)     (6)
//
// (1) 2(P-r)-1 forwards of the first chunk, as many as it takes until micro-batch 0 comes back down the vee. (2) r times
// one forward of each chunk: the vee is filled. (3) P-r times f i w: the turn is on the last rank, whose second chunk is
// the next one, so backwards begin at once. (4) Then F I W and f i w in turn: each frees what the next one takes. (5) The
// end is the beginning mirrored: r times both input gradients, which others wait for, and (6) the remaining ones of the
// first chunk with its weight gradients, which were left for this time.
//
// Nobody has more than 2P chunks alive, on any rank: in 1F1B only the first rank has that much.

namespace shardlab {

Schedule ZeroBubbleV(int ranks, int microbatches) {
  const int P = ranks;
  Schedule schedule("zb-v", Layout::Vee(P, 2), microbatches);
  const int m = std::max(microbatches, 2 * P - 1);
  for (int rank = 0; rank < P; ++rank) {
    const int first = rank;
    const int second = 2 * P - 1 - rank;
    std::map<std::pair<ActionKind, int>, int> next;  // the micro-batch of each kind and chunk
    const auto run = [&](ActionKind kind, int chunk) {
      const int i = next[{kind, chunk}]++;
      if (i < microbatches) schedule.ranks[static_cast<size_t>(rank)].push_back({kind, chunk, i});
    };
    const auto F = [&](int chunk) { run(ActionKind::kForward, chunk); };
    const auto I = [&](int chunk) { run(ActionKind::kBackwardInput, chunk); };
    const auto W = [&](int chunk) { run(ActionKind::kBackwardWeight, chunk); };
    const auto left = [&](ActionKind kind, int chunk) { return m - next[{kind, chunk}]; };

    for (int k = 0; k < 2 * (P - rank) - 1; ++k) F(first);               // (1)
    for (int k = 0; k < rank; ++k) F(second), F(first);                  // (2)
    for (int k = 0; k < P - rank; ++k) F(second), I(second), W(second);  // (3)
    while (left(ActionKind::kForward, second) > 0) {                     // (4)
      if (left(ActionKind::kForward, first) > 0) F(first);
      I(first), W(first);
      F(second), I(second), W(second);
    }
    for (int k = 0; k < rank; ++k) I(first), I(second);     // (5)
    for (int k = 0; k < P - rank; ++k) I(first), W(first);  // (6)
    while (left(ActionKind::kBackwardWeight, second) > 0) W(second);
    while (left(ActionKind::kBackwardWeight, first) > 0) W(first);
  }
  return schedule;
}

}  // namespace shardlab
