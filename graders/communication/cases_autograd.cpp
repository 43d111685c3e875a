#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "case_util.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/grade/hypotheses.hpp"
#include "shardlab/grade/referee.hpp"

// The differentiable operators. For each: its results, its gradients however they come in, and what the calls cost.

namespace shardlab::grade {
namespace {

using Tensors = std::vector<at::Tensor>;
using Json = nlohmann::json;
using Matrix = std::vector<std::vector<int64_t>>;

/// An operator on all ranks together, as one process sees it.
struct Operator {
  Json params;                                      ///< for the body
  std::vector<std::vector<int64_t>> input, output;  ///< shapes, one a rank
  std::function<Tensors(const Tensors&)> forward;   ///< all ranks' results of all ranks' inputs
  std::function<Tensors(const Tensors&)> backward;  ///< all ranks' gradients of all ranks' gradients
  bool replicated_input = false;                    ///< the same input on every rank: one value, not T
  bool replicated_output = false;                   ///< likewise
  /// What a rank's result may be when it is wrong, of all ranks' inputs; and its gradient, of all ranks' gradients.
  std::function<Label(const Tensors& x, int rank)> forward_mistakes = nullptr;
  std::function<Label(const Tensors& g, int rank)> backward_mistakes = nullptr;
};

Label With(std::vector<Hypothesis> hypotheses) {
  Label label;
  label.hypotheses = std::move(hypotheses);
  return label;
}

Label SumOfAll(const Tensors& summands, std::vector<Hypothesis> hypotheses) {
  Label label = With(std::move(hypotheses));
  label.summands = summands;
  return label;
}

Label JoinedFrom(const Tensors& pieces, int64_t dim, std::vector<Hypothesis> hypotheses = {}) {
  Label label = With(std::move(hypotheses));
  label.pieces = pieces;
  label.dim = dim;
  return label;
}

/// `slice` in its place, and zeros elsewhere.
at::Tensor AmongZeros(const Tensors& slices, int64_t dim, int rank) {
  Tensors parts;
  for (const at::Tensor& slice : slices) parts.push_back(at::zeros_like(slice));
  parts[rank] = slices[rank];
  return at::cat(parts, dim);
}

Tensors Everywhere(int ranks, const at::Tensor& value) { return Tensors(ranks, value); }

Tensors Slices(const at::Tensor& whole, int64_t dim, int ranks) {
  Tensors slices;
  for (int rank = 0; rank < ranks; ++rank) {
    const Range mine = SplitRange(whole.size(dim), ranks, rank);
    slices.push_back(whole.narrow(dim, mine.begin, mine.size()).contiguous());
  }
  return slices;
}

Tensors OwnSlices(const Tensors& wholes, int64_t dim) {
  Tensors slices;
  for (size_t rank = 0; rank < wholes.size(); ++rank) {
    slices.push_back(Slices(wholes[rank], dim, static_cast<int>(wholes.size()))[rank]);
  }
  return slices;
}

Operator Copy(int ranks) {
  const std::vector<std::vector<int64_t>> shapes(ranks, {3, 4});
  return {{{"op", "Copy"}},
          shapes,
          shapes,
          [](const Tensors& x) { return x; },
          [=](const Tensors& g) { return Everywhere(ranks, SumOf(g)); },
          true,
          false,
          [](const Tensors& x, int) {
            return With(
                {{"forward adds the ranks' tensors up: Copy does nothing in forward, and the sum belongs into backward",
                  [=] { return SumOf(x); }}});
          },
          [=](const Tensors& g, int rank) {
            return SumOfAll(
                g, {{"backward is the identity: every rank keeps its own gradient, and the ranks' must be added "
                     "up (an all-reduce)",
                     [=] { return g[rank]; }},
                    {"backward takes the mean of the ranks' gradients, and their sum is right",
                     [=] { return SumOf(g) / ranks; }}});
          }};
}

Operator Reduce(int ranks) {
  const std::vector<std::vector<int64_t>> shapes(ranks, {3, 4});
  return {{{"op", "Reduce"}},
          shapes,
          shapes,
          [=](const Tensors& x) { return Everywhere(ranks, SumOf(x)); },
          [](const Tensors& g) { return g; },
          false,
          true,
          [](const Tensors& x, int) { return SumOfAll(x, {}); },
          [](const Tensors& g, int) {
            return With(
                {{"backward adds the gradients up as forward does: every rank holds the whole gradient already, and "
                  "the backward of Reduce is the identity",
                  [=] { return SumOf(g); }}});
          }};
}

std::vector<std::vector<int64_t>> SliceShapes(int ranks, std::vector<int64_t> whole, int64_t dim) {
  std::vector<std::vector<int64_t>> shapes;
  for (int64_t size : SplitSizes(whole[dim], ranks)) {
    shapes.push_back(whole);
    shapes.back()[dim] = size;
  }
  return shapes;
}

Operator Scatter(int ranks, const std::vector<int64_t>& whole, int64_t dim) {
  return {{{"op", "Scatter"}, {"dim", dim}, {"size", whole[dim]}},
          std::vector<std::vector<int64_t>>(ranks, whole),
          SliceShapes(ranks, whole, dim),
          [=](const Tensors& x) { return OwnSlices(x, dim); },
          [=](const Tensors& g) { return Everywhere(ranks, at::cat(g, dim)); },
          true,
          false,
          nullptr,
          [=](const Tensors& g, int rank) {
            return JoinedFrom(g, dim,
                              {{"backward fills in this rank's slice alone: the other ranks' slices must be gathered",
                                [=] { return AmongZeros(g, dim, rank); }}});
          }};
}

Operator Gather(int ranks, const std::vector<int64_t>& whole, int64_t dim) {
  return {
      {{"op", "Gather"}, {"dim", dim}, {"size", whole[dim]}},
      SliceShapes(ranks, whole, dim),
      std::vector<std::vector<int64_t>>(ranks, whole),
      [=](const Tensors& x) { return Everywhere(ranks, at::cat(x, dim)); },
      [=](const Tensors& g) { return OwnSlices(g, dim); },
      false,
      true,
      [=](const Tensors& x, int rank) {
        return JoinedFrom(x, dim, {{"only this rank's slice is there, among zeros: the others' must be gathered", [=] {
                                      return AmongZeros(x, dim, rank);
                                    }}});
      },
      [=](const Tensors& g, int rank) {
        return With(
            {{"backward adds the ranks' gradients up before it takes the slice: every rank holds the whole gradient "
              "already, and keeps its slice of it",
              [=] { return Slices(SumOf(g), dim, ranks)[rank]; }},
             {"backward does not take the slice", [=] { return g[rank]; }}});
      }};
}

/// To the right, in a circle or with ends.
Operator Shift(int ranks, bool circle) {
  std::vector<int> to, from;
  for (int rank = 0; rank < ranks; ++rank) {
    to.push_back(rank + 1 < ranks ? rank + 1 : circle && ranks > 1 ? 0 : -1);
    from.push_back(rank > 0 ? rank - 1 : circle && ranks > 1 ? ranks - 1 : -1);
  }
  const auto arriving = [](const Tensors& values, const std::vector<int>& sources) {
    Tensors result;
    for (size_t rank = 0; rank < values.size(); ++rank) {
      result.push_back(sources[rank] < 0 ? at::zeros_like(values[rank]) : values[sources[rank]]);
    }
    return result;
  };
  const std::vector<std::vector<int64_t>> shapes(ranks, {3, 4});
  return {{{"op", "SendReceive"}, {"to", to}, {"from", from}},
          shapes,
          shapes,
          [=](const Tensors& x) { return arriving(x, from); },
          [=](const Tensors& g) { return arriving(g, to); },
          false,
          false,
          [=](const Tensors& x, int rank) {
            return With({{"the tensors travel the wrong way round: `to` and `from` have changed places",
                          [=] { return arriving(x, to)[rank]; }},
                         {"nothing travels: it is the rank's own tensor", [=] { return x[rank]; }}});
          },
          [=](const Tensors& g, int rank) {
            return With(
                {{"backward sends the gradients on in the direction of forward: they must go back to where the tensors "
                  "came from",
                  [=] { return arriving(g, from)[rank]; }},
                 {"backward is the identity: the gradient must travel back", [=] { return g[rank]; }}});
          }};
}

Tensors Exchange(const Tensors& inputs, const Matrix& rows) {
  Tensors results;
  for (size_t to = 0; to < inputs.size(); ++to) {
    Tensors parts;
    for (size_t from = 0; from < inputs.size(); ++from) {
      parts.push_back(RowsOf(inputs[from], rows[from], static_cast<int>(to)));
    }
    results.push_back(at::cat(parts));
  }
  return results;
}

Operator AllToAll(const Matrix& rows) {
  Matrix back = rows;
  std::vector<std::vector<int64_t>> input, output;
  for (size_t a = 0; a < rows.size(); ++a) {
    int64_t sent = 0, received = 0;
    for (size_t b = 0; b < rows.size(); ++b) {
      sent += rows[a][b];
      received += rows[b][a];
      back[a][b] = rows[b][a];
    }
    input.push_back({sent, 3});
    output.push_back({received, 3});
  }
  return {{{"op", "AllToAll"}, {"rows", rows}},
          input,
          output,
          [=](const Tensors& x) { return Exchange(x, rows); },
          [=](const Tensors& g) { return Exchange(g, back); },
          false,
          false,
          [=](const Tensors& x, int rank) {
            return With({{"nothing is exchanged: the rank returns its own input", [=] { return x[rank]; }}});
          },
          [=](const Tensors& g, int rank) {
            return With({{"backward is the identity: the gradients must go back to the ranks that the rows came from",
                          [=] { return g[rank]; }}});
          }};
}

Matrix RandomRows(CaseContext& t) {
  Matrix rows(t.ranks(), std::vector<int64_t>(t.ranks()));
  for (auto& row : rows) {
    for (auto& count : row) count = t.Integer(0, 3);
  }
  rows[0][t.ranks() - 1] = 2;
  return rows;
}

Tensors Draw(CaseContext& t, const std::vector<std::vector<int64_t>>& shapes, bool replicated, bool normal = false) {
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
    spec.params["calls"] = Json::array();
  }

