#include <ATen/ATen.h>

#include <functional>
#include <string>
#include <vector>

#include "case_util.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/grade/hypotheses.hpp"
#include "shardlab/grade/referee.hpp"

// The rings, and the two all-reduces. Any algorithm that gives the right values passes the value cases; the cost cases
// ask for the algorithm that the part is about.

namespace shardlab::grade {
namespace {

using Tensors = std::vector<at::Tensor>;
using Rows = std::vector<int64_t>;

Tensors Everywhere(CaseContext& t, const at::Tensor& value) {
  return t.PerRank([&](int) { return value; });
}

Tensors Parts(CaseContext& t, const at::Tensor& whole, const Rows& rows) {
  return t.PerRank([&](int rank) { return RowsOf(whole, rows, rank); });
}

Tensors Summands(CaseContext& t, const std::vector<int64_t>& shape, at::ScalarType dtype) {
  return t.PerRank([&](int) { return t.Integers(shape, dtype); });
}

int64_t Total(const Rows& rows) {
  int64_t total = 0;
  for (int64_t count : rows) total += count;
  return total;
}

std::string Text(const Rows& rows) {
  std::string text = "rows {";
  for (size_t i = 0; i < rows.size(); ++i) text += (i ? ", " : "") + std::to_string(rows[i]);
  return text + "}";
}

int Around(int rank, int ranks) { return (rank + ranks) % ranks; }

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
        all_but(Around(rank + 1, ranks), "there is one round too few: the right neighbour's part is still on its way");
    Append(label.hypotheses, all_but(rank, "this rank's own part is not copied into the result"));
    Append(label.hypotheses,
           PartlyWritten("this rank's own part is all that there is", whole, [=](const at::Tensor& result) {
             int64_t begin = 0;
             for (int r = 0; r < rank; ++r) begin += parts[r].size(0);
             result.narrow(0, begin, parts[rank].size(0)).copy_(parts[rank]);
           }));
    label.hypotheses.push_back(
        {"every rank sends its own part in every round, instead of what came in the round before", [=] {
           Tensors came(ranks, parts[Around(rank - 1, ranks)]);
           came[rank] = parts[rank];
           return at::cat(came);
         }});
    return label;
  };
}

struct Gathered {
  Calls calls{"ring_all_gather"};
  Tensors expected;

  void Add(CaseContext& t, const Rows& rows, const at::Tensor& whole, bool strided = false) {
    const Tensors parts = Parts(t, whole, rows);
    const int call = calls.Add(DtypeName(whole.scalar_type()) + (strided ? ", non-contiguous, " : ", ") + Text(rows),
                               parts, {{"rows", rows}, {"strided", strided}});
    calls.Explain(call, AllGatherMistakes(whole, parts));
    expected.push_back(whole);
  }

  Run LaunchAndExpect(CaseContext& t) {
    Run run = t.Launch(calls.spec);
    for (size_t i = 0; i < expected.size(); ++i) calls.Expect(t, run, i, Everywhere(t, expected[i]));
    return run;
  }
};

/// T - 1 rounds around a ring, a message a rank and round.
void ExpectRingRounds(CaseContext& t, const Run& run) {
  const int64_t ranks = t.ranks();
  t.ExpectCost("rounds: T - 1", run.TotalCost().rounds, ranks - 1, "rounds",
               {{"every part goes to every rank directly, and not around the ring", 1},
                {"there is one round too many", static_cast<double>(ranks)}});
  t.ExpectCost("messages in all: T(T - 1)", run.TotalCost().messages, ranks * (ranks - 1), "messages",
               {{"there is one round too many", static_cast<double>(ranks * ranks)}});
}

}  // namespace

SHARDLAB_CASE(ring, all_gather_values, kValue, {1, 2, 3, 4, 5, 7}) {
  Gathered gathered;
  gathered.Add(t, Rows(t.ranks(), 1), t.Integers({t.ranks(), 4}, at::kDouble));
  gathered.Add(t, Rows(t.ranks(), 2), t.Integers({2 * t.ranks(), 3}, at::kLong));
  gathered.LaunchAndExpect(t);
}

