#include "layer_calls.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "kit/words.hpp"
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

// What a layer may keep besides its shards: numbers, a tensor of a few elements.
constexpr double kSmallBytes = 1024;

LayerCall WithoutMistakes(LayerCall call) {
  call.y_mistakes = nullptr;
  call.dx_mistakes = nullptr;
  call.buffer_mistakes = nullptr;
  return call;
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
  const int ranks = RanksOf(call);
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
    std::vector<Weights> on_rank(static_cast<size_t>(ranks));
    for (int rank = 0; rank < ranks; ++rank) {
      for (auto& [name, leaf] : leaves) {
        if (call.gradients_of_own_rows) {
          // What this rank's rows contribute: as if nothing came back to the others'.
          at::Tensor own_dy = at::zeros_like(dy);
          const Range rows = RangeOf(call.output, dy, ranks, rank);
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
  params["groups"] = calls_[c].groups;
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
          t.PerRank([&](int rank) { return PartOf(call, call.input, call.x[step], rank).contiguous(); });
      if (call.dy[step].defined()) {
        spec.inputs[i + ".dy" + s] =
            t.PerRank([&](int rank) { return PartOf(call, call.output, call.dy[step], rank).contiguous(); });
      }
    }
  }
  return t.Launch(spec);
}

void LayerCalls::Compare(CaseContext& t, const Run& run, int rank, const std::string& output, const LayerCall& call,
                         const at::Tensor& full, const Placement& placement, bool exact, double scale,
                         Label label) const {
  const int ranks = RanksOf(call);
  const int place = PlaceOf(call, rank);
  const at::Tensor expected = placement.PartOf(full, ranks, place);
  label.offset = placement.OffsetOf(full, ranks, place);
  if (!placement.IsWhole()) {
    if (call.groups == 1) {
      for (int r = 0; r < ranks; ++r) label.of_ranks.push_back(placement.PartOf(full, ranks, r));
    } else {
      label.hypotheses.push_back(
          {"it is the part of this rank in the communicator of another layer: each layer has its own",
           [=, all = ranks_] { return placement.PartOf(full, all, rank); }});
    }
    const int64_t cut = Cut(placement, full);
    for (int64_t other = 0; full.dim() == 2 && other < 2; ++other) {
      if (other == cut) continue;
      label.hypotheses.push_back(
          {"it is cut along the other dimension", [=] { return Placement{other}.PartOf(full, ranks, place); }});
    }
  } else {
    for (int64_t dim = 0; dim < full.dim() && ranks > 1; ++dim) {
      label.hypotheses.push_back(
          {fmt::format("it is this rank's part along dimension {}: the parts must be gathered", dim),
           [=] { return Placement{dim}.PartOf(full, ranks, place); }});
    }
  }
  if (exact) {
    t.ExpectEqual(run, rank, output, expected, label);
  } else {
    // float32 is as near to its reference as to the truth: 1e-4 of the norm.
    t.ExpectClose(run, rank, output, expected, label, scale, full.scalar_type() == at::kFloat ? 1e6 : 1);
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
        Compare(t, run, rank, name, call, weight.full, weight.placement, /*exact=*/true, 0, {what});
        t.Expect(run.Number(rank, i + ".shares." + weight.name) == 0,
                 fmt::format("{} shares memory with the full weight on rank {}: a shard is a copy (clone), or all of "
                             "the full weight stays alive with it",
                             what, rank));
        t.Expect(run.Number(rank, i + ".leaf." + weight.name) == 1,
                 fmt::format("{} is no leaf on rank {}: autograd knows that it was cut out of the full weight, which "
                             "gets its gradient; cut it out of weight.detach()",
                             what, rank));
        // Of what is whole on every rank there is nothing to be saved.
        t.Expect(weight.placement.IsWhole() || run.Number(rank, i + ".alive." + weight.name) == 0,
                 fmt::format("{} keeps the full `{}` alive on rank {}: a layer keeps its shard and lets go of what it "
                             "was made of",
                             call.what, weight.name, rank));
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
      Compare(t, run, rank, i + ".buffer." + buffer.name, call, buffer.full, buffer.placement,
              call.exact || !buffer.full.is_floating_point(), 0, label);
    }
  }
}

void LayerCalls::ExpectGivenAsItWas(CaseContext& t, const Run& run, size_t c) const {
  const std::string i = std::to_string(c);
  for (const Weight& weight : calls_[c].weights) {
    for (int rank = 0; rank < ranks_ && weight.full.defined(); ++rank) {
      t.Expect(run.Number(rank, i + ".given_changed." + weight.name) == 0,
               fmt::format("{} changed the full `{}` that it was given on rank {}: it is somebody else's, and is left "
                           "as it is",
                           calls_[c].what, weight.name, rank));
      t.Expect(run.Number(rank, i + ".given_frozen." + weight.name) == 0,
               fmt::format("{} was given a full `{}` that wants a gradient, and afterwards it wants none on rank {}: "
                           "weight.detach() leaves it as it is",
                           calls_[c].what, weight.name, rank));
    }
  }
}

