#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "kit/hypotheses.hpp"
#include "operators_on_ranks.hpp"

// The differentiable operators. For each: its results, its gradients however they come in, and what the calls cost.

namespace shardlab::grade {
namespace {

Matrix RandomRows(CaseContext& t) {
  Matrix rows(t.ranks(), std::vector<int64_t>(t.ranks()));
  for (auto& row : rows) {
    for (auto& count : row) count = t.Integer(0, 3);
  }
  rows[0][t.ranks() - 1] = 2;
  return rows;
}

Tensors Draw(CaseContext& t, const Matrix& shapes, bool replicated, bool normal = false) {
  const auto one = [&](const std::vector<int64_t>& shape) {
    return normal ? t.Normal(shape) : t.Integers(shape, at::kDouble);
  };
  if (replicated) return Everywhere(t.ranks(), one(shapes[0]));
  return t.PerRank([&](int rank) { return one(shapes[rank]); });
}

/// A run of several operators and gradients: Add describes one of them, Expect compares all.
class OperatorCalls {
 public:
  explicit OperatorCalls(CaseContext& t) : t_(t) {
    spec.body = "operators";
    spec.params["calls"] = nlohmann::json::array();
  }

  void Add(const Operator& op, const std::string& gradient, const std::string& what, bool normal = false) {
    const std::string number = std::to_string(calls_.size());
    Call call{op, gradient, what, Draw(t_, op.input, op.replicated_input, normal), {}};
    call.y = gradient == "expanded" ? Tensors() : Draw(t_, op.output, op.replicated_output, normal);
    nlohmann::json params = op.params;
    params["gradient"] = gradient;
    spec.params["calls"].push_back(params);
    spec.inputs["x" + number] = call.x;
    if (!call.y.empty()) spec.inputs["y" + number] = call.y;
    calls_.push_back(std::move(call));
  }

  void ExpectResults(const Run& run) const {
    for (size_t i = 0; i < calls_.size(); ++i) {
      const std::string number = std::to_string(i);
      const Tensors expected = calls_[i].op.forward(calls_[i].x);
      for (int rank = 0; rank < t_.ranks(); ++rank) {
        const Operator& op = calls_[i].op;
        Label label = op.forward_mistakes ? op.forward_mistakes(calls_[i].x, rank) : Label{};
        label.what = Name(i) + "'s result";
        if (!expected[0].is_same(expected.back())) label.of_ranks = expected;
        t_.ExpectEqual(run, rank, "out" + number, expected[rank], label);
        t_.ExpectEqual(run, rank, "after" + number, calls_[i].x[rank],
                       Label{Name(i) + "'s input after the call (it must be left as it is)", {}});
      }
    }
  }

  void ExpectGradients(const Run& run) const {
    for (size_t i = 0; i < calls_.size(); ++i) {
      const Call& call = calls_[i];
      Tensors y = call.y;
      if (call.gradient == "expanded") y = t_.PerRank([&](int r) { return at::ones(call.op.output[r], at::kDouble); });
      const Tensors expected = call.op.backward(y);
      for (int rank = 0; rank < t_.ranks(); ++rank) {
        if (spec.params["calls"][i].contains("needs") && !spec.params["calls"][i]["needs"][rank].get<bool>()) continue;
        Label label = call.op.backward_mistakes ? call.op.backward_mistakes(y, rank) : Label{};
        label.what = fmt::format("the gradient of {}'s input, {}", Name(i), call.what);
        if (!expected[0].is_same(expected.back())) label.of_ranks = expected;
        const bool shared = call.gradient == "shared";
        if (shared) label = BesideAnotherBranch(label, y[rank], expected[rank]);
        t_.ExpectEqual(run, rank, "dx" + std::to_string(i), shared ? expected[rank] + y[rank] : expected[rank], label);
      }
    }
  }