SHARDLAB_CASE(ring, all_gather_uneven_rows, kValue, {2, 3, 4}) {
  Gathered gathered;
  Rows growing, gaps;
  for (int rank = 0; rank < t.ranks(); ++rank) {
    growing.push_back(1 + rank);
    gaps.push_back(rank == 1 ? 3 : 0);
  }
  gathered.Add(t, growing, t.Integers({Total(growing), 2}, at::kDouble));
  gathered.Add(t, SplitSizes(t.ranks() + 1, t.ranks()), t.Integers({t.ranks() + 1}, at::kFloat));
  gathered.Add(t, gaps, t.Integers({3, 2, 2}, at::kDouble));
  gathered.Add(t, Rows(t.ranks(), 0), t.Integers({0, 5}, at::kDouble));
  gathered.LaunchAndExpect(t);
}

SHARDLAB_CASE(ring, all_gather_dtypes_and_strides, kRobustness, {3}) {
  Gathered gathered;
  for (at::ScalarType dtype : {at::kBool, at::kByte, at::kInt, at::kLong, at::kHalf, at::kFloat, at::kDouble}) {
    gathered.Add(t, {2, 1, 2}, t.Integers({5, 3}, dtype), dtype == at::kFloat || dtype == at::kByte);
  }
  gathered.LaunchAndExpect(t);
}

SHARDLAB_CASE(ring, all_gather_late_messages, kRobustness, {4}) {
  Gathered gathered;
  gathered.calls.spec.faults.jitter_s = 0.004;
  gathered.calls.spec.faults.seed = t.seed();
  for (int i = 0; i < 3; ++i) gathered.Add(t, {3, 1, 2, 2}, t.Integers({8, 4}, at::kDouble));
  gathered.LaunchAndExpect(t);
}

SHARDLAB_CASE(ring, all_gather_cost, kCost, {1, 2, 3, 4, 7}) {
  Gathered gathered;
  const int64_t ranks = t.ranks();
  const Rows rows = SplitSizes(1000 * ranks + 1, ranks);
  gathered.Add(t, rows, t.Integers({Total(rows)}, at::kDouble));
  const Run run = gathered.LaunchAndExpect(t);
  ExpectRingRounds(t, run);
  for (int rank = 0; rank < ranks; ++rank) {
    t.ExpectCost("bytes from rank " + std::to_string(rank) + ": the result less its right neighbour's part",
                 run.Cost(rank).bytes_sent, ranks == 1 ? 0 : 8 * (Total(rows) - rows[(rank + 1) % ranks]), "bytes",
                 {{"the whole result travels in every round, not one part", 8.0 * (ranks - 1) * Total(rows)},
                  {"every rank sends its own part in every round", 8.0 * (ranks - 1) * rows[rank]}});
  }
  t.ExpectCost("bytes in all: (T - 1) * S", run.TotalCost().bytes_sent, (ranks - 1) * Total(rows) * 8, "bytes");
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
    const int right = Around(rank + 1, ranks);
    label.hypotheses = {
        {"there is one round too few: it is the right neighbour's part, which that rank itself has not added to yet",
         [=] { return PartOfSum(summands, right, right); }},
        {"part c sets out from rank c, and is complete one rank too early: it is the right neighbour's part",
         [=] { return PartOfSum(summands, right); }}};
    return label;
  };
}

struct Reduced {
  Calls calls{"ring_reduce_scatter"};
  std::vector<Tensors> expected;