  void Add(const Operator& op, const std::string& gradient, const std::string& what, bool normal = false) {
    const std::string number = std::to_string(calls_.size());
    Call call{op, gradient, what, Draw(t_, op.input, op.replicated_input, normal), {}};
    call.y = gradient == "expanded" ? Tensors() : Draw(t_, op.output, op.replicated_output, normal);
    Json params = op.params;
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
    both.hypotheses.push_back(
        {"backward changes the incoming gradient in place, which the other branch is given too: work on "
         "a copy",
         [=] { return right * 2; }});
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

SHARDLAB_CASE(autograd, copy, kValue, {1, 3}) { ExpectForward(t, {Copy(t.ranks())}); }
SHARDLAB_CASE(autograd, reduce, kValue, {1, 3}) { ExpectForward(t, {Reduce(t.ranks())}); }
SHARDLAB_CASE(autograd, scatter, kValue, {1, 2, 3}) {
  ExpectForward(t, {Scatter(t.ranks(), {6, 2}, 0), Scatter(t.ranks(), {2, 5, 3}, 1), Scatter(t.ranks(), {2, 1}, 1)});
}
SHARDLAB_CASE(autograd, gather, kValue, {1, 2, 3}) {
  ExpectForward(t, {Gather(t.ranks(), {6, 2}, 0), Gather(t.ranks(), {2, 6, 3}, 1), Gather(t.ranks(), {2, 5, 3}, 1),
                    Gather(t.ranks(), {2, 1}, 1)});
}
SHARDLAB_CASE(autograd, send_receive, kValue, {1, 2, 4}) {
  ExpectForward(t, {Shift(t.ranks(), true), Shift(t.ranks(), false)});
}
SHARDLAB_CASE(autograd, all_to_all, kValue, {1, 2, 3}) {
  ExpectForward(t, {AllToAll(Matrix(t.ranks(), std::vector<int64_t>(t.ranks(), 1))), AllToAll(RandomRows(t))});
}

SHARDLAB_CASE(autograd, copy_gradient, kGradient, {1, 3}) { ExpectBackward(t, {Copy(t.ranks())}); }
SHARDLAB_CASE(autograd, reduce_gradient, kGradient, {1, 3}) { ExpectBackward(t, {Reduce(t.ranks())}); }
SHARDLAB_CASE(autograd, scatter_gradient, kGradient, {2, 3}) {
  ExpectBackward(t, {Scatter(t.ranks(), {6, 2}, 0), Scatter(t.ranks(), {2, 5, 3}, 1)});
}
SHARDLAB_CASE(autograd, gather_gradient, kGradient, {2, 3}) {
  ExpectBackward(t, {Gather(t.ranks(), {6, 2}, 0), Gather(t.ranks(), {2, 5, 3}, 1)});
}
SHARDLAB_CASE(autograd, send_receive_gradient, kGradient, {2, 3}) {
  ExpectBackward(t, {Shift(t.ranks(), true), Shift(t.ranks(), false)});
}
SHARDLAB_CASE(autograd, all_to_all_gradient, kGradient, {1, 3}) { ExpectBackward(t, {AllToAll(RandomRows(t))}); }

SHARDLAB_CASE(autograd, adjoint, kGradient, {3}) {
  OperatorCalls calls(t);
  for (const Operator& op : {Copy(3), Reduce(3), Scatter(3, {4, 5}, 1), Gather(3, {4, 5}, 0), Shift(3, true),
                             Shift(3, false), AllToAll(RandomRows(t))}) {
    calls.Add(op, "plain", "", true);
  }
  calls.ExpectAdjoint(t.Launch(calls.spec));
}

SHARDLAB_CASE(autograd, some_inputs_need_no_gradient, kRobustness, {3}) {
  // One run each: the first rank that skips its backward leaves the others waiting.
  for (const Operator& op : {Copy(3), Scatter(3, {4, 5}, 1), Shift(3, true), AllToAll(RandomRows(t))}) {
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
  expect(Copy(3), "Copy", 1, 0);
  expect(Reduce(3), "Reduce", 1, 0);
  expect(Scatter(3, {6, 2}, 0), "Scatter", 1, 0);
  expect(Gather(3, {6, 2}, 0), "Gather", 1, 0);
  expect(Shift(3, false), "SendReceive in a row", 0, 4);
  expect(AllToAll(Matrix(3, {1, 1, 1})), "DifferentiableAllToAll", 2, 0);
}

}  // namespace shardlab::grade
