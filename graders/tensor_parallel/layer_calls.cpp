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

// As near as any correct program comes, and far nearer than any of the suspects to another.
bool Same(const at::Tensor& a, const at::Tensor& b, double scale = 0) {
  if (!a.defined() || !b.defined() || a.sizes() != b.sizes()) return false;
  if (a.numel() == 0) return true;
  const at::Tensor a64 = a.to(at::kDouble);
  const at::Tensor b64 = b.to(at::kDouble);
  return (a64 - b64).norm().item().toDouble() <= 1e-10 * std::max(b64.norm().item().toDouble(), 1e-3 * scale);
}

std::string Element(const at::Tensor& tensor, int64_t index) {
  return fmt::format("{:.6g}", tensor.reshape({-1})[index].item().toDouble());
}

// ", at [0, 2] 3 is expected and 6 came": the first element that differs much.
std::string FirstDifference(const at::Tensor& got, const at::Tensor& expected) {
  const at::Tensor difference = (got.to(at::kDouble) - expected.to(at::kDouble)).abs().reshape({-1});
  const double limit = 1e-9 * std::max(1.0, expected.to(at::kDouble).abs().max().item().toDouble());
  const auto shape = expected.sizes().vec();
  for (int64_t i = 0; i < difference.size(0); ++i) {
    if (difference[i].item().toDouble() <= limit) continue;
    std::vector<int64_t> index(shape.size());
    int64_t rest = i;
    for (size_t d = shape.size(); d-- > 0;) {
      index[d] = rest % shape[d];
      rest /= shape[d];
    }
    return fmt::format(", at {} {} is expected and {} came", ShapeName(index), Element(expected, i), Element(got, i));
  }
  return "";
}

}  // namespace

std::string ShapeName(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

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

Run LayerCalls::Launch(CaseContext& t) {
  spec.params["calls"] = nlohmann::json::array();
  for (size_t c = 0; c < calls_.size(); ++c) {
    const LayerCall& call = calls_[c];
    const std::string i = std::to_string(c);
    nlohmann::json params = call.params;
    params["what"] = call.what;
    params["steps"] = call.x.size();
    spec.params["calls"].push_back(params);
    for (const Weight& weight : call.weights) {
      if (weight.full.defined()) spec.inputs[i + "." + weight.name] = {weight.full};
    }
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

void LayerCalls::Compare(CaseContext& t, const Run& run, int rank, const std::string& output, const std::string& what,
                         const at::Tensor& full, const Placement& placement, bool exact, double scale,
                         const std::function<std::vector<Suspect>(int)>& suspects) const {
  const at::Tensor expected = placement.PartOf(full, ranks_, rank);
  const at::Tensor got = run.Output(rank, output);
  const auto fail = [&](const std::string& meaning) {
    const bool comparable = got.defined() && got.sizes() == expected.sizes() && got.numel() > 0;
    t.Fail(fmt::format("{} on rank {} of {} is wrong: {}{}", what, rank, ranks_, meaning,
                       comparable ? FirstDifference(got, expected) : ""));
  };
  if (!got.defined()) {
    t.Fail(fmt::format("{} on rank {} of {} is missing: expected {}", what, rank, ranks_,
                       ShapeName(expected.sizes().vec())));
  }
  if (got.sizes() != expected.sizes()) {
    if (!placement.IsWhole() && got.sizes() == full.sizes()) {
      fail(fmt::format("it is the whole, {}; this rank's part is {}", ShapeName(full.sizes().vec()),
                       ShapeName(expected.sizes().vec())));
    }
    if (!placement.IsWhole() && placement.sizes.empty()) {
      fail(
          fmt::format("its shape is {}, and this rank's part of {} is {} (SplitRange gives the first n % T ranks one "
                      "more; LibTorch's chunk divides differently)",
                      ShapeName(got.sizes().vec()), ShapeName(full.sizes().vec()), ShapeName(expected.sizes().vec())));
    }
  } else if (!Same(got, expected, scale)) {
    if (suspects) {
      for (const Suspect& suspect : suspects(rank)) {
        if (suspect.value.defined() && !Same(suspect.value, expected) && Same(got, suspect.value))
          fail(suspect.meaning);
      }
    }
    if (!placement.IsWhole()) {
      for (int other = 0; other < ranks_; ++other) {
        if (other != rank && Same(got, placement.PartOf(full, ranks_, other))) {
          fail(fmt::format("it is rank {}'s part", other));
        }
      }
    }
    if (ranks_ > 1 && Same(got, expected * ranks_)) {
      fail(fmt::format("it is {} times as large, the number of ranks: something that every rank has whole is summed",
                       ranks_));
    }
    if (ranks_ > 1 && Same(got, expected / ranks_)) {
      fail(fmt::format("it is 1/{} of it: a mean over the ranks where the sum belongs", ranks_));
    }
    if (got.count_nonzero().item().toLong() == 0) fail("it is zero");
  }
  const Label label{what, placement.OffsetOf(full, ranks_, rank)};
  if (exact) {
    t.ExpectEqual(run, rank, output, expected, label);
  } else {
    t.ExpectClose(run, rank, output, expected, label, scale);
  }
}

void LayerCalls::ExpectShards(CaseContext& t, const Run& run) const {
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
        Compare(t, run, rank, name, fmt::format("parameter `{}` of {}", weight.name, call.what), weight.full,
                weight.placement, /*exact=*/true, 0, nullptr);
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
    const auto suspects = [&](int rank) {
      std::vector<Suspect> parts = call.buffer_suspects ? call.buffer_suspects(buffer.name) : std::vector<Suspect>{};
      for (Suspect& suspect : parts) suspect.value = buffer.placement.PartOf(suspect.value, ranks_, rank);
      return parts;
    };
    for (int rank = 0; rank < ranks_; ++rank) {
      Compare(t, run, rank, i + ".buffer." + buffer.name, fmt::format("buffer `{}` of {}", buffer.name, call.what),
              buffer.full, buffer.placement, call.exact || !buffer.full.is_floating_point(), 0, suspects);
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
        Compare(t, run, rank, i + ".y" + s, fmt::format("the output of {}{}", call.what, in_step),
                references_[c].y[step], call.output, call.exact, 0, step == 0 ? call.y_suspects : nullptr);
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
          Compare(t, run, rank, i + ".dx" + s, "the gradient of the input of " + call.what, reference.dx[step],
                  call.input, call.exact, scale, step == 0 ? call.dx_suspects : nullptr);
        }
        for (const Weight& weight : call.weights) {
          if (!weight.full.defined()) continue;
          const std::string output = i + ".grad" + s + "." + weight.name;
          const at::Tensor& full = reference.gradients_on_rank[step][static_cast<size_t>(rank)].at(weight.name);
          // Nothing of a parameter without elements is used, and LibTorch may leave such a gradient undefined.
          if (weight.placement.PartOf(full, ranks_, rank).numel() == 0 && !run.Output(rank, output).defined()) continue;
          Compare(t, run, rank, output, fmt::format("the gradient of `{}` of {}", weight.name, call.what), full,
                  weight.placement, call.exact, scale, nullptr);
          if (weight.placement.IsWhole() && !call.gradients_of_own_rows) {
            t.Expect(
                at::equal(run.Output(rank, output), run.Output(0, output)),
                fmt::format("the gradient of the replicated `{}` of {} has other bits on rank {} than on rank 0: the "
                            "replicas will drift apart",
                            weight.name, call.what, rank));
          }
        }
      }
    }
  }
}