  void Add(CaseContext& t, const std::vector<int64_t>& shape, at::ScalarType dtype, bool strided = false) {
    const Tensors summands = Summands(t, shape, dtype);
    const int call =
        calls.Add(std::to_string(shape[0]) + " rows of " + DtypeName(dtype) + (strided ? ", non-contiguous" : ""),
                  summands, {{"strided", strided}});
    calls.Explain(call, ReduceScatterMistakes(summands));
    expected.push_back(Parts(t, SumOf(summands), SplitSizes(shape[0], t.ranks())));
  }

  Run LaunchAndExpect(CaseContext& t) {
    Run run = t.Launch(calls.spec);
    for (size_t i = 0; i < expected.size(); ++i) calls.Expect(t, run, i, expected[i]);
    return run;
  }
};

}  // namespace

SHARDLAB_CASE(ring, reduce_scatter_values, kValue, {1, 2, 3, 4, 5, 7}) {
  Reduced reduced;
  reduced.Add(t, {t.ranks(), 4}, at::kDouble);
  reduced.Add(t, {2 * t.ranks(), 3}, at::kLong);
  reduced.LaunchAndExpect(t);
}

SHARDLAB_CASE(ring, reduce_scatter_uneven_rows, kValue, {2, 3, 4}) {
  Reduced reduced;
  reduced.Add(t, {2 * t.ranks() + 1, 2}, at::kDouble);
  reduced.Add(t, {3 * t.ranks() - 1}, at::kFloat);
  reduced.Add(t, {1, 4}, at::kDouble);
  reduced.Add(t, {0, 4}, at::kDouble);
  reduced.LaunchAndExpect(t);
}

SHARDLAB_CASE(ring, reduce_scatter_dtypes_and_strides, kRobustness, {3}) {
  Reduced reduced;
  for (at::ScalarType dtype : {at::kByte, at::kInt, at::kLong, at::kHalf, at::kFloat, at::kDouble}) {
    reduced.Add(t, {5, 3}, dtype, dtype == at::kFloat || dtype == at::kByte);
  }
  reduced.LaunchAndExpect(t);
}

SHARDLAB_CASE(ring, reduce_scatter_late_messages, kRobustness, {4}) {
  Reduced reduced;
  reduced.calls.spec.faults.jitter_s = 0.004;
  reduced.calls.spec.faults.seed = t.seed();
  for (int i = 0; i < 3; ++i) reduced.Add(t, {7, 4}, at::kDouble);
  reduced.LaunchAndExpect(t);
}

SHARDLAB_CASE(ring, reduce_scatter_cost, kCost, {1, 2, 3, 4, 7}) {
  Reduced reduced;
  const int64_t ranks = t.ranks(), size = 1000 * ranks + 1;
  const Rows rows = SplitSizes(size, ranks);
  reduced.Add(t, {size}, at::kDouble);
  const Run run = reduced.LaunchAndExpect(t);
  ExpectRingRounds(t, run);
  for (int rank = 0; rank < ranks; ++rank) {
    t.ExpectCost("bytes from rank " + std::to_string(rank) + ": the tensor less its own part",
                 run.Cost(rank).bytes_sent, 8 * (size - rows[rank]), "bytes",
                 {{"the whole tensor travels in every round, not one part", 8.0 * (ranks - 1) * size}});
  }
  t.ExpectCost("bytes in all: (T - 1) * S", run.TotalCost().bytes_sent, (ranks - 1) * size * 8, "bytes");
}

// All-reduces: what any of them must give

