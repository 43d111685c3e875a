#include "layer_calls.hpp"

#include <cmath>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/base/split.hpp"

namespace shardlab::grade {
namespace {

int64_t Cut(const Placement& placement, const at::Tensor& full) {
  return placement.dim < 0 ? placement.dim + full.dim() : placement.dim;
}

Range RangeOf(const Placement& placement, const at::Tensor& full, int ranks, int rank) {
  const int64_t size = full.size(Cut(placement, full));
  if (placement.sizes.empty()) return SplitRange(size, ranks, rank);
  Range range{0, 0};
  for (int r = 0; r <= rank; ++r) range = {range.end, range.end + placement.sizes[static_cast<size_t>(r)]};
  return range;
}

// The parameters that call `i` handed back on a rank: "`fc1.weight`, `fc1.bias`".
std::string ParametersThere(const Run& run, int rank, const std::string& i) {
  std::vector<std::string> names;
  const std::string prefix = i + ".param.";
  for (const auto& [name, frame] : run.outcome.ranks[static_cast<size_t>(rank)].outputs) {
    if (name.rfind(prefix, 0) == 0) names.push_back("`" + name.substr(prefix.size()) + "`");
  }
  return names.empty() ? "it registers none (register_parameter)" : fmt::format("it has {}", fmt::join(names, ", "));
}

}  // namespace

at::Tensor Placement::PartOf(const at::Tensor& full, int ranks, int rank) const {
  if (IsWhole() || !full.defined()) return full;
  const Range range = RangeOf(*this, full, ranks, rank);
  return full.narrow(Cut(*this, full), range.begin, range.size()).contiguous();
}

std::vector<int64_t> Placement::OffsetOf(const at::Tensor& full, int ranks, int rank) const {
  if (IsWhole()) return {};
  std::vector<int64_t> offset(static_cast<size_t>(full.dim()), 0);
  offset[static_cast<size_t>(Cut(*this, full))] = RangeOf(*this, full, ranks, rank).begin;
  return offset;
}

int LayerCalls::Add(LayerCall call) {
  Reference reference;
  for (size_t step = 0; step < call.x.size(); ++step) {
    Weights leaves;
    for (const Weight& weight : call.weights) {
      if (weight.full.defined()) leaves[weight.name] = weight.full.detach().clone().requires_grad_(true);
    }
    const at::Tensor x = call.x[step].detach().clone().requires_grad_(true);
    const at::Tensor y = call.oracle(leaves, x);
    reference.y.push_back(y.detach());
    const at::Tensor& dy = call.dy[step];
    if (!dy.defined()) {
      reference.dx.emplace_back();
      reference.gradients_on_rank.emplace_back();
      continue;
    }
    y.backward(dy, /*retain_graph=*/true);
    reference.dx.push_back(x.grad().clone());
    std::vector<Weights> on_rank(static_cast<size_t>(ranks_));
    for (int rank = 0; rank < ranks_; ++rank) {
      for (auto& [name, leaf] : leaves) {
        if (call.gradients_of_own_rows) {
          // What this rank's rows contribute: as if nothing came back to the others'.
          at::Tensor own_dy = at::zeros_like(dy);
          const Range rows = RangeOf(call.output, dy, ranks_, rank);
          own_dy.narrow(0, rows.begin, rows.size()).copy_(dy.narrow(0, rows.begin, rows.size()));
          leaf.mutable_grad() = at::Tensor();
          y.backward(own_dy, /*retain_graph=*/true, /*create_graph=*/false, std::vector<at::Tensor>{leaf});
        }
        on_rank[static_cast<size_t>(rank)][name] = leaf.grad().clone();
      }
    }
    reference.gradients_on_rank.push_back(on_rank);
  }
  if (call.buffers) reference.buffers = call.buffers();
  calls_.push_back(std::move(call));
  references_.push_back(std::move(reference));
  return static_cast<int>(calls_.size()) - 1;
}

void LayerCalls::Describe(size_t c, size_t steps, RunSpec* spec) const {
  nlohmann::json params = calls_[c].params;
  params["what"] = calls_[c].what;
  params["steps"] = steps;
  spec->params["calls"].push_back(params);
  for (const Weight& weight : calls_[c].weights) {
    if (weight.full.defined()) spec->inputs[fmt::format("{}.{}", c, weight.name)] = {weight.full};
  }
}

Run LayerCalls::Launch(CaseContext& t) {
  spec.params["calls"] = nlohmann::json::array();
  for (size_t c = 0; c < calls_.size(); ++c) {
    const LayerCall& call = calls_[c];
    const std::string i = std::to_string(c);
    Describe(c, call.x.size(), &spec);
    for (size_t step = 0; step < call.x.size(); ++step) {
      const std::string s = std::to_string(step);
      spec.inputs[i + ".x" + s] =
          t.PerRank([&](int rank) { return call.input.PartOf(call.x[step], ranks_, rank).contiguous(); });
      if (call.dy[step].defined()) {
        spec.inputs[i + ".dy" + s] =
            t.PerRank([&](int rank) { return call.output.PartOf(call.dy[step], ranks_, rank).contiguous(); });
      }
    }
  }
  return t.Launch(spec);
}

void LayerCalls::Compare(CaseContext& t, const Run& run, int rank, const std::string& output, const at::Tensor& full,
                         const Placement& placement, bool exact, double scale, Label label) const {
  const at::Tensor expected = placement.PartOf(full, ranks_, rank);
  label.offset = placement.OffsetOf(full, ranks_, rank);
  if (!placement.IsWhole()) {
    for (int r = 0; r < ranks_; ++r) label.of_ranks.push_back(placement.PartOf(full, ranks_, r));
    const int64_t cut = Cut(placement, full);
    for (int64_t other = 0; full.dim() == 2 && other < 2; ++other) {
      if (other == cut) continue;
      label.hypotheses.push_back({"it is cut along the other dimension",
                                  [=, ranks = ranks_] { return Placement{other}.PartOf(full, ranks, rank); }});
    }
  } else {
    for (int64_t dim = 0; dim < full.dim() && ranks_ > 1; ++dim) {
      label.hypotheses.push_back(
          {fmt::format("it is this rank's part along dimension {}: the parts must be gathered", dim),
           [=, ranks = ranks_] { return Placement{dim}.PartOf(full, ranks, rank); }});
    }
  }
  if (exact) {
    t.ExpectEqual(run, rank, output, expected, label);
  } else {
    t.ExpectClose(run, rank, output, expected, label, scale);
  }
}

void LayerCalls::ExpectShards(CaseContext& t) const {
  RunSpec making;
  making.body = spec.body;
  making.params["calls"] = nlohmann::json::array();
  for (size_t c = 0; c < calls_.size(); ++c) Describe(c, /*steps=*/0, &making);
  const Run run = t.Launch(making);
  for (size_t c = 0; c < calls_.size(); ++c) {
    const LayerCall& call = calls_[c];
    const std::string i = std::to_string(c);
    for (int rank = 0; rank < ranks_; ++rank) {
      std::set<std::string> known;
      for (const Weight& weight : call.weights) {
        const std::string name = i + ".param." + weight.name;
        known.insert(name);
        if (!weight.full.defined()) {
          t.Expect(!run.Output(rank, name).defined(),
                   fmt::format("{}: there is a parameter `{}` although none was given", call.what, weight.name));
          continue;
        }
        const std::string what = fmt::format("parameter `{}` of {}", weight.name, call.what);
        t.Expect(run.Output(rank, name).defined(),
                 fmt::format("{} is missing on rank {}: {}", what, rank, ParametersThere(run, rank, i)));
        Compare(t, run, rank, name, weight.full, weight.placement, /*exact=*/true, 0, {what});
        t.Expect(
            !run.Output(rank, name).defined() || run.Number(rank, i + ".shares." + weight.name) == 0,
            fmt::format("{} shares memory with the full weight on rank {}: a shard is a copy (clone), or all of the "
                        "full weight stays alive with it",
                        what, rank));
      }
      for (const auto& [name, frame] : run.outcome.ranks[static_cast<size_t>(rank)].outputs) {
        if (name.rfind(i + ".param.", 0) == 0 && known.count(name) == 0) {
          t.Fail(fmt::format("{}: there is a parameter `{}`, which the contract does not have", call.what,
                             name.substr(i.size() + 7)));
        }
      }
    }
  }
}

void LayerCalls::ExpectBuffers(CaseContext& t, const Run& run, size_t c) const {
  const LayerCall& call = calls_[c];
  const std::string i = std::to_string(c);
  for (const Weight& buffer : references_[c].buffers) {
    for (int rank = 0; rank < ranks_; ++rank) {
      Label label{fmt::format("buffer `{}` of {}", buffer.name, call.what)};
      if (call.buffer_mistakes) label.hypotheses = call.buffer_mistakes(buffer.name, rank);
      Compare(t, run, rank, i + ".buffer." + buffer.name, buffer.full, buffer.placement,
              call.exact || !buffer.full.is_floating_point(), 0, label);
    }
  }
}

void LayerCalls::ExpectOutputs(CaseContext& t, const Run& run) const {
  for (size_t c = 0; c < calls_.size(); ++c) {
    const LayerCall& call = calls_[c];
    const std::string i = std::to_string(c);
    for (size_t step = 0; step < call.x.size(); ++step) {
      const std::string s = std::to_string(step);
      // What evaluation, the last step, gets from the buffers is wrong where they are.
      if (step + 1 == call.x.size()) ExpectBuffers(t, run, c);
      const std::string in_step = call.x.size() > 1 ? fmt::format(" in step {}", step + 1) : "";
      for (int rank = 0; rank < ranks_; ++rank) {
        t.Expect(run.Number(rank, i + ".input_changed" + s) == 0,
                 fmt::format("{}: forward changed its input on rank {}; work on a copy", call.what, rank));
        Label label = call.y_mistakes ? call.y_mistakes(step, rank) : Label{};
        label.what = fmt::format("the output of {}{}", call.what, in_step);
        Compare(t, run, rank, i + ".y" + s, references_[c].y[step], call.output, call.exact, 0, label);
      }
    }
  }
}

void LayerCalls::ExpectGradients(CaseContext& t, const Run& run) const {
  for (size_t c = 0; c < calls_.size(); ++c) {
    const LayerCall& call = calls_[c];
    const Reference& reference = references_[c];
    const std::string i = std::to_string(c);
    for (size_t step = 0; step < call.x.size(); ++step) {
      if (!call.dy[step].defined()) continue;
      const std::string s = std::to_string(step);

      double squares = reference.dx[step].square().sum().item().toDouble();
      for (const auto& [name, gradient] : reference.gradients_on_rank[step][0]) {
        squares += gradient.square().sum().item().toDouble();
      }
      const double scale = std::sqrt(squares / static_cast<double>(reference.gradients_on_rank[step][0].size() + 1));

      for (int rank = 0; rank < ranks_; ++rank) {
        if (call.params.value("input_needs_gradient", true)) {
          Label label = call.dx_mistakes ? call.dx_mistakes(step, rank) : Label{};
          label.what = "the gradient of the input of " + call.what;
          Compare(t, run, rank, i + ".dx" + s, reference.dx[step], call.input, call.exact, scale, label);
        }
        for (const Weight& weight : call.weights) {
          if (weight.full.defined()) ExpectGradient(t, run, c, step, rank, weight, scale);
        }
      }
    }
  }
}

void LayerCalls::ExpectGradient(CaseContext& t, const Run& run, size_t c, size_t step, int rank, const Weight& weight,
                                double scale) const {
  const LayerCall& call = calls_[c];
  const std::string output = fmt::format("{}.grad{}.{}", c, step, weight.name);
  const std::vector<Weights>& on_rank = references_[c].gradients_on_rank[step];
  const at::Tensor& full = on_rank[static_cast<size_t>(rank)].at(weight.name);
  // Nothing of a parameter without elements is used, and LibTorch may leave such a gradient undefined.
  if (weight.placement.PartOf(full, ranks_, rank).numel() == 0 && !run.Output(rank, output).defined()) return;
  Label label{fmt::format("the gradient of `{}` of {}", weight.name, call.what)};
  t.Expect(run.Output(rank, output).defined(),
           fmt::format(
               "{} on rank {} is missing: for autograd the parameter takes no part in the output. A collective of the "
               "communicator's own, or a detached copy, ends the graph; CopyToShards, ReduceFromShards and "
               "GatherFromShards are part of it",
               label.what, rank));
  if (call.gradients_of_own_rows) {
    label.hypotheses.push_back(
        {"it is the gradient of the samples of all ranks: each rank's own rows are meant, and whoever "
         "averages gradients later adds them up",
         [&on_rank, name = weight.name] {
           at::Tensor sum = at::zeros_like(on_rank[0].at(name));
           for (const Weights& one : on_rank) sum = sum + one.at(name);
           return sum;
         }});
  }
  Compare(t, run, rank, output, full, weight.placement, call.exact, scale, label);
  if (weight.placement.IsWhole() && !call.gradients_of_own_rows && run.Output(rank, output).defined() &&
      run.Output(0, output).defined()) {
    t.Expect(at::equal(run.Output(rank, output), run.Output(0, output)),
             fmt::format(
                 "{} has other bits on rank {} than on rank 0 although it is replicated: the replicas will drift apart",
                 label.what, rank));
  }
}

void LayerCalls::ExpectValuesOnly(CaseContext& t) {
  ExpectShards(t);
  ExpectOutputs(t, Launch(t));
}

Run LayerCalls::ExpectAll(CaseContext& t) {
  Run run = Launch(t);
  ExpectOutputs(t, run);
  ExpectGradients(t, run);
  return run;
}

void LayerCalls::ExpectGradientsOnly(CaseContext& t) { ExpectGradients(t, Launch(t)); }

LayerCall NonContiguous(LayerCall call) {
  call.what += ", non-contiguous input";
  call.params["strided"] = true;
  return call;
}

LayerCall WithoutInputGradient(LayerCall call) {
  call.what += ", the input needs no gradient";
  call.params["input_needs_gradient"] = false;
  return call;
}

LayerCall WithoutAutograd(LayerCall call) {
  call.what += ", without autograd";
  call.dy.assign(call.dy.size(), at::Tensor());
  return call;
}

LayerCall WithRowsAs(LayerCall call, const std::vector<int64_t>& rows) {
  std::vector<int64_t> shape = rows;
  shape.push_back(-1);
  call.what += fmt::format(", as [{}, features]", fmt::join(rows, ", "));
  for (at::Tensor& x : call.x) x = x.view(shape);
  for (at::Tensor& dy : call.dy) dy = dy.view(shape);
  call.y_mistakes = nullptr;
  call.dx_mistakes = nullptr;
  return call;
}

}  // namespace shardlab::grade