std::vector<Collective> Between(const Run& run, int rank, const std::string& from, const std::string& to) {
  std::vector<Collective> collectives;
  bool inside = false;
  for (const Event& event : run.outcome.events) {
    if (event.rank != rank) continue;
    const Record& record = event.record;
    if (record.kind == RecordKind::kMark) {
      if (record.name == from) inside = true;
      if (record.name == to) inside = false;
    } else if (inside && record.kind == RecordKind::kPost && record.op != OpKind::kSend && record.op != OpKind::kRecv) {
      const auto size = static_cast<int64_t>(c10::elementSize(static_cast<at::ScalarType>(record.dtype)));
      collectives.push_back({record.op, record.bytes_sent / size});
    }
  }
  return collectives;
}

namespace {

std::string Words(const std::vector<Collective>& collectives, bool any_kind) {
  if (collectives.empty()) return "nothing";
  std::vector<std::string> names;
  for (const Collective& one : collectives) {
    names.push_back(fmt::format("{} of {} elements", any_kind ? "a collective" : shardlab::Name(one.op), one.elements));
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

void ExpectTraffic(CaseContext& t, const Run& run, const std::string& what, const std::string& from,
                   const std::string& to, const std::function<std::vector<Collective>(int rank)>& expected,
                   bool any_kind) {
  int64_t measured = 0;
  int64_t target = 0;
  for (int rank = 0; rank < t.ranks(); ++rank) {
    const std::vector<Collective> got = Between(run, rank, from, to);
    const std::vector<Collective> want = expected(rank);
    bool same = got.size() == want.size();
    for (size_t i = 0; same && i < got.size(); ++i) {
      same = got[i].elements == want[i].elements && (any_kind || got[i].op == want[i].op);
    }
    t.Expect(same, fmt::format("{} on rank {} of {}: the contract has {}, and there was {}", what, rank, t.ranks(),
                               Words(want, any_kind), Words(got, false)));
    for (const Collective& one : got) measured += one.elements;
    for (const Collective& one : want) target += one.elements;
  }
  t.ExpectCost(what + ", elements that all ranks hand over", static_cast<double>(measured), static_cast<double>(target),
               "elements");
}

}  // namespace shardlab::grade