  /// <H x, y> = <x, H' y>, where a replicated tensor is one value.
  void ExpectAdjoint(const Run& run) const {
    const auto inner = [&](const std::string& output, int i, const Tensors& other, bool replicated) {
      double sum = 0;
      for (int rank = 0; rank < (replicated ? 1 : t_.ranks()); ++rank) {
        const at::Tensor mine = run.Output(rank, output + std::to_string(i));
        t_.Expect(mine.defined() && mine.sizes() == other[rank].sizes(),
                  fmt::format("rank {}: {}'s {} does not have the shape of its {}", rank, Name(i),
                              output == "out" ? "result" : "gradient", output == "out" ? "adjoint's input" : "input"));
        sum += (mine * other[rank]).sum().item<double>();
      }
      return sum;
    };
    for (size_t i = 0; i < calls_.size(); ++i) {
      const Call& call = calls_[i];
      const double forward = inner("out", static_cast<int>(i), call.y, call.op.replicated_output);
      const double backward = inner("dx", static_cast<int>(i), call.x, call.op.replicated_input);
      t_.Expect(std::abs(forward - backward) <= 1e-10 * std::max(std::abs(forward), 1.0),
                fmt::format("{}: backward is not the adjoint of forward: <H x, y> = {:.12g}, but <x, H' y> = {:.12g}",
                            Name(i), forward, backward));
    }
  }

  RunSpec spec;

 private:
  struct Call {
    Operator op;
    std::string gradient, what;
    Tensors x, y;
  };

  /// The same mistakes where the other branch brings `other` along, and one more.
  static Label BesideAnotherBranch(const Label& label, const at::Tensor& other, const at::Tensor& right) {
    Label both;
    both.what = label.what;
    for (const Hypothesis& one : label.hypotheses) {
      both.hypotheses.push_back({one.meaning, [=] {
                                   const at::Tensor value = one.value();
                                   return value.sizes() == other.sizes() ? value + other : at::Tensor();
                                 }});
    }
    both.hypotheses.push_back({kSharedGradientChanged, [=] { return right * 2; }});
    return both;
  }

  std::string Name(size_t i) const { return calls_[i].op.params["op"].get<std::string>(); }

