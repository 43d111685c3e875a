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
#include "message_steps.hpp"
#include "shardlab/base/split.hpp"

// The all-reduces: what any of them must give, around a ring and by recursive doubling.

namespace shardlab::grade {

namespace {

using Tensors = std::vector<at::Tensor>;

/// The flat chunks of a tensor, as the ring cuts them.
Tensors ChunksOf(const at::Tensor& tensor, int64_t ranks) {
  return tensor.reshape({-1}).split_with_sizes(SplitSizes(tensor.numel(), ranks));
}

/// What a ring leaves behind that does not go round twice, or whose chunks do not meet.
std::vector<Hypothesis> RingMistakes(const at::Tensor& sum, const Tensors& summands, int rank) {
  const int ranks = static_cast<int>(summands.size());
  const Tensors whole = ChunksOf(sum, ranks);
  std::vector<Tensors> own;
  for (const at::Tensor& summand : summands) own.push_back(ChunksOf(summand, ranks));
  const auto joined = [=](const Tensors& chunks) { return at::cat(chunks).reshape(sum.sizes()); };
  const std::string only_one =
      "the all-gather is missing: the reduce-scatter leaves this rank with one chunk of the sum";

  std::vector<Hypothesis> all;
  for (const int mine : {rank, (rank + 1) % ranks}) {
    all.push_back({only_one, [=] { return whole[mine]; }});
    all.push_back({only_one + ", and with its own input elsewhere", [=] {
                     Tensors chunks = own[rank];
                     chunks[mine] = whole[mine];
                     return joined(chunks);
                   }});
    // Chunk c sets out from rank c + 1 (or c), and each rank on its way keeps what it has added.
    all.push_back({only_one + ", and with half-finished sums elsewhere", [=] {
                     Tensors chunks;
                     for (int c = 0; c < ranks; ++c) {
                       const int start = mine == rank ? (c + 1) % ranks : c;
                       Tensors so_far;
                       for (int r = start;; r = (r + 1) % ranks) {
                         so_far.push_back(own[r][c]);
                         if (r == rank) break;
                       }
                       chunks.push_back(SumOf(so_far));
                     }
                     return joined(chunks);
                   }});
    Append(all, PartlyWritten(only_one, sum,
                              [=](const at::Tensor& result) { ChunksOf(result, ranks)[mine].copy_(whole[mine]); }));
  }
  const int64_t left = sum.numel() % ranks;
  if (left > 0) {
    all.push_back({"the elements that T does not divide are left out: the last ones are this rank's own", [=] {
                     const at::Tensor value = sum.reshape({-1}).clone();
                     value.narrow(0, sum.numel() - left, left)
                         .copy_(summands[rank].reshape({-1}).narrow(0, sum.numel() - left, left));
                     return value.reshape(sum.sizes());
                   }});
  }
  return all;
}

/// What recursive doubling gives when ranks beyond the power of two are forgotten, or a round.
std::vector<Hypothesis> DoublingMistakes(const Tensors& summands, int rank) {
  const int ranks = static_cast<int>(summands.size());
  int core = 1;
  while (core * 2 <= ranks) core *= 2;
  const auto sum = [=](const std::function<bool(int)>& counted) {
    Tensors tensors;
    for (int r = 0; r < ranks; ++r) {
      if (counted(r)) tensors.push_back(summands[r]);
    }
    return SumOf(tensors);
  };
  std::vector<Hypothesis> all;
  if (core < ranks) {
    all.push_back({"the extra ranks beyond the power of two are not folded in",
                   [=] { return sum([=](int r) { return r < core; }); }});
    if (rank >= core) {
      all.push_back(
          {"the extra ranks beyond the power of two are not told the result", [=] { return summands[rank]; }});
    }
    return all;
  }
  for (int bit = 1; bit < core; bit *= 2) {
    all.push_back({"the round with the partner whose number differs by " + std::to_string(bit) + " is missing",
                   [=] { return sum([=](int r) { return ((r ^ rank) & bit) == 0; }); }});
  }
  return all;
}

void AddAllReduce(CaseContext& t, Calls& calls, const std::string& what, const std::vector<int64_t>& shape,
                  at::ScalarType dtype, bool strided = false) {
  const Tensors summands = t.PerRank([&](int) { return t.Integers(shape, dtype); });
  const at::Tensor sum = SumOf(summands);
  const bool ring = calls.spec.body == "ring_all_reduce" && t.ranks() > 1;
  calls.Add({what, summands, t.PerRank([&](int) { return sum; }), {{"strided", strided}}, [=](int rank) {
               Label label;
               label.summands = summands;
               if (ring) label.pieces = ChunksOf(sum, static_cast<int64_t>(summands.size()));
               label.hypotheses = ring ? RingMistakes(sum, summands, rank) : DoublingMistakes(summands, rank);
               return label;
             }});
}

void ExpectValues(CaseContext& t, const std::string& body) {
  Calls calls(body);
  AddAllReduce(t, calls, "a 4 x 3 x " + std::to_string(t.ranks()) + " tensor", {4, 3, t.ranks()}, at::kDouble);
  AddAllReduce(t, calls, "one element a rank", {t.ranks()}, at::kDouble);
  AddAllReduce(t, calls, "one element a rank, again", {t.ranks()}, at::kDouble);
  calls.LaunchAndExpect(t);
}

void ExpectAnySize(CaseContext& t, const std::string& body) {
  Calls calls(body);
  AddAllReduce(t, calls, "a 1 x 11 tensor", {1, 11}, at::kDouble);
  AddAllReduce(t, calls, "no element", {3, 0}, at::kDouble);
  AddAllReduce(t, calls, "one number without dimensions", {}, at::kDouble);
  AddAllReduce(t, calls, "2 elements", {2}, at::kDouble);
  AddAllReduce(t, calls, "a 3 x 5 x 7 tensor", {3, 5, 7}, at::kFloat);
  AddAllReduce(t, calls, "10007 elements", {10007}, at::kDouble);
  calls.LaunchAndExpect(t);
}

void ExpectDtypesAndStrides(CaseContext& t, const std::string& body) {
  Calls calls(body);
  for (at::ScalarType dtype :
       {at::kByte, at::kShort, at::kInt, at::kLong, at::kHalf, at::kBFloat16, at::kFloat, at::kDouble}) {
    AddAllReduce(t, calls, "a 3 x 3 tensor of " + DtypeName(dtype), {3, 3}, dtype);
  }
  for (at::ScalarType dtype : {at::kLong, at::kDouble}) {
    const Tensors summands = t.PerRank([&](int) { return LargeIntegers(t, {7}, dtype); });
    const at::Tensor sum = SumOf(summands);
    calls.Add({"7 large " + DtypeName(dtype), summands, t.PerRank([&](int) { return sum; }), {}, [=](int) {
                 Label label;
                 label.hypotheses = {RoundedSum(summands)};
                 return label;
               }});
  }
  AddAllReduce(t, calls, "a non-contiguous 3 x 5 tensor", {3, 5}, at::kDouble, true);
  calls.LaunchAndExpect(t);
}

/// Rounded sums differ with the order of the additions, but not between ranks.
void ExpectSameBits(CaseContext& t, const std::string& body) {
  Calls calls(body);
  const Tensors summands = t.PerRank([&](int) { return t.Normal({101}, at::kFloat); });
  calls.Add({"101 random float32", summands});
  const Run run = t.Launch(calls.spec);
  at::Tensor exact = summands[0].to(at::kDouble), magnitude = exact.abs();
  for (int rank = 1; rank < t.ranks(); ++rank) {
    exact = exact + summands[rank].to(at::kDouble);
    magnitude = magnitude + summands[rank].to(at::kDouble).abs();
  }
  const at::Tensor first = run.Output(0, "y0");
  t.Expect(first.defined() && first.sizes() == exact.sizes() && first.scalar_type() == at::kFloat,
           "the result must have the input's shape and dtype");
  // T - 1 additions, each of them rounded by at most 2^-24 of its result, which no partial sum of magnitudes exceeds.
  const at::Tensor allowed = magnitude * (t.ranks() * 6e-8);
  t.Expect(((first.to(at::kDouble) - exact).abs() <= allowed).all().item<bool>(),
           "the sum of random float32 numbers is further from the exact one than rounding explains");
  for (int rank = 1; rank < t.ranks(); ++rank) {
    t.ExpectEqual(run, rank, "y0", first,
                  Label{"the sum of random float32 numbers, which must have rank 0's bits", {}});
  }
}

void ExpectLateMessagesDoNotMatter(CaseContext& t, const std::string& body) {
  Calls calls(body);
  calls.spec.faults = LateMessages(t, 0.004);
  for (int i = 0; i < 3; ++i) AddAllReduce(t, calls, "messages that are late", {13}, at::kDouble);
  calls.LaunchAndExpect(t);
}

void ExpectGroupsInTurn(CaseContext& t, const std::string& body) {
  Calls calls(body);
  for (const std::vector<int>& members : GroupsInTurn()) {
    Tensors summands;
    for (size_t r = 0; r < members.size(); ++r) summands.push_back(t.Integers({7}, at::kDouble));
    const Tensors sums(members.size(), SumOf(summands));
    calls.Add(InGroup({"7 elements", summands, sums}, members, t.ranks()));
  }
  calls.LaunchAndExpect(t);
}

void ExpectRingTotals(CaseContext& t, const Run& run, int64_t bytes) {
  const int64_t ranks = t.ranks();
  const auto one_way = static_cast<double>(ranks - 1), all = static_cast<double>(ranks),
             size = static_cast<double>(bytes);
  Costs costs;
  costs.Add("bytes in all: 2(T - 1) * S", static_cast<double>(run.TotalCost().bytes_sent), 2 * one_way * size, "bytes");
  costs.Add("rounds: 2(T - 1)", static_cast<double>(run.TotalCost().rounds), 2 * one_way, "rounds");
  costs.Add("messages in all: 2T(T - 1)", static_cast<double>(run.TotalCost().messages), 2 * all * one_way, "messages");
  const auto log = static_cast<double>(CeilLog2(ranks));
  costs.Expect(
      t,
      {{"every rank's whole tensor travels to every other rank, all at once", {all * one_way * size, 1, all * one_way}},
       {"every rank's whole tensor travels to every other rank, around a ring",
        {all * one_way * size, one_way, all * one_way}},
       {"the sum is made on one rank along a tree, and sent back along a tree",
        {2 * one_way * size, 2 * log, 2 * one_way}},
       {"every rank sends its tensor to one rank, and is sent the sum", {2 * one_way * size, kAny, 2 * one_way}},
       {"whole tensors are exchanged between partners, as in recursive doubling", {all * log * size, log, all * log}},
       {"the numbers travel in a type of half the size", {one_way * size, 2 * one_way, 2 * all * one_way}},
       {"whole tensors travel in every round, not chunks", {2 * all * one_way * size, 2 * one_way, 2 * all * one_way}},
       {"each of the two trips has one round too many", {2 * all * size, 2 * all, 2 * all * all}},
       {"chunks go to every rank directly, and not around a ring", {2 * one_way * size, 2, 2 * all * one_way}}});
}

}  // namespace

SHARDLAB_CASE(allreduce, values, kValue, {1, 2, 3, 4, 5, 7}) { ExpectValues(t, "ring_all_reduce"); }
SHARDLAB_CASE(allreduce, any_size, kValue, {2, 3, 4}) { ExpectAnySize(t, "ring_all_reduce"); }
SHARDLAB_CASE(allreduce, dtypes_and_strides, kRobustness, {3}) { ExpectDtypesAndStrides(t, "ring_all_reduce"); }
SHARDLAB_CASE(allreduce, same_bits_on_every_rank, kValue, {4, 5}) { ExpectSameBits(t, "ring_all_reduce"); }
SHARDLAB_CASE(allreduce, late_messages, kRobustness, {4}) { ExpectLateMessagesDoNotMatter(t, "ring_all_reduce"); }

SHARDLAB_CASE(allreduce, groups_in_turn, kRobustness, {3}) { ExpectGroupsInTurn(t, "ring_all_reduce"); }
SHARDLAB_CASE(allreduce, failed_messages_are_reported, kRobustness, {1}) {
  ExpectCommErrors(t, "collectives_fail", {"RingAllReduce"});
}

SHARDLAB_CASE(allreduce, cost, kCost, {1, 2, 3, 4, 5, 7}) {
  Calls calls("ring_all_reduce");
  const int64_t ranks = t.ranks(), bytes = 840 * 8;  // 840 = 8 * 3 * 5 * 7: every number of ranks here divides it
  AddAllReduce(t, calls, "840 elements", {7, 120}, at::kDouble);
  const Run run = calls.LaunchAndExpect(t);
  ExpectRingTotals(t, run, bytes);
  for (int rank = 0; rank < ranks; ++rank) {
    t.ExpectCost("bytes from rank " + std::to_string(rank) + ": 2(T - 1)/T * S", run.Cost(rank).bytes_sent,
                 2 * (ranks - 1) * bytes / ranks, "bytes");
  }
}

SHARDLAB_CASE(allreduce, cost_of_uneven_chunks, kCost, {3, 4}) {
  Calls calls("ring_all_reduce");
  const int64_t ranks = t.ranks(), size = 100 * ranks + ranks - 1, bytes = size * 8;
  AddAllReduce(t, calls, std::to_string(size) + " elements", {1, size}, at::kDouble);
  const Run run = calls.LaunchAndExpect(t);
  ExpectRingTotals(t, run, bytes);
  for (int rank = 0; rank < ranks; ++rank) {
    // All chunks but the last have one element more: two different ones are at most 2 * 101, at least 101 + 100
    // elements.
    const int64_t sent = run.Cost(rank).bytes_sent;
    const std::string from = "bytes from rank " + std::to_string(rank) + ": 2S less two of its chunks";
    if (sent != 2 * bytes - (101 + 100) * 8) t.ExpectCost(from, sent, 2 * bytes - (101 + 101) * 8, "bytes");
  }
}

SHARDLAB_CASE(doubling, values, kValue, {1, 2, 3, 4, 5, 7, 8}) { ExpectValues(t, "recursive_doubling"); }
SHARDLAB_CASE(doubling, any_size, kValue, {2, 3}) { ExpectAnySize(t, "recursive_doubling"); }
SHARDLAB_CASE(doubling, dtypes_and_strides, kRobustness, {3}) { ExpectDtypesAndStrides(t, "recursive_doubling"); }
SHARDLAB_CASE(doubling, same_bits_on_every_rank, kValue, {4, 5}) { ExpectSameBits(t, "recursive_doubling"); }
SHARDLAB_CASE(doubling, late_messages, kRobustness, {5}) { ExpectLateMessagesDoNotMatter(t, "recursive_doubling"); }

SHARDLAB_CASE(doubling, groups_in_turn, kRobustness, {3}) { ExpectGroupsInTurn(t, "recursive_doubling"); }
SHARDLAB_CASE(doubling, failed_messages_are_reported, kRobustness, {1}) {
  ExpectCommErrors(t, "collectives_fail", {"RecursiveDoublingAllReduce"});
}

SHARDLAB_CASE(doubling, cost, kCost, {1, 2, 3, 4, 5, 6, 8}) {
  Calls calls("recursive_doubling");
  const int64_t ranks = t.ranks();
  AddAllReduce(t, calls, "a 10 x 11 tensor", {10, 11}, at::kDouble);
  const Run run = calls.LaunchAndExpect(t);
  int64_t log = 0;
  while ((int64_t{2} << log) <= ranks) ++log;
  const int64_t core = int64_t{1} << log;
  const bool power_of_two = core == ranks;
  const double size = 110 * 8, one_way = static_cast<double>(ranks - 1), all = static_cast<double>(ranks);
  const double messages = static_cast<double>(core * log + 2 * (ranks - core));
  Costs costs;
  costs.Add(power_of_two ? "bytes in all: T * log2 T * S" : "bytes in all: (P * log2 P + 2(T - P)) * S",
            static_cast<double>(run.TotalCost().bytes_sent), messages * size, "bytes");
  costs.Add(power_of_two ? "rounds: log2 T" : "rounds: floor(log2 T) + 2", static_cast<double>(run.TotalCost().rounds),
            static_cast<double>(power_of_two ? log : log + 2), "rounds");
  costs.Add(power_of_two ? "messages in all: T * log2 T" : "messages in all: P * log2 P + 2(T - P)",
            static_cast<double>(run.TotalCost().messages), messages, "messages");
  const auto depth = static_cast<double>(CeilLog2(ranks));
  costs.Expect(
      t, {{"the chunks of a ring travel, and not whole tensors", {2 * one_way * size, 2 * one_way, 2 * all * one_way}},
          {"the partners take turns: one sends and then receives, the other the other way round",
           {messages * size, static_cast<double>(2 * log), messages}},
          {"the sum is made on one rank along a tree, and sent back along a tree",
           {2 * one_way * size, 2 * depth, 2 * one_way}},
          {"every rank's tensor travels to every other rank", {all * one_way * size, kAny, all * one_way}}});
}

// Where a round costs 10 us and a rank sends 1 GB a second: the size from which on the ring's fewer bytes are worth more
// than its rounds cost.
SHARDLAB_CASE(doubling, where_the_ring_is_better, kCost, {8}) {
  constexpr double kRoundSeconds = 10e-6, kBytesASecond = 1e9, kBytes = 110 * 8;
  Calls calls("recursive_doubling");
  AddAllReduce(t, calls, "a 10 x 11 tensor", {10, 11}, at::kDouble);
  const Run run = calls.LaunchAndExpect(t);
  const double ranks = t.ranks();
  const auto as_fast_as_the_ring = [&](double rounds, double bytes_of_all) {
    const double bytes_saved = bytes_of_all / (ranks * kBytes) - 2 * (ranks - 1) / ranks;
    return (2 * (ranks - 1) - rounds) * kRoundSeconds * kBytesASecond / bytes_saved;
  };
  t.ExpectCost(
      "bytes of the tensor for which the ring takes as long",
      as_fast_as_the_ring(static_cast<double>(run.TotalCost().rounds), static_cast<double>(run.TotalCost().bytes_sent)),
      as_fast_as_the_ring(3, ranks * 3 * kBytes), "bytes");
}

}  // namespace shardlab::grade
