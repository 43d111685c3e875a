#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "kit/calls.hpp"
#include "kit/costs.hpp"
#include "kit/hypotheses.hpp"
#include "kit/parts.hpp"
#include "kit/traffic.hpp"
#include "kit/words.hpp"
#include "message_steps.hpp"

// All-to-all and barrier.

namespace shardlab::grade {
namespace {

using Tensors = std::vector<at::Tensor>;
using Matrix = std::vector<std::vector<int64_t>>;  // [a][b]: rows from rank a to rank b

/// What comes to rank `to`, by sender.
Tensors Arriving(const Tensors& inputs, const Matrix& rows, int to) {
  Tensors parts;
  for (size_t from = 0; from < inputs.size(); ++from) parts.push_back(RowsOf(inputs[from], rows[from], to));
  return parts;
}

Label ExchangeMistakes(const Tensors& inputs, const Matrix& rows, int rank) {
  Label label;
  label.pieces = Arriving(inputs, rows, rank);
  label.hypotheses.push_back({"nothing is exchanged: the rank returns its own input", [=] { return inputs[rank]; }});
  label.hypotheses.push_back({"every rank sends the same rows to everybody, its first ones", [=] {
                                Tensors parts;
                                for (size_t from = 0; from < inputs.size(); ++from) {
                                  parts.push_back(inputs[from].narrow(0, 0, rows[from][rank]));
                                }
                                return at::cat(parts);
                              }});
  Append(label.hypotheses, PartlyWritten("the part that stays on this rank is not copied", at::cat(label.pieces),
                                         [=](const at::Tensor& result) {
                                           int64_t begin = 0;
                                           for (size_t from = 0; from < inputs.size(); ++from) {
                                             const at::Tensor part = RowsOf(inputs[from], rows[from], rank);
                                             if (static_cast<int>(from) != rank)
                                               result.narrow(0, begin, part.size(0)).copy_(part);
                                             begin += part.size(0);
                                           }
                                         }));
  return label;
}

/// Adds the call in which rank a sends rows[a][b] rows to rank b, and what every rank has afterwards.
void AddExchange(CaseContext& t, Calls& calls, const std::string& what, const Matrix& rows,
                 const std::vector<int64_t>& row_shape, at::ScalarType dtype, bool strided = false) {
  const Tensors inputs = t.PerRank([&](int rank) {
    std::vector<int64_t> shape = row_shape;
    shape.insert(shape.begin(), Total(rows[rank]));
    return t.Integers(shape, dtype);
  });
  calls.Add({what,
             inputs,
             t.PerRank([&](int to) { return at::cat(Arriving(inputs, rows, to)); }),
             {{"rows", rows}, {"strided", strided}},
             [=](int rank) { return ExchangeMistakes(inputs, rows, rank); }});
}

Matrix ConstantMatrix(CaseContext& t, int64_t rows) { return Matrix(t.ranks(), std::vector<int64_t>(t.ranks(), rows)); }

Matrix RandomMatrix(CaseContext& t, int64_t low, int64_t high) {
  Matrix rows = ConstantMatrix(t, 0);
  for (auto& row : rows) {
    for (auto& count : row) count = t.Integer(low, high);
  }
  return rows;
}

}  // namespace

SHARDLAB_CASE(alltoall, values, kValue, {1, 2, 3, 4, 5}) {
  Calls calls("all_to_all");
  AddExchange(t, calls, "one row for each rank", ConstantMatrix(t, 1), {4}, at::kDouble);
  AddExchange(t, calls, "two rows of 3 for each rank", ConstantMatrix(t, 2), {3}, at::kLong);
  AddExchange(t, calls, "two rows of 3 for each rank, again", ConstantMatrix(t, 2), {3}, at::kLong);
  calls.LaunchAndExpect(t);
}

SHARDLAB_CASE(alltoall, split_sizes, kValue, {2, 3, 4}) {
  Calls calls("all_to_all");
  Matrix to_last = ConstantMatrix(t, 0);
  for (auto& row : to_last) row.back() = 2;
  AddExchange(t, calls, "1 to 4 rows for each rank", RandomMatrix(t, 1, 4), {2}, at::kDouble);
  AddExchange(t, calls, "0 to 2 rows for each rank", RandomMatrix(t, 0, 2), {2}, at::kFloat);
  AddExchange(t, calls, "rows for the last rank only", to_last, {}, at::kDouble);
  AddExchange(t, calls, "no rows at all", ConstantMatrix(t, 0), {2}, at::kDouble);
  AddExchange(t, calls, "rows of 2 x 3", RandomMatrix(t, 0, 2), {2, 3}, at::kDouble);
  AddExchange(t, calls, "rows without elements", RandomMatrix(t, 1, 2), {0}, at::kDouble);
  calls.LaunchAndExpect(t);
}

SHARDLAB_CASE(alltoall, dtypes_and_strides, kRobustness, {3}) {
  Calls calls("all_to_all");
  for (at::ScalarType dtype : {at::kBool, at::kByte, at::kShort, at::kInt, at::kHalf, at::kBFloat16, at::kFloat}) {
    AddExchange(t, calls, DtypeName(dtype), RandomMatrix(t, 0, 3), {2}, dtype);
  }
  AddExchange(t, calls, "a non-contiguous input", RandomMatrix(t, 1, 3), {2}, at::kDouble, true);
  calls.LaunchAndExpect(t);
}

SHARDLAB_CASE(alltoall, late_messages, kRobustness, {4}) {
  Calls calls("all_to_all");
  calls.spec.faults = LateMessages(t, 0.004);
  for (int i = 0; i < 4; ++i) AddExchange(t, calls, "messages that are late", RandomMatrix(t, 1, 3), {2}, at::kDouble);
  calls.LaunchAndExpect(t);
}

SHARDLAB_CASE(alltoall, refuses_sizes_that_do_not_add_up, kRobustness, {1, 2}) {
  RunSpec spec;
  spec.body = "all_to_all_refuses";
  spec.point_to_point_only = true;
  std::vector<std::string> what;
  const auto add = [&](const std::string& words, int64_t input_rows, std::vector<int64_t> send_rows,
                       std::vector<int64_t> receive_rows) {
    what.push_back(words);
    spec.params["calls"].push_back(
        {{"input_rows", input_rows}, {"send_rows", send_rows}, {"receive_rows", receive_rows}});
  };
  const std::vector<int64_t> two(t.ranks(), 2);
  add("send_rows that add up to fewer rows than the input has", 2 * t.ranks() + 1, two, two);
  add("send_rows that add up to more rows than the input has", 2 * t.ranks() - 1, two, two);
  add("more numbers in send_rows than there are ranks", 2 * t.ranks() + 2, std::vector<int64_t>(t.ranks() + 1, 2), two);
  add("more numbers in receive_rows than there are ranks", 2 * t.ranks(), two, std::vector<int64_t>(t.ranks() + 1, 2));
  std::vector<int64_t> negative = two;
  negative[0] = -1;
  add("a negative number in receive_rows", 2 * t.ranks(), two, negative);
  add("a negative number in send_rows", Total(negative) < 0 ? 0 : Total(negative), negative, two);
  add("fewer numbers in send_rows than there are ranks", 2 * t.ranks() - 2, std::vector<int64_t>(t.ranks() - 1, 2),
      two);
  add("fewer numbers in receive_rows than there are ranks", 2 * t.ranks(), two, std::vector<int64_t>(t.ranks() - 1, 2));
  const Run run = t.Launch(spec);
  for (size_t i = 0; i < what.size(); ++i) {
    for (int rank = 0; rank < t.ranks(); ++rank) {
      const double refused = run.Number(rank, "refused" + std::to_string(i));
      t.Expect(refused != 0, "AllToAll returned although it was given " + what[i] + "; it must throw ContractError");
      t.Expect(refused == 1, "AllToAll threw something else than ContractError when it was given " + what[i]);
    }
  }
  t.ExpectCost("messages sent by calls that are to be refused", run.TotalCost().messages, 0, "messages");
}

SHARDLAB_CASE(alltoall, groups_in_turn, kRobustness, {3}) {
  Calls calls("all_to_all");
  for (const std::vector<int>& members : GroupsInTurn()) {
    const auto ranks = static_cast<int>(members.size());
    Matrix rows(ranks, std::vector<int64_t>(ranks));
    for (auto& row : rows) {
      for (auto& count : row) count = t.Integer(1, 3);
    }
    Tensors inputs, expected;
    for (int r = 0; r < ranks; ++r) inputs.push_back(t.Integers({Total(rows[r]), 2}, at::kDouble));
    for (int r = 0; r < ranks; ++r) expected.push_back(at::cat(Arriving(inputs, rows, r)));
    calls.Add(InGroup({"1 to 3 rows for each rank", inputs, expected, {{"rows", rows}}}, members, t.ranks()));
  }
  calls.LaunchAndExpect(t);
}

SHARDLAB_CASE(alltoall, failed_messages_are_reported, kRobustness, {1}) {
  ExpectCommErrors(t, "collectives_fail", {"AllToAll", "Barrier"});
}

SHARDLAB_CASE(alltoall, cost, kCost, {1, 2, 4, 5}) {
  Calls calls("all_to_all");
  const Matrix rows = RandomMatrix(t, 10, 20);
  AddExchange(t, calls, "10 to 20 rows for each rank", rows, {5}, at::kDouble);
  const Run run = calls.LaunchAndExpect(t);
  const int64_t ranks = t.ranks();
  const auto others = static_cast<double>(ranks - 1), all = static_cast<double>(ranks * (ranks - 1));
  Costs costs;
  costs.Add("rounds", static_cast<double>(run.TotalCost().rounds), ranks == 1 ? 0 : 1, "rounds");
  costs.Add("messages in all: T(T - 1)", static_cast<double>(run.TotalCost().messages), all, "messages");
  costs.Expect(t,
               {{"one rank collects everything and deals it out", {kAny, 2 * others}},
                {"one exchange waits for the one before: post all receives, start all sends, then wait", {others, all}},
                {"the parts travel around a ring, through ranks that they are not for", {others, all}}});
  int64_t total = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    const int64_t bytes = (Total(rows[rank]) - rows[rank][rank]) * 5 * 8;
    t.ExpectCost(fmt::format("bytes from rank {}: its input less what stays at home", rank), run.Cost(rank).bytes_sent,
                 bytes, "bytes");
    total += bytes;
  }
  t.ExpectCost("bytes in all", run.TotalCost().bytes_sent, total, "bytes");
}

