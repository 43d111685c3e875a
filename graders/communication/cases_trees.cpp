#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "kit/calls.hpp"
#include "kit/costs.hpp"
#include "kit/hypotheses.hpp"
#include "kit/parts.hpp"
#include "kit/traffic.hpp"
#include "kit/words.hpp"
#include "message_steps.hpp"
#include "shardlab/base/split.hpp"

// Broadcast, reduce, scatter and gather. Any algorithm that gives the right values passes the value cases; the cost
// cases ask for the trees.

namespace shardlab::grade {
namespace {

using Tensors = std::vector<at::Tensor>;
using Rows = std::vector<int64_t>;

std::string RootIs(int root) { return "root " + std::to_string(root); }

/// What one rank has, `owner`, and elsewhere tensors of the same shape whose values do not matter.
Tensors OnlyOn(CaseContext& t, int owner, const at::Tensor& value) {
  return t.PerRank(
      [&](int rank) { return rank == owner ? value : t.Integers(value.sizes().vec(), value.scalar_type()); });
}

Tensors OnlyRoot(CaseContext& t, int root, const at::Tensor& value) {
  return t.PerRank([&](int rank) { return rank == root ? value : at::Tensor(); });
}

/// A broadcast whose source is wrong.
std::function<Label(int rank)> BroadcastMistakes(int root, const Tensors& inputs) {
  return [=](int rank) {
    Label label;
    for (int source = 0; source < static_cast<int>(inputs.size()); ++source) {
      if (source == root) continue;
      std::string meaning = "the tensor of rank " + std::to_string(source) + " is sent, and not the root's";
      if (source == 0) meaning = "rank 0's tensor is sent, whatever the root is";
      if (source == rank) meaning = "this rank returns its own tensor: nothing that comes from the root is kept";
      if (source == rank && rank == 0) meaning = "rank 0 keeps its own tensor, as if it were the root";
      label.hypotheses.push_back({meaning, [=] { return inputs[source]; }});
    }
    return label;
  };
}

/// A reduction that leaves a step of the tree out, or more.
std::function<Label(int rank)> ReduceMistakes(int root, const Tensors& summands) {
  return [=](int) {
    Label label;
    label.summands = summands;
    const int ranks = static_cast<int>(summands.size());
    for (int bit = 1; bit < ranks; bit *= 2) {
      label.hypotheses.push_back({"the step in which ranks meet that are " + std::to_string(bit) +
                                      " apart (counted from the root) does not take place",
                                  [=] {
                                    Tensors counted;
                                    for (int v = 0; v < ranks; ++v) {
                                      if ((v & bit) == 0) counted.push_back(summands[(v + root) % ranks]);
                                    }
                                    return SumOf(counted);
                                  }});
    }
    return label;
  };
}

/// Rows that are dealt out in another way than `rows` says.
std::function<Label(int rank)> ScatterMistakes(const at::Tensor& whole, int ranks) {
  return [=](int rank) {
    Label label;
    label.hypotheses.push_back({"the rows are divided evenly, and `rows` is not looked at",
                                [=] { return RowsOf(whole, SplitSizes(whole.size(0), ranks), rank); }});
    return label;
  };
}

/// Parts that are put together in a wrong way.
std::function<Label(int rank)> GatherMistakes(const at::Tensor& whole, const Tensors& parts) {
  return [=](int rank) {
    Label label;
    label.pieces = parts;
    label.hypotheses =
        PartlyWritten("every part is put at the top, over the one before", whole, [=](const at::Tensor& result) {
          for (const at::Tensor& part : parts) result.narrow(0, 0, part.size(0)).copy_(part);
        });
    Append(label.hypotheses, PartlyWritten("the root's own part is not copied", whole, [=](const at::Tensor& result) {
             int64_t begin = 0;
             for (int r = 0; r < static_cast<int>(parts.size()); ++r) {
               if (r != rank) result.narrow(0, begin, parts[r].size(0)).copy_(parts[r]);
               begin += parts[r].size(0);
             }
           }));
    return label;
  };
}

/// The most messages that one rank sends, or that one receives.
int64_t MostOfOneRank(const Run& run) {
  std::map<std::pair<int, OpKind>, int64_t> counts;
  int64_t most = 0;
  for (const Event& event : run.outcome.events) {
    const bool message = event.record.op == OpKind::kSend || event.record.op == OpKind::kRecv;
    if (event.record.kind == RecordKind::kPost && message) {
      most = std::max(most, ++counts[{event.rank, event.record.op}]);
    }
  }
  return most;
}

/// What the root does with every rank itself.
std::vector<PlannedMessage> WithoutATree(int ranks, int64_t bytes, bool broadcast) {
  std::vector<PlannedMessage> all;
  for (int rank = 1; rank < ranks; ++rank) {
    all.push_back(broadcast ? PlannedMessage{0, rank, bytes} : PlannedMessage{rank, 0, bytes});
  }
  return all;
}

/// From rank to rank.
std::vector<PlannedMessage> Chain(int ranks, int64_t bytes, bool broadcast) {
  std::vector<PlannedMessage> all;
  for (int rank = 1; rank < ranks; ++rank) {
    all.push_back(broadcast ? PlannedMessage{rank - 1, rank, bytes, rank}
                            : PlannedMessage{ranks - rank, ranks - rank - 1, bytes, rank});
  }
  return all;
}

/// A broadcast along the tree in which v is number v - lowest 1's child, and whoever has it serves the child with the
/// smallest subtree first.
void ServeSmallestFirst(int v, int lowest, int ranks, int64_t bytes, std::vector<PlannedMessage>* all) {
  for (int bit = 1; bit < lowest; bit *= 2) {
    if (v + bit < ranks) all->push_back({v, v + bit, bytes});
  }
  for (int bit = 1; bit < lowest; bit *= 2) {
    if (v + bit < ranks) ServeSmallestFirst(v + bit, bit, ranks, bytes, all);
  }
}

/// The children of `v` are received from in the wrong order: the one with the largest subtree first.
void AwaitLargestFirst(int v, int lowest, int ranks, int64_t bytes, std::vector<PlannedMessage>* all) {
  for (int bit = lowest / 2; bit >= 1; bit /= 2) {
    if (v + bit >= ranks) continue;
    AwaitLargestFirst(v + bit, bit, ranks, bytes, all);
    all->push_back({v + bit, v, bytes});
  }
}

/// A tree's cost, as broadcast and reduce share it.
void ExpectTreeCost(CaseContext& t, const Run& run, int64_t bytes, bool broadcast) {
  const int64_t messages = t.ranks() - 1;
  Costs costs;
  costs.Add("steps, when every rank sends and receives one message at a time: ceil(log2 T)",
            static_cast<double>(OneAtATimeSteps(run.outcome)), static_cast<double>(CeilLog2(t.ranks())), "steps");
  costs.Add("messages in all: T - 1", static_cast<double>(run.TotalCost().messages), static_cast<double>(messages),
            "messages");
  costs.Add("bytes in all: (T - 1) * S", static_cast<double>(run.TotalCost().bytes_sent),
            static_cast<double>(messages * bytes), "bytes");
  costs.AddToTell(static_cast<double>(MostOfOneRank(run)));
  const auto figures = [](const std::vector<PlannedMessage>& program) {
    std::map<std::pair<int, bool>, double> counts;
    double most = 0;
    for (const PlannedMessage& message : program) {
      most = std::max({most, ++counts[{message.from, true}], ++counts[{message.to, false}]});
    }
    return std::vector<double>{StepsOf(program), MessagesOf(program), BytesOf(program), most};
  };
  int above = 1;
  while (above < t.ranks()) above *= 2;
  std::vector<PlannedMessage> wrong_order;
  if (broadcast) ServeSmallestFirst(0, above, t.ranks(), bytes, &wrong_order);
  if (!broadcast) AwaitLargestFirst(0, above, t.ranks(), bytes, &wrong_order);
  const std::string verb = broadcast ? "sends to" : "receives from";
  costs.Expect(
      t, {{broadcast ? "every rank serves its children in the wrong order, the smallest subtree first: the largest one "
                       "has most to do yet"
                     : "every rank takes its children in the wrong order, the largest subtree first: the smallest one "
                       "is done first",
           figures(wrong_order)},
          {"the root " + verb + " every rank itself, one after the other",
           figures(WithoutATree(t.ranks(), bytes, broadcast))},
          {"the tensor goes from rank to rank, along a chain", figures(Chain(t.ranks(), bytes, broadcast))},
          {"everybody sends to everybody", {kAny, static_cast<double>(t.ranks() * messages), kAny, kAny}},
          {"there is a message to the root itself, or one that nobody needs",
           {kAny, static_cast<double>(messages + 1), kAny, kAny}}});
}

/// Splits of rows that are even, uneven, and with ranks that get none.
std::vector<std::vector<int64_t>> Splits(CaseContext& t) {
  std::vector<int64_t> even(t.ranks(), 2), uneven, gaps;
  for (int rank = 0; rank < t.ranks(); ++rank) {
    uneven.push_back(1 + (2 * rank + 1) % 4);
    gaps.push_back(rank % 2 == 0 ? 0 : 3);
  }
  return {even, uneven, gaps};
}

std::string RowsName(const std::vector<int64_t>& rows) { return "rows " + ListName(rows); }

/// What Scatter is given on every rank: the whole on the root, elsewhere a tensor with another number of rows.
Tensors ScatterInputs(CaseContext& t, int root, const at::Tensor& whole) {
  return t.PerRank([&](int rank) {
    std::vector<int64_t> shape = whole.sizes().vec();
    shape[0] = rank % 2 == 0 ? 0 : shape[0] + 3;
    return rank == root ? whole : t.Integers(shape, whole.scalar_type());
  });
}

}  // namespace

// Broadcast

namespace {

void AddBroadcast(CaseContext& t, Calls& calls, const std::string& what, int root, const at::Tensor& value) {
  const Tensors inputs = OnlyOn(t, root, value);
  calls.Add({what, inputs, t.PerRank([&](int) { return value; }), {{"root", root}}, BroadcastMistakes(root, inputs)});
}

}  // namespace

SHARDLAB_CASE(trees, broadcast_every_root, kValue, {1, 2, 3, 4, 5, 8}) {
  Calls calls("tree_broadcast");
  for (int root = 0; root < t.ranks(); ++root) {
    AddBroadcast(t, calls, "a 3 x 2 tensor, " + RootIs(root), root, t.Integers({3, 2}, at::kDouble));
  }
  calls.LaunchAndExpect(t);
}

SHARDLAB_CASE(trees, broadcast_sizes_and_dtypes, kValue, {3}) {
  Calls calls("tree_broadcast");
  AddBroadcast(t, calls, "no element", 1, t.Integers({0, 4}, at::kFloat));
  AddBroadcast(t, calls, "one number without dimensions", 1, t.Integers({}, at::kDouble));
  AddBroadcast(t, calls, "a 2 x 1 x 3 x 2 tensor", 1, t.Integers({2, 1, 3, 2}, at::kDouble));
  AddBroadcast(t, calls, "10007 float32", 1, t.Integers({10007}, at::kFloat));
  for (at::ScalarType dtype : {at::kBool, at::kByte, at::kShort, at::kInt, at::kLong, at::kHalf, at::kBFloat16}) {
    AddBroadcast(t, calls, "7 " + DtypeName(dtype), 1, t.Integers({7}, dtype));
  }
  calls.LaunchAndExpect(t);
}

SHARDLAB_CASE(trees, broadcast_cost, kCost, {1, 2, 4, 5, 8}) {
  Calls calls("tree_broadcast");
  calls.Add({"1000 float64, root 0", OnlyOn(t, 0, t.Integers({1000}, at::kDouble)), {}, {{"root", 0}}});
  ExpectTreeCost(t, t.Launch(calls.spec), 8000, /*broadcast=*/true);
}

// Reduce

namespace {

void AddReduce(CaseContext& t, Calls& calls, const std::string& what, int root, const std::vector<int64_t>& shape,
               at::ScalarType dtype) {
  const Tensors summands = t.PerRank([&](int) { return t.Integers(shape, dtype); });
  calls.Add({what, summands, OnlyRoot(t, root, SumOf(summands)), {{"root", root}}, ReduceMistakes(root, summands)});
}

/// Numbers that need all the digits that their type has.
void AddLargeReduce(CaseContext& t, Calls& calls, at::ScalarType dtype) {
  const Tensors summands = t.PerRank([&](int) { return LargeIntegers(t, {2, 3}, dtype); });
  calls.Add({"large " + DtypeName(dtype), summands, OnlyRoot(t, 1, SumOf(summands)), {{"root", 1}}, [=](int) {
               Label label;
               label.hypotheses = {RoundedSum(summands)};
               return label;
             }});
}

}  // namespace

SHARDLAB_CASE(trees, reduce_every_root, kValue, {1, 2, 3, 4, 5, 8}) {
  Calls calls("tree_reduce");
  for (int root = 0; root < t.ranks(); ++root) {
    AddReduce(t, calls, "a 3 x 2 tensor, " + RootIs(root), root, {3, 2}, at::kDouble);
  }
  calls.LaunchAndExpect(t);
}

SHARDLAB_CASE(trees, reduce_sizes_and_dtypes, kValue, {3}) {
  Calls calls("tree_reduce");
  AddReduce(t, calls, "no element", 2, {0, 4}, at::kFloat);
  AddReduce(t, calls, "one number without dimensions", 2, {}, at::kDouble);
  AddReduce(t, calls, "10007 float32", 2, {10007}, at::kFloat);
  AddLargeReduce(t, calls, at::kLong);
  AddLargeReduce(t, calls, at::kDouble);
  AddReduce(t, calls, "a 2 x 1 x 3 x 2 tensor", 2, {2, 1, 3, 2}, at::kDouble);
  for (at::ScalarType dtype : {at::kByte, at::kShort, at::kInt, at::kLong, at::kHalf, at::kBFloat16}) {
    AddReduce(t, calls, "7 " + DtypeName(dtype), 2, {7}, dtype);
  }
  calls.LaunchAndExpect(t);
}

SHARDLAB_CASE(trees, reduce_cost, kCost, {1, 2, 4, 5, 8}) {
  Calls calls("tree_reduce");
  calls.Add(
      {"1000 float64, root 0", t.PerRank([&](int) { return t.Integers({1000}, at::kDouble); }), {}, {{"root", 0}}});
  ExpectTreeCost(t, t.Launch(calls.spec), 8000, /*broadcast=*/false);
}

// Scatter and gather

namespace {

/// `whole` dealt out, or put together, by every split, in two dtypes and shapes, and one row a rank.
void ForSplits(CaseContext& t,
               const std::function<void(const std::vector<int64_t>&, int root, const at::Tensor&)>& add) {
  int root = 0;
  for (const auto& rows : Splits(t)) {
    add(rows, root++ % t.ranks(), t.Integers({Total(rows), 2, 3}, at::kDouble));
    add(rows, t.ranks() - 1, t.Integers({Total(rows)}, at::kLong));
  }
  add(std::vector<int64_t>(t.ranks(), 1), 0, t.Integers({t.ranks(), 2}, at::kBool));
  add(std::vector<int64_t>(t.ranks(), 1), 0, t.Integers({t.ranks(), 2}, at::kBool));
  add(std::vector<int64_t>(t.ranks(), 2), 0, t.Integers({2 * t.ranks(), 0}, at::kShort));
}

std::string SplitName(const std::vector<int64_t>& rows, int root, const at::Tensor& whole) {
  return fmt::format("{}, {}, {}", DtypeName(whole.scalar_type()), RowsName(rows), RootIs(root));
}

}  // namespace

namespace {

/// One message a rank, all at once: what scatter and gather cost on 4 ranks.
void ExpectDirectCost(CaseContext& t, const Run& run, double bytes, std::vector<CostMistake> mistakes) {
  Costs costs;
  costs.Add("bytes in all: the whole less the root's own rows", static_cast<double>(run.TotalCost().bytes_sent), bytes,
            "bytes");
  costs.Add("messages in all: T - 1", static_cast<double>(run.TotalCost().messages), 3, "messages");
  costs.Add("rounds", static_cast<double>(run.TotalCost().rounds), 1, "rounds");
  mistakes.push_back({"one message waits for the one before: start all, then wait for all", {bytes, 3, 3}});
  mistakes.push_back({"the rows travel along a tree: those of some ranks go through others", {kAny, 3, 2}});
  costs.Expect(t, mistakes);
}

}  // namespace

SHARDLAB_CASE(trees, scatter_values, kValue, {1, 2, 3, 4}) {
  Calls calls("scatter");
  ForSplits(t, [&](const std::vector<int64_t>& rows, int root, const at::Tensor& whole) {
    calls.Add({SplitName(rows, root, whole),
               ScatterInputs(t, root, whole),
               AllRowsOf(whole, rows),
               {{"rows", rows}, {"root", root}},
               ScatterMistakes(whole, t.ranks())});
  });
  calls.LaunchAndExpect(t);
}

SHARDLAB_CASE(trees, gather_values, kValue, {1, 2, 3, 4}) {
  Calls calls("gather");
  ForSplits(t, [&](const std::vector<int64_t>& rows, int root, const at::Tensor& whole) {
    const Tensors parts = AllRowsOf(whole, rows);
    calls.Add({SplitName(rows, root, whole),
               parts,
               OnlyRoot(t, root, whole),
               {{"rows", rows}, {"root", root}},
               GatherMistakes(whole, parts)});
  });
  calls.LaunchAndExpect(t);
}

SHARDLAB_CASE(trees, scatter_cost, kCost, {4}) {
  const std::vector<int64_t> rows = {10, 20, 30, 40};
  Calls calls("scatter");
  calls.Add(
      {RowsName(rows), ScatterInputs(t, 1, t.Integers({100, 5}, at::kDouble)), {}, {{"rows", rows}, {"root", 1}}});
  const Run run = t.Launch(calls.spec);
  ExpectDirectCost(t, run, 80 * 5 * 8,
                   {{"the whole travels to every rank, which then takes its rows", {3.0 * 100 * 5 * 8, 3, kAny}}});
}

SHARDLAB_CASE(trees, gather_cost, kCost, {4}) {
  const std::vector<int64_t> rows = {10, 20, 30, 40};
  Calls calls("gather");
  calls.Add({RowsName(rows), AllRowsOf(t.Integers({100, 5}, at::kDouble), rows), {}, {{"rows", rows}, {"root", 1}}});
  const Run run = t.Launch(calls.spec);
  ExpectDirectCost(t, run, 80 * 5 * 8, {});
}

// All four with inputs that lie otherwise in memory, and with messages that are late

SHARDLAB_CASE(trees, strided_inputs, kRobustness, {3}) {
  const std::vector<int64_t> rows = {2, 0, 3};
  const at::Tensor value = t.Integers({5, 2}, at::kFloat);
  const Tensors summands = t.PerRank([&](int) { return t.Integers({5, 2}, at::kFloat); });
  const auto check = [&](const std::string& body, const Tensors& inputs, nlohmann::json params,
                         const Tensors& expected) {
    params["strided"] = true;
    params["root"] = 2;
    Calls calls(body);
    calls.Add({"a non-contiguous input", inputs, expected, params});
    calls.LaunchAndExpect(t);
  };
  check("tree_broadcast", OnlyOn(t, 2, value), nlohmann::json::object(), t.PerRank([&](int) { return value; }));
  check("tree_reduce", summands, nlohmann::json::object(), OnlyRoot(t, 2, SumOf(summands)));
  check("scatter", ScatterInputs(t, 2, value), {{"rows", rows}}, AllRowsOf(value, rows));
  check("gather", AllRowsOf(value, rows), {{"rows", rows}}, OnlyRoot(t, 2, value));
}

// Groups of some ranks, in an order of their own, and the world in between: not every rank makes every call.
SHARDLAB_CASE(trees, groups_in_turn, kRobustness, {3}) {
  Calls broadcast("tree_broadcast"), reduce("tree_reduce"), scatter("scatter"), gather("gather");
  for (const std::vector<int>& members : GroupsInTurn()) {
    const auto ranks = static_cast<int64_t>(members.size());
    const int root = static_cast<int>(ranks) - 1;
    const at::Tensor value = t.Integers({5, 2}, at::kDouble);
    const Rows rows = SplitSizes(5, ranks);
    const nlohmann::json params = {{"root", root}, {"rows", rows}};
    Tensors sources, summands, wholes, only_root(ranks);
    for (int64_t r = 0; r < ranks; ++r) {
      sources.push_back(r == root ? value : t.Integers({5, 2}, at::kDouble));
      wholes.push_back(r == root ? value : value.narrow(0, 0, 0));
      summands.push_back(t.Integers({5, 2}, at::kDouble));
    }
    only_root[root] = value;
    Tensors sum(ranks);
    sum[root] = SumOf(summands);
    const auto add = [&](Calls& calls, const Tensors& inputs, const Tensors& expected) {
      calls.Add(InGroup({RootIs(root), inputs, expected, params}, members, t.ranks()));
    };
    add(broadcast, sources, Tensors(ranks, value));
    add(reduce, summands, sum);
    add(scatter, wholes, AllRowsOf(value, rows));
    add(gather, AllRowsOf(value, rows), only_root);
  }
  for (const Calls* calls : {&broadcast, &reduce, &scatter, &gather}) calls->LaunchAndExpect(t);
}

SHARDLAB_CASE(trees, failed_messages_are_reported, kRobustness, {1}) {
  ExpectCommErrors(t, "collectives_fail", {"TreeBroadcast", "TreeReduce", "Scatter", "Gather"});
}

SHARDLAB_CASE(trees, late_messages, kRobustness, {5}) {
  const int repeats = 4;
  for (const std::string body : {"tree_broadcast", "tree_reduce"}) {
    Calls calls(body);
    calls.spec.faults = LateMessages(t, 0.004);
    for (int i = 0; i < repeats; ++i) {
      const Tensors inputs = t.PerRank([&](int) { return t.Integers({100}, at::kDouble); });
      calls.Add({fmt::format("messages that are late, call {} of {}, {}", i + 1, repeats, RootIs(i)),
                 inputs,
                 body == "tree_broadcast" ? t.PerRank([&](int) { return inputs[i]; }) : OnlyRoot(t, i, SumOf(inputs)),
                 {{"root", i}}});
    }
    calls.LaunchAndExpect(t);
  }
}

}  // namespace shardlab::grade