  CaseContext& t_;
  std::vector<Call> calls_;
};

void ExpectForward(CaseContext& t, const std::vector<Operator>& operators) {
  OperatorCalls calls(t);
  for (const Operator& op : operators) calls.Add(op, "none", "");
  calls.ExpectResults(t.Launch(calls.spec));
}

void ExpectBackward(CaseContext& t, const std::vector<Operator>& operators) {
  OperatorCalls calls(t);
  for (const Operator& op : operators) {
    calls.Add(op, "plain", "from a gradient of its own");
    if (op.input == op.output) {
      calls.Add(op, "shared", "where autograd hands the same gradient to another branch too (z = h + op(h))");
    }
    calls.Add(op, "expanded", "from one number expanded to all elements (sum().backward())");
    calls.Add(op, "transposed", "from a non-contiguous gradient");
  }
  calls.ExpectGradients(t.Launch(calls.spec));
}

}  // namespace

SHARDLAB_CASE(autograd, copy, kValue, {1, 3}) { ExpectForward(t, {CopyOnRanks(t.ranks())}); }
SHARDLAB_CASE(autograd, reduce, kValue, {1, 3}) { ExpectForward(t, {ReduceOnRanks(t.ranks())}); }
SHARDLAB_CASE(autograd, scatter, kValue, {1, 2, 3}) {
  ExpectForward(t, {ScatterOnRanks(t.ranks(), {6, 2}, 0), ScatterOnRanks(t.ranks(), {2, 5, 3}, 1),
                    ScatterOnRanks(t.ranks(), {2, 1}, 1)});
}
SHARDLAB_CASE(autograd, gather, kValue, {1, 2, 3}) {
  ExpectForward(t, {GatherOnRanks(t.ranks(), {6, 2}, 0), GatherOnRanks(t.ranks(), {2, 6, 3}, 1),
                    GatherOnRanks(t.ranks(), {2, 5, 3}, 1), GatherOnRanks(t.ranks(), {2, 1}, 1)});
}
SHARDLAB_CASE(autograd, send_receive, kValue, {1, 2, 4}) {
  ExpectForward(t, {ShiftOnRanks(t.ranks(), true), ShiftOnRanks(t.ranks(), false)});
}
SHARDLAB_CASE(autograd, all_to_all, kValue, {1, 2, 3}) {
  ExpectForward(
      t, {AllToAllOnRanks(Matrix(t.ranks(), std::vector<int64_t>(t.ranks(), 1))), AllToAllOnRanks(RandomRows(t))});
}

SHARDLAB_CASE(autograd, copy_gradient, kGradient, {1, 3}) { ExpectBackward(t, {CopyOnRanks(t.ranks())}); }
SHARDLAB_CASE(autograd, reduce_gradient, kGradient, {1, 3}) { ExpectBackward(t, {ReduceOnRanks(t.ranks())}); }
SHARDLAB_CASE(autograd, scatter_gradient, kGradient, {2, 3}) {
  ExpectBackward(t, {ScatterOnRanks(t.ranks(), {6, 2}, 0), ScatterOnRanks(t.ranks(), {2, 5, 3}, 1)});
}
SHARDLAB_CASE(autograd, gather_gradient, kGradient, {2, 3}) {
  ExpectBackward(t, {GatherOnRanks(t.ranks(), {6, 2}, 0), GatherOnRanks(t.ranks(), {2, 5, 3}, 1)});
}
SHARDLAB_CASE(autograd, send_receive_gradient, kGradient, {2, 3}) {
  ExpectBackward(t, {ShiftOnRanks(t.ranks(), true), ShiftOnRanks(t.ranks(), false)});
}
SHARDLAB_CASE(autograd, all_to_all_gradient, kGradient, {1, 3}) { ExpectBackward(t, {AllToAllOnRanks(RandomRows(t))}); }

SHARDLAB_CASE(autograd, adjoint, kGradient, {3}) {
  OperatorCalls calls(t);
  for (const Operator& op :
       {CopyOnRanks(3), ReduceOnRanks(3), ScatterOnRanks(3, {4, 5}, 1), GatherOnRanks(3, {4, 5}, 0),
        ShiftOnRanks(3, true), ShiftOnRanks(3, false), AllToAllOnRanks(RandomRows(t))}) {
    calls.Add(op, "plain", "", true);
  }
  calls.ExpectAdjoint(t.Launch(calls.spec));
}

SHARDLAB_CASE(autograd, some_inputs_need_no_gradient, kRobustness, {3}) {
  // One run each: the first rank that skips its backward leaves the others waiting.
  for (const Operator& op :
       {CopyOnRanks(3), ScatterOnRanks(3, {4, 5}, 1), ShiftOnRanks(3, true), AllToAllOnRanks(RandomRows(t))}) {
    OperatorCalls calls(t);
    calls.Add(op, "plain", "where rank 1's input needs no gradient");
    calls.spec.params["calls"][0]["needs"] = {true, false, true};
    const Run run = t.Launch(calls.spec);
    calls.ExpectResults(run);
    calls.ExpectGradients(run);
  }
}

SHARDLAB_CASE(autograd, operators_cost, kCost, {3}) {
  const auto expect = [&](const Operator& op, const std::string& what, int64_t collectives, int64_t messages) {
    OperatorCalls calls(t);
    calls.Add(op, "plain", "");
    const Run run = t.Launch(calls.spec);
    t.ExpectCost(what + ", forward and backward: collectives from rank 0", run.Cost(0).collectives, collectives,
                 "collectives", {{"forward and backward both communicate", 2}});
    t.ExpectCost(what + ", forward and backward: messages in all", run.TotalCost().messages, messages, "messages");
  };
  expect(CopyOnRanks(3), "Copy", 1, 0);
  expect(ReduceOnRanks(3), "Reduce", 1, 0);
  expect(ScatterOnRanks(3, {6, 2}, 0), "Scatter", 1, 0);
  expect(GatherOnRanks(3, {6, 2}, 0), "Gather", 1, 0);
  expect(ShiftOnRanks(3, false), "SendReceive in a row", 0, 4);
  expect(AllToAllOnRanks(Matrix(3, {1, 1, 1})), "DifferentiableAllToAll", 2, 0);
}

}  // namespace shardlab::grade
