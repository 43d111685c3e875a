#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "kit/calls.hpp"
#include "kit/costs.hpp"
#include "kit/hypotheses.hpp"
#include "kit/words.hpp"
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

Tensors Draw(CaseContext& t, const Matrix& shapes, bool replicated, bool normal = false,
             at::ScalarType dtype = at::kDouble) {
  const auto one = [&](const std::vector<int64_t>& shape) {
    return normal ? t.Normal(shape) : t.Integers(shape, dtype);
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

  /// The same with float32 and, where it can be, an input that is not contiguous.
  void AddFloat(const Operator& op, const std::string& what) {
    Add(op, "plain", what, /*normal=*/false, at::kFloat);
    spec.params["calls"].back()["strided"] = true;
  }

  void Add(const Operator& op, const std::string& gradient, const std::string& what, bool normal = false,
           at::ScalarType dtype = at::kDouble) {
    const std::string number = std::to_string(calls_.size());
    Call call{op, gradient, what, Draw(t_, op.input, op.replicated_input, normal, dtype), {}};
    call.y = gradient == "expanded" ? Tensors() : Draw(t_, op.output, op.replicated_output, normal, dtype);
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

SHARDLAB_CASE(autograd, operators_of_any_shape, kGradient, {3}) {
  OperatorCalls calls(t);
  for (const Shape& shape : std::vector<Shape>{{}, {0, 3}, {2, 3, 1, 2}}) {
    const std::string what = "float32 of shape " + ShapeName(shape);
    calls.AddFloat(CopyOnRanks(3, shape), what);
    calls.AddFloat(ReduceOnRanks(3, shape), what);
    calls.AddFloat(ShiftOnRanks(3, true, shape), what);
    calls.AddFloat(ShiftOnRanks(3, false, shape), what);
  }
  calls.AddFloat(ScatterOnRanks(3, {2, 0}, 1), "float32 without elements");
  calls.AddFloat(GatherOnRanks(3, {2, 0}, 1), "float32 without elements");
  calls.AddFloat(ScatterOnRanks(3, {4}, 0), "float32 of one dimension");
  calls.AddFloat(GatherOnRanks(3, {4}, 0), "float32 of one dimension");
  calls.AddFloat(ScatterOnRanks(3, {2, 3, 4}, 2), "float32, cut along the last of three dimensions");
  calls.AddFloat(GatherOnRanks(3, {2, 3, 4}, 2), "float32, cut along the last of three dimensions");
  calls.AddFloat(AllToAllOnRanks(RandomRows(t), {2, 3}), "float32 rows of 2 x 3");
  calls.AddFloat(AllToAllOnRanks(RandomRows(t), {}), "float32 rows of one element");
  const Run run = t.Launch(calls.spec);
  calls.ExpectResults(run);
  calls.ExpectGradients(run);
}

// The same object for two tensors that lie differently, as a layer that is called twice in a step has it.
SHARDLAB_CASE(autograd, operators_used_twice_before_backward, kGradient, {3}) {
  const Matrix rows = RandomRows(t);
  const std::vector<std::pair<Operator, Operator>> pairs = {
      {CopyOnRanks(3), CopyOnRanks(3, {5, 4})},
      {ReduceOnRanks(3), ReduceOnRanks(3, {5, 4})},
      {ScatterOnRanks(3, {4, 5}, 1), ScatterOnRanks(3, {2, 5}, 1)},
      {GatherOnRanks(3, {4, 5}, 1), GatherOnRanks(3, {2, 5}, 1)},
      {ShiftOnRanks(3, false), ShiftOnRanks(3, false, {5, 4})},
      {AllToAllOnRanks(rows), AllToAllOnRanks(rows, {2})}};
  RunSpec spec;
  spec.body = "operator_used_twice";
  struct Use {
    std::string name;  // of the operator, and which use
    const Operator* op;
    Tensors x, y;
  };
  std::vector<Use> uses;
  for (const auto& [first, second] : pairs) {
    const auto name = first.params["op"].get<std::string>();
    spec.params["calls"].push_back(first.params);
    for (const auto& [op, suffix] : {std::pair{&first, "a"}, std::pair{&second, "b"}}) {
      Use use{name, op, Draw(t, op->input, op->replicated_input), Draw(t, op->output, op->replicated_output)};
      spec.inputs[name + "_x" + suffix] = use.x;
      spec.inputs[name + "_y" + suffix] = use.y;
      use.name += suffix;
      uses.push_back(std::move(use));
    }
  }
  const Run run = t.Launch(spec);
  for (const Use& use : uses) {
    const std::string name = use.name.substr(0, use.name.size() - 1), suffix = use.name.substr(use.name.size() - 1);
    const std::string which = suffix == "a" ? "first" : "second";
    const Tensors forward = use.op->forward(use.x), backward = use.op->backward(use.y);
    for (int rank = 0; rank < t.ranks(); ++rank) {
      t.ExpectEqual(run, rank, name + "_" + suffix, forward[rank],
                    Label{fmt::format("the {} result of a {} that is used twice before backward", which, name)});
      t.ExpectEqual(run, rank, name + "_d" + suffix, backward[rank],
                    Label{fmt::format("the gradient of the {} input of a {} that is used twice before backward (what "
                                      "backward needs belongs to the node, not to the operator)",
                                      which, name)});
    }
  }
}

SHARDLAB_CASE(autograd, failed_messages_are_reported, kRobustness, {1}) {
  ExpectCommErrors(t, "autograd_fails", {"DifferentiableAllToAll", "AverageGradients", "DataParallelStep"});
}

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
    Costs costs;
    costs.Add(what + ", forward and backward: collectives from rank 0", static_cast<double>(run.Cost(0).collectives),
              static_cast<double>(collectives), "collectives");
    costs.Add(what + ", forward and backward: messages in all", static_cast<double>(run.TotalCost().messages),
              static_cast<double>(messages), "messages");
    std::vector<CostMistake> mistakes;
    if (collectives > 0) {
      mistakes.push_back({"it is built from messages: an operator uses the communicator's collectives", {0, kAny}});
    }
    if (collectives == 1) mistakes.push_back({"forward and backward both communicate", {2, 0}});
    if (messages > 0) {
      mistakes.push_back({"the messages of one pass are missing: forward and backward send one each",
                          {0, static_cast<double>(messages) / 2}});
      mistakes.push_back({"a rank at the end of the row sends to the other end: -1 is nobody", {0, 6}});
      mistakes.push_back({"a message carries the shape: inputs have one shape on all ranks that exchange",
                          {0, static_cast<double>(messages) * 2}});
    }
    costs.Expect(t, mistakes);
  };
  expect(CopyOnRanks(3), "Copy", 1, 0);
  expect(ReduceOnRanks(3), "Reduce", 1, 0);
  expect(ScatterOnRanks(3, {6, 2}, 0), "Scatter", 1, 0);
  expect(GatherOnRanks(3, {6, 2}, 0), "Gather", 1, 0);
  expect(ShiftOnRanks(3, false), "SendReceive in a row", 0, 4);
  expect(AllToAllOnRanks(Matrix(3, {1, 1, 1})), "DifferentiableAllToAll", 2, 0);
}

}  // namespace shardlab::grade