std::vector<Hypothesis> LayerCalls::WrittenLater(size_t c, size_t step, int rank) const {
  std::vector<Hypothesis> later;
  for (size_t other = c; other < calls_.size(); ++other) {
    const LayerCall& call = calls_[other];
    for (size_t s = other == c ? step + 1 : 0; s < call.x.size(); ++s) {
      later.push_back(
          {"the result of a later call was written into the same memory: each result is a tensor of its own",
           [=, &call] { return PartOf(call, call.output, references_[other].y[s], rank); }});
    }
  }
  return later;
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
        Append(label.hypotheses, WrittenLater(c, step, rank));
        Compare(t, run, rank, i + ".y" + s, call, references_[c].y[step], call.output, call.exact, 0, label);
      }
    }
    ExpectGivenAsItWas(t, run, c);
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
          Compare(t, run, rank, i + ".dx" + s, call, reference.dx[step], call.input, call.exact, scale, label);
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
  const at::Tensor& full = on_rank[static_cast<size_t>(PlaceOf(call, rank))].at(weight.name);
  // Nothing of a parameter without elements is used, and LibTorch may leave such a gradient undefined.
  if (PartOf(call, weight.placement, full, rank).numel() == 0 && !run.Output(rank, output).defined()) return;
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
  Compare(t, run, rank, output, call, full, weight.placement, call.exact, scale, label);
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

void LayerCalls::ExpectMemory(CaseContext& t) {
  for (LayerCall& call : calls_) call.params["forgets"] = true;
  const Run run = Launch(t);
  for (size_t c = 0; c < calls_.size(); ++c) {
    const LayerCall& call = calls_[c];
    const std::string i = std::to_string(c);
    int64_t made_of = 0;
    for (const Weight& weight : call.weights) made_of += weight.full.defined() ? weight.full.nbytes() : 0;
    for (int rank = 0; rank < ranks_; ++rank) {
      int64_t own = 0;
      for (const Weight& weight : call.weights) {
        if (weight.full.defined()) own += PartOf(call, weight.placement, weight.full, rank).nbytes();
      }
      for (const Weight& buffer : references_[c].buffers) {
        own += PartOf(call, buffer.placement, buffer.full, rank).nbytes();
      }
      const double kept = run.Number(rank, i + ".kept");
      t.Expect(kept <= static_cast<double>(own) + kSmallBytes,
               fmt::format("{} keeps {:.0f} bytes on rank {}, and its shards have {}{}", call.what, kept, rank, own,
                           kept >= static_cast<double>(made_of)
                               ? fmt::format(": as much as the full weights ({} bytes), of which a rank keeps its "
                                             "part. A view keeps what it is a view of: cut first, then copy",
                                             made_of)
                               : ""));
      const double left = run.Number(rank, i + ".left");
      t.Expect(
          left <= kSmallBytes,
          fmt::format("{}: {:.0f} bytes more are alive on rank {} after {} than before them (an input has {}): the "
                      "layer holds tensors of its forwards, or an operator's memory holds what it returned",
                      call.what, left, rank, Count(static_cast<int64_t>(call.x.size()), "forward and backward"),
                      PartOf(call, call.input, call.x[0], rank).nbytes()));
    }
  }
}

void LayerCalls::ExpectRefused(CaseContext& t) {
  spec.body = "layers_refuse";
  const Run run = Launch(t);
  for (size_t c = 0; c < calls_.size(); ++c) {
    for (int rank = 0; rank < ranks_; ++rank) {
      const double refused = run.Number(rank, std::to_string(c) + ".refused");
      t.Expect(refused != 0, calls_[c].what + ": it must throw ContractError");
      t.Expect(refused == 1, calls_[c].what + ": it must throw ContractError, and threw something else");
    }
  }
  // Only in a forward can there be something that a rank has to ask the others.
  const auto runs = std::count_if(calls_.begin(), calls_.end(), [](const LayerCall& call) { return !call.x.empty(); });
  t.ExpectCost("collectives of calls that are to be refused", static_cast<double>(run.TotalCost().collectives),
               static_cast<double>(runs * ranks_), "collectives");
}

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
  call.what += rows.empty() ? ", as [features]" : fmt::format(", as [{}, features]", fmt::join(rows, ", "));
  for (at::Tensor& x : call.x) x = x.view(shape);
  for (at::Tensor& dy : call.dy) dy = dy.view(shape);
  return WithoutMistakes(std::move(call));
}

LayerCall InFloat32(LayerCall call) {
  call.what += ", float32";
  for (Weight& weight : call.weights) {
    if (weight.full.defined()) weight.full = weight.full.to(at::kFloat);
  }
  for (at::Tensor& x : call.x) x = x.to(at::kFloat);
  for (at::Tensor& dy : call.dy) dy = dy.defined() ? dy.to(at::kFloat) : dy;
  return WithoutMistakes(std::move(call));
}

LayerCall OnGroups(LayerCall call, int groups) {
  call.what += fmt::format(", on {} groups of ranks", groups);
  call.groups = groups;
  return WithoutMistakes(std::move(call));
}

}  // namespace shardlab::grade
