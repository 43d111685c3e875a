#include <algorithm>
#include <deque>
#include <map>
#include <utility>

#include "shardlab/plan/more_generators.hpp"

// DualPipeV. The lists of two ranks for six micro-batches; rank r has the chunks r (written large) and 2P-1-r (small), and
// & joins the two of a pair:
//
//     rank 0   F0 F1   F2 f0         i0 w0 f1   F3&b1 f2&B0 F4&b2 f3&B1 F5&b3 f4&B2   b4 f5&B3   b5 I4   W4 I5   W5
//     rank 1           F0 f0 F1 f1              F2 b0 f2&B0 F3&b1 f3&B1 F4&b2 f4&B2 F5&b3 f5&B3   b4 B4 i5 I5   w5 W5
//              (1)     (2)           (3)        (4)                                   (5)        (6)     (7)     (8)
//
// A vee has both ends of the model on one rank, so that forwards come along one side while backwards come along the
// other: in (4) every forward runs together with a backward of the other chunk, and what one of them sends travels while
// the other computes. (1) 2(P-1-r) forwards of the first chunk. (2) r+1 times one of each. (3) P-1-r times i w f, in
// halves, so that the rank before goes on soon. (4) m-2P+r+1 times two pairs; the first backward of the last rank comes
// behind its forward, not beside it, since micro-batch 0 is waited for. (5) P-1-r times a backward and a pair. (6) r+1
// times a backward of each chunk, the first half of them whole. Of the others the weight gradients are left for (7),
// P-1-r times, between the last input gradients, and for (8).

namespace shardlab {

Schedule DualPipeV(int ranks, int microbatches) {
  const int P = ranks;
  Schedule schedule("dualpipe-v", Layout::Vee(P, 2), microbatches);
  const int m = std::max(microbatches, 2 * P);
  for (int rank = 0; rank < P; ++rank) {
    auto& list = schedule.ranks[static_cast<size_t>(rank)];
    const int first = rank;
    const int second = 2 * P - 1 - rank;
    std::map<int, int> forwards, backwards;  // the next of each chunk
    std::deque<Action> left;                 // weight gradients, in the order of their input halves
    const auto add = [&](const Action& action) {
      if (action.microbatch < microbatches) list.push_back(action);
    };
    const auto F = [&](int chunk) { add(Action::Forward(chunk, forwards[chunk]++)); };
    const auto B = [&](int chunk, bool whole = true) {
      const int i = backwards[chunk]++;
      add(whole ? Action::Backward(chunk, i) : Action::BackwardInput(chunk, i));
      if (!whole) left.push_back(Action::BackwardWeight(chunk, i));
    };
    const auto W = [&] {
      if (left.empty()) return;
      add(left.front());
      left.pop_front();
    };
    const auto pair = [&](int forward, int backward) {
      const bool both = forwards[forward] < microbatches && backwards[backward] < microbatches;
      F(forward);
      if (both) list.back().opens_pair = true;
      B(backward);
    };

    for (int k = 0; k < 2 * (P - 1 - rank); ++k) F(first);                              // (1)
    for (int k = 0; k <= rank; ++k) F(first), F(second);                                // (2)
    for (int k = 0; k < P - 1 - rank; ++k) B(second, /*whole=*/false), W(), F(second);  // (3)
    for (int k = 0; k < m - 2 * P + rank + 1; ++k) {                                    // (4)
      if (k == 0 && rank == P - 1) {
        F(first), B(second);
      } else {
        pair(first, second);
      }
      pair(second, first);
    }
    for (int k = 0; k < P - 1 - rank; ++k) B(second), pair(second, first);  // (5)
    const int wholes = rank + 1;  // of the 2(r+1) backwards in (6) the first half, rounded up
    for (int k = 0; k < 2 * (rank + 1); ++k) B(k % 2 == 0 ? second : first, k < wholes);  // (6)
    for (int k = 0; k < P - 1 - rank; ++k) W(), B(first, /*whole=*/false);                // (7)
    while (!left.empty()) W();                                                            // (8)
  }
  return schedule;
}

}  // namespace shardlab