namespace {

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
  for (const int mine : {rank, Around(rank + 1, ranks)}) {
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
                       const int start = mine == rank ? Around(c + 1, ranks) : c;
                       Tensors so_far;
                       for (int r = start;; r = Around(r + 1, ranks)) {
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

struct AllReduced {
  explicit AllReduced(const std::string& body) : calls(body), ring(body == "ring_all_reduce") {}

  Calls calls;
  bool ring;
  Tensors expected;

  void Add(CaseContext& t, const std::string& what, const std::vector<int64_t>& shape, at::ScalarType dtype,
           bool strided = false) {
    const Tensors summands = Summands(t, shape, dtype);
    const at::Tensor sum = SumOf(summands);
    const bool is_ring = ring && t.ranks() > 1;
    calls.Explain(calls.Add(what, summands, {{"strided", strided}}), [=](int rank) {
      Label label;
      label.summands = summands;
      if (is_ring) label.pieces = ChunksOf(sum, static_cast<int64_t>(summands.size()));
      label.hypotheses = is_ring ? RingMistakes(sum, summands, rank) : DoublingMistakes(summands, rank);
      return label;
    });
    expected.push_back(sum);
  }

  Run LaunchAndExpect(CaseContext& t) {
    Run run = t.Launch(calls.spec);
    for (size_t i = 0; i < expected.size(); ++i) calls.Expect(t, run, i, Everywhere(t, expected[i]));
    return run;
  }
};

void ExpectValues(CaseContext& t, const std::string& body) {
  AllReduced reduced(body);
  reduced.Add(t, "a 4 x 3 x " + std::to_string(t.ranks()) + " tensor", {4, 3, t.ranks()}, at::kDouble);
  reduced.Add(t, "one element a rank", {t.ranks()}, at::kDouble);
  reduced.LaunchAndExpect(t);
}

void ExpectAnySize(CaseContext& t, const std::string& body) {
  AllReduced reduced(body);
  reduced.Add(t, "a 1 x 11 tensor", {1, 11}, at::kDouble);
  reduced.Add(t, "no element", {3, 0}, at::kDouble);
  reduced.Add(t, "one number without dimensions", {}, at::kDouble);
  reduced.Add(t, "2 elements", {2}, at::kDouble);
  reduced.Add(t, "a 3 x 5 x 7 tensor", {3, 5, 7}, at::kFloat);
  reduced.Add(t, "10007 elements", {10007}, at::kDouble);
  reduced.LaunchAndExpect(t);
}

void ExpectDtypesAndStrides(CaseContext& t, const std::string& body) {
  AllReduced reduced(body);
  for (at::ScalarType dtype : {at::kByte, at::kInt, at::kLong, at::kHalf, at::kFloat, at::kDouble}) {
    reduced.Add(t, "a 3 x 3 tensor of " + DtypeName(dtype), {3, 3}, dtype);
  }
  reduced.Add(t, "a non-contiguous 3 x 5 tensor", {3, 5}, at::kDouble, true);
  reduced.LaunchAndExpect(t);
}

/// Rounded sums differ with the order of the additions, but not between ranks.
void ExpectSameBits(CaseContext& t, const std::string& body) {
  Calls calls(body);
  const Tensors summands = t.PerRank([&](int) { return t.Normal({101}, at::kFloat); });
  calls.Add("101 random float32", summands);
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
  AllReduced reduced(body);
  reduced.calls.spec.faults.jitter_s = 0.004;
  reduced.calls.spec.faults.seed = t.seed();
  for (int i = 0; i < 3; ++i) reduced.Add(t, "messages that are late", {13}, at::kDouble);
  reduced.LaunchAndExpect(t);
}

void ExpectRingTotals(CaseContext& t, const Run& run, int64_t bytes) {
  const int64_t ranks = t.ranks();
  t.ExpectCost(
      "bytes in all: 2(T - 1) * S", run.TotalCost().bytes_sent, 2 * (ranks - 1) * bytes, "bytes",
      {{"every rank's whole tensor travels to every other rank", static_cast<double>(ranks * (ranks - 1) * bytes)},
       {"the numbers travel in a type of half the size", static_cast<double>((ranks - 1) * bytes)},
       {"whole tensors travel in every round, not chunks", static_cast<double>(2 * ranks * (ranks - 1) * bytes)},
       {"each of the two trips has one round too many", static_cast<double>(2 * ranks * bytes)}});
  t.ExpectCost(
      "rounds: 2(T - 1)", run.TotalCost().rounds, 2 * (ranks - 1), "rounds",
      {{"the sum is made on one rank along a tree, and sent back along a tree",
        static_cast<double>(2 * CeilLog2(ranks))},
       {"everything is sent to everybody: one trip, and every rank adds up for itself", static_cast<double>(ranks - 1)},
       {"each of the two trips has one round too many", static_cast<double>(2 * ranks)}});
}

}  // namespace

SHARDLAB_CASE(allreduce, values, kValue, {1, 2, 3, 4, 5, 7}) { ExpectValues(t, "ring_all_reduce"); }
SHARDLAB_CASE(allreduce, any_size, kValue, {2, 3, 4}) { ExpectAnySize(t, "ring_all_reduce"); }
SHARDLAB_CASE(allreduce, dtypes_and_strides, kRobustness, {3}) { ExpectDtypesAndStrides(t, "ring_all_reduce"); }
SHARDLAB_CASE(allreduce, same_bits_on_every_rank, kValue, {4, 5}) { ExpectSameBits(t, "ring_all_reduce"); }
SHARDLAB_CASE(allreduce, late_messages, kRobustness, {4}) { ExpectLateMessagesDoNotMatter(t, "ring_all_reduce"); }

SHARDLAB_CASE(allreduce, cost, kCost, {1, 2, 3, 4, 5, 7}) {
  AllReduced reduced("ring_all_reduce");
  const int64_t ranks = t.ranks(), bytes = 840 * 8;  // 840 = 8 * 3 * 5 * 7: every number of ranks here divides it
  reduced.Add(t, "840 elements", {7, 120}, at::kDouble);
  const Run run = reduced.LaunchAndExpect(t);
  ExpectRingTotals(t, run, bytes);
  for (int rank = 0; rank < ranks; ++rank) {
    t.ExpectCost("bytes from rank " + std::to_string(rank) + ": 2(T - 1)/T * S", run.Cost(rank).bytes_sent,
                 2 * (ranks - 1) * bytes / ranks, "bytes");
  }
}

SHARDLAB_CASE(allreduce, cost_of_uneven_chunks, kCost, {3, 4}) {
  AllReduced reduced("ring_all_reduce");
  const int64_t ranks = t.ranks(), size = 100 * ranks + ranks - 1, bytes = size * 8;
  reduced.Add(t, std::to_string(size) + " elements", {1, size}, at::kDouble);
  const Run run = reduced.LaunchAndExpect(t);
  ExpectRingTotals(t, run, bytes);
  t.ExpectCost("messages in all: 2T(T - 1)", run.TotalCost().messages, 2 * ranks * (ranks - 1), "messages");
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

SHARDLAB_CASE(doubling, cost, kCost, {1, 2, 3, 4, 5, 6, 8}) {
  AllReduced reduced("recursive_doubling");
  const int64_t ranks = t.ranks();
  reduced.Add(t, "a 10 x 11 tensor", {10, 11}, at::kDouble);
  const Run run = reduced.LaunchAndExpect(t);
  int64_t log = 0;
  while ((int64_t{2} << log) <= ranks) ++log;
  const int64_t core = int64_t{1} << log;
  const bool power_of_two = core == ranks;
  t.ExpectCost(power_of_two ? "bytes in all: T * log2 T * S" : "bytes in all: (P * log2 P + 2(T - P)) * S",
               run.TotalCost().bytes_sent, (core * log + 2 * (ranks - core)) * 110 * 8, "bytes",
               {{"the ring's chunks travel, and not whole tensors", 2.0 * (ranks - 1) * 110 * 8},
                {"every rank's tensor travels to every other rank", 1.0 * ranks * (ranks - 1) * 110 * 8}});
  t.ExpectCost(power_of_two ? "rounds: log2 T" : "rounds: floor(log2 T) + 2", run.TotalCost().rounds,
               power_of_two ? log : log + 2, "rounds", {{"the messages go round a ring", 2.0 * (ranks - 1)}});
}

}  // namespace shardlab::grade
