#include <ATen/ATen.h>

#include <functional>
#include <string>
#include <vector>

#include "kit/calls.hpp"
#include "kit/costs.hpp"
#include "kit/hypotheses.hpp"
#include "kit/parts.hpp"
#include "kit/traffic.hpp"
#include "kit/words.hpp"
#include "shardlab/base/split.hpp"

// The rings. Any algorithm that gives the right values passes the value cases; the cost cases ask for the algorithm that
// the part is about.

namespace shardlab::grade {
namespace {

using Tensors = std::vector<at::Tensor>;
using Rows = std::vector<int64_t>;

int RightOf(int rank, int ranks) { return (rank + 1) % ranks; }

// The ring all-gather

std::function<Label(int rank)> AllGatherMistakes(const at::Tensor& whole, const Tensors& parts) {
  return [=](int rank) {
    const int ranks = static_cast<int>(parts.size());
    const auto all_but = [=](int missing, const std::string& meaning) {
      return PartlyWritten(meaning, whole, [=](const at::Tensor& result) {
        int64_t begin = 0;
        for (int r = 0; r < ranks; ++r) {
          if (r != missing) result.narrow(0, begin, parts[r].size(0)).copy_(parts[r]);
          begin += parts[r].size(0);
        }
      });
    };
    Label label;
    label.pieces = parts;
    if (ranks < 2) return label;
    label.hypotheses =
        all_but(RightOf(rank, ranks), "there is one round too few: the right neighbour's part is still on its way");
    Append(label.hypotheses, all_but(rank, "this rank's own part is not copied into the result"));
    Append(label.hypotheses,
           PartlyWritten("this rank's own part is all that there is", whole, [=](const at::Tensor& result) {
             int64_t begin = 0;
             for (int r = 0; r < rank; ++r) begin += parts[r].size(0);
             result.narrow(0, begin, parts[rank].size(0)).copy_(parts[rank]);
           }));
    label.hypotheses.push_back(
        {"every rank sends its own part in every round, instead of what came in the round before", [=] {
           Tensors came(ranks, parts[(rank + ranks - 1) % ranks]);
           came[rank] = parts[rank];
           return at::cat(came);
         }});
    return label;
  };
}

void AddGather(CaseContext& t, Calls& calls, const Rows& rows, const at::Tensor& whole, bool strided = false) {
  const Tensors parts = AllRowsOf(whole, rows);
  calls.Add({DtypeName(whole.scalar_type()) + (strided ? ", non-contiguous, rows " : ", rows ") + ListName(rows),
             parts,
             t.PerRank([&](int) { return whole; }),
             {{"rows", rows}, {"strided", strided}},
             AllGatherMistakes(whole, parts)});
}

/// T - 1 rounds around a ring, a message a rank and round. \param bytes of what is gathered or summed.
void ExpectRingRounds(CaseContext& t, const Run& run, int64_t bytes) {
  const int64_t ranks = t.ranks();
  const auto all = static_cast<double>(ranks * (ranks - 1)), rounds = static_cast<double>(ranks - 1);
  Costs costs;
  costs.Add("rounds: T - 1", static_cast<double>(run.TotalCost().rounds), rounds, "rounds");
  costs.Add("messages in all: T(T - 1)", static_cast<double>(run.TotalCost().messages), all, "messages");
  const double right = rounds * static_cast<double>(bytes);
  costs.Add("bytes in all: (T - 1) * S", static_cast<double>(run.TotalCost().bytes_sent), right, "bytes");
  costs.Expect(t,
               {{"every part goes to every rank directly, and not around the ring", {1, all, right}},
                {"there is one round too many", {rounds + 1, all + static_cast<double>(ranks), kAny}},
                {"some ranks send before they receive and others receive before they send, so that a round takes two",
                 {2 * rounds, all, right}},
                {"one rank collects all parts and hands out the whole, or the sum", {2, 2 * rounds, kAny}},
                {"all of it travels in every round, not one part", {rounds, all, right * static_cast<double>(ranks)}}});
}

}  // namespace

SHARDLAB_CASE(ring, all_gather_values, kValue, {1, 2, 3, 4, 5, 7}) {
  Calls calls("ring_all_gather");
  AddGather(t, calls, Rows(t.ranks(), 1), t.Integers({t.ranks(), 4}, at::kDouble));
  AddGather(t, calls, Rows(t.ranks(), 2), t.Integers({2 * t.ranks(), 3}, at::kLong));
  AddGather(t, calls, Rows(t.ranks(), 2), t.Integers({2 * t.ranks(), 3}, at::kLong));
  calls.LaunchAndExpect(t);
}

SHARDLAB_CASE(ring, all_gather_uneven_rows, kValue, {2, 3, 4}) {
  Calls calls("ring_all_gather");
  Rows growing, gaps;
  for (int rank = 0; rank < t.ranks(); ++rank) {
    growing.push_back(1 + rank);
    gaps.push_back(rank == 1 ? 3 : 0);
  }
  AddGather(t, calls, growing, t.Integers({Total(growing), 2}, at::kDouble));
  AddGather(t, calls, SplitSizes(t.ranks() + 1, t.ranks()), t.Integers({t.ranks() + 1}, at::kFloat));
  AddGather(t, calls, gaps, t.Integers({3, 2, 2}, at::kDouble));
  AddGather(t, calls, Rows(t.ranks(), 0), t.Integers({0, 5}, at::kDouble));
  AddGather(t, calls, growing, t.Integers({Total(growing), 0}, at::kDouble));
  calls.LaunchAndExpect(t);
}

SHARDLAB_CASE(ring, all_gather_dtypes_and_strides, kRobustness, {3}) {
  Calls calls("ring_all_gather");
  for (at::ScalarType dtype :
       {at::kBool, at::kByte, at::kShort, at::kInt, at::kLong, at::kHalf, at::kBFloat16, at::kFloat, at::kDouble}) {
    AddGather(t, calls, {2, 1, 2}, t.Integers({5, 3}, dtype), dtype == at::kFloat || dtype == at::kByte);
  }
  calls.LaunchAndExpect(t);
}

SHARDLAB_CASE(ring, all_gather_late_messages, kRobustness, {4}) {
  Calls calls("ring_all_gather");
  calls.spec.faults = LateMessages(t, 0.004);
  for (int i = 0; i < 3; ++i) AddGather(t, calls, {3, 1, 2, 2}, t.Integers({8, 4}, at::kDouble));
  calls.LaunchAndExpect(t);
}

SHARDLAB_CASE(ring, all_gather_cost, kCost, {1, 2, 3, 4, 7}) {
  Calls calls("ring_all_gather");
  const int64_t ranks = t.ranks();
  const Rows rows = SplitSizes(1000 * ranks + 1, ranks);
  AddGather(t, calls, rows, t.Integers({Total(rows)}, at::kDouble));
  const Run run = calls.LaunchAndExpect(t);
  ExpectRingRounds(t, run, Total(rows) * 8);
  for (int rank = 0; rank < ranks; ++rank) {
    t.ExpectCost("bytes from rank " + std::to_string(rank) + ": the result less its right neighbour's part",
                 run.Cost(rank).bytes_sent, ranks == 1 ? 0 : 8 * (Total(rows) - rows[(rank + 1) % ranks]), "bytes",
                 {{"the whole result travels in every round, not one part", 8.0 * (ranks - 1) * Total(rows)},
                  {"every rank sends its own part in every round", 8.0 * (ranks - 1) * rows[rank]}});
  }
}

// The ring reduce-scatter

namespace {

/// What part `part` of the sum is when only some ranks' summands are in it.
at::Tensor PartOfSum(const Tensors& summands, int part, int without = -1) {
  const int ranks = static_cast<int>(summands.size());
  Tensors parts;
  for (int r = 0; r < ranks; ++r) {
    if (r != without) parts.push_back(RowsOf(summands[r], SplitSizes(summands[r].size(0), ranks), part));
  }
  return SumOf(parts);
}

std::function<Label(int rank)> ReduceScatterMistakes(const Tensors& summands) {
  return [=](int rank) {
    const int ranks = static_cast<int>(summands.size());
    Label label;
    for (const at::Tensor& summand : summands) {
      label.summands.push_back(RowsOf(summand, SplitSizes(summand.size(0), ranks), rank));
    }
    if (ranks < 2) return label;
    const int right = RightOf(rank, ranks);
    label.hypotheses = {
        {"there is one round too few: it is the right neighbour's part, which that rank itself has not added to yet",
         [=] { return PartOfSum(summands, right, right); }},
        {"part c sets out from rank c, and is complete one rank too early: it is the right neighbour's part",
         [=] { return PartOfSum(summands, right); }}};
    return label;
  };
}

void AddReduceScatter(CaseContext& t, Calls& calls, const std::vector<int64_t>& shape, at::ScalarType dtype,
                      bool strided = false) {
  const Tensors summands = t.PerRank([&](int) { return t.Integers(shape, dtype); });
  calls.Add({std::to_string(shape[0]) + " rows of " + DtypeName(dtype) + (strided ? ", non-contiguous" : ""),
             summands,
             AllRowsOf(SumOf(summands), SplitSizes(shape[0], t.ranks())),
             {{"strided", strided}},
             ReduceScatterMistakes(summands)});
}

}  // namespace

SHARDLAB_CASE(ring, reduce_scatter_values, kValue, {1, 2, 3, 4, 5, 7}) {
  Calls calls("ring_reduce_scatter");
  AddReduceScatter(t, calls, {t.ranks(), 4}, at::kDouble);
  AddReduceScatter(t, calls, {2 * t.ranks(), 3}, at::kLong);
  AddReduceScatter(t, calls, {2 * t.ranks(), 3}, at::kLong);
  calls.LaunchAndExpect(t);
}

SHARDLAB_CASE(ring, reduce_scatter_uneven_rows, kValue, {2, 3, 4}) {
  Calls calls("ring_reduce_scatter");
  AddReduceScatter(t, calls, {2 * t.ranks() + 1, 2}, at::kDouble);
  AddReduceScatter(t, calls, {3 * t.ranks() - 1}, at::kFloat);
  AddReduceScatter(t, calls, {1, 4}, at::kDouble);
  AddReduceScatter(t, calls, {0, 4}, at::kDouble);
  AddReduceScatter(t, calls, {t.ranks() + 1, 2, 3}, at::kDouble);
  AddReduceScatter(t, calls, {t.ranks() + 1, 0}, at::kDouble);
  calls.LaunchAndExpect(t);
}

SHARDLAB_CASE(ring, reduce_scatter_dtypes_and_strides, kRobustness, {3}) {
  Calls calls("ring_reduce_scatter");
  for (at::ScalarType dtype :
       {at::kByte, at::kShort, at::kInt, at::kLong, at::kHalf, at::kBFloat16, at::kFloat, at::kDouble}) {
    AddReduceScatter(t, calls, {5, 3}, dtype, dtype == at::kFloat || dtype == at::kByte);
  }
  for (at::ScalarType dtype : {at::kLong, at::kDouble}) {
    const Tensors summands = t.PerRank([&](int) { return LargeIntegers(t, {5, 2}, dtype); });
    calls.Add({"large " + DtypeName(dtype),
               summands,
               AllRowsOf(SumOf(summands), SplitSizes(5, t.ranks())),
               {},
               [=](int rank) {
                 Label label;
                 const Hypothesis rounded = RoundedSum(summands);
                 label.hypotheses = {
                     {rounded.meaning, [=] { return RowsOf(rounded.value(), SplitSizes(5, summands.size()), rank); }}};
                 return label;
               }});
  }
  calls.LaunchAndExpect(t);
}

SHARDLAB_CASE(ring, groups_in_turn, kRobustness, {3}) {
  Calls gather("ring_all_gather"), reduce_scatter("ring_reduce_scatter");
  for (const std::vector<int>& members : GroupsInTurn()) {
    const auto ranks = static_cast<int64_t>(members.size());
    const at::Tensor whole = t.Integers({5, 2}, at::kDouble);
    const Rows rows = SplitSizes(5, ranks);
    Tensors summands;
    for (int64_t r = 0; r < ranks; ++r) summands.push_back(t.Integers({5, 2}, at::kDouble));
    gather.Add(
        InGroup({"5 rows", AllRowsOf(whole, rows), Tensors(ranks, whole), {{"rows", rows}}}, members, t.ranks()));
    reduce_scatter.Add(InGroup({"5 rows", summands, AllRowsOf(SumOf(summands), rows)}, members, t.ranks()));
  }
  gather.LaunchAndExpect(t);
  reduce_scatter.LaunchAndExpect(t);
}

SHARDLAB_CASE(ring, failed_messages_are_reported, kRobustness, {1}) {
  ExpectCommErrors(t, "collectives_fail", {"RingAllGather", "RingReduceScatter"});
}

SHARDLAB_CASE(ring, reduce_scatter_late_messages, kRobustness, {4}) {
  Calls calls("ring_reduce_scatter");
  calls.spec.faults = LateMessages(t, 0.004);
  for (int i = 0; i < 3; ++i) AddReduceScatter(t, calls, {7, 4}, at::kDouble);
  calls.LaunchAndExpect(t);
}

SHARDLAB_CASE(ring, reduce_scatter_cost, kCost, {1, 2, 3, 4, 7}) {
  Calls calls("ring_reduce_scatter");
  const int64_t ranks = t.ranks(), size = 1000 * ranks + 1;
  const Rows rows = SplitSizes(size, ranks);
  AddReduceScatter(t, calls, {size}, at::kDouble);
  const Run run = calls.LaunchAndExpect(t);
  ExpectRingRounds(t, run, size * 8);
  for (int rank = 0; rank < ranks; ++rank) {
    t.ExpectCost("bytes from rank " + std::to_string(rank) + ": the tensor less its own part",
                 run.Cost(rank).bytes_sent, 8 * (size - rows[rank]), "bytes",
                 {{"the whole tensor travels in every round, not one part", 8.0 * (ranks - 1) * size}});
  }
}

}  // namespace shardlab::grade