// Nobody leaves a barrier before everybody has entered it: each rank in turn is late to one.

SHARDLAB_CASE(alltoall, barrier_waits_for_everybody, kValue, {1, 2, 3, 4, 5, 8}) {
  RunSpec spec;
  spec.body = "barrier";
  spec.point_to_point_only = true;
  spec.params["late_s"] = 0.02;
  const Run run = t.Launch(spec);
  std::map<std::string, std::vector<int64_t>> times;  // a mark -> when each rank made it
  for (const Event& event : run.outcome.events) {
    if (event.record.kind != RecordKind::kMark) continue;
    auto& of = times[event.record.name];
    of.resize(t.ranks());
    of[event.rank] = event.record.time_ns;
  }
  for (int late = 0; late < t.ranks(); ++late) {
    const auto& entered = times["enter " + std::to_string(late)];
    const auto& left = times["leave " + std::to_string(late)];
    if (entered.empty() || left.empty()) t.Fail("the marks around the barrier are missing");
    const auto last = std::max_element(entered.begin(), entered.end());
    const auto first = std::min_element(left.begin(), left.end());
    t.Expect(*first >= *last,
             fmt::format("rank {} left the barrier {:.1f} ms before rank {} entered it: it must wait for every rank",
                         first - left.begin(), (*last - *first) * 1e-6, last - entered.begin()));
  }
}

SHARDLAB_CASE(alltoall, barrier_cost, kCost, {1, 2, 3, 4, 5, 8}) {
  RunSpec spec;
  spec.body = "barrier_cost";
  spec.point_to_point_only = true;
  const Run run = t.Launch(spec);
  const int64_t rounds = CeilLog2(t.ranks());
  const double all = static_cast<double>(t.ranks() * rounds), others = t.ranks() - 1;
  Costs costs;
  costs.Add("messages in all: T * ceil(log2 T)", static_cast<double>(run.TotalCost().messages), all, "messages");
  costs.Add("rounds: ceil(log2 T)", static_cast<double>(run.TotalCost().rounds), static_cast<double>(rounds), "rounds");
  costs.Expect(t, {{"everybody reports to one rank, and waits for its answer", {2 * others, kAny}},
                   {"everybody tells everybody", {t.ranks() * others, kAny}},
                   {"a token goes round a ring, twice", {2.0 * t.ranks(), kAny}}});
  t.ExpectAtMost("bytes in all", static_cast<double>(run.TotalCost().bytes_sent), 8 * all, "bytes");
}

}  // namespace shardlab::grade
