#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include "kit/run_calls.hpp"
#include "kit/strides.hpp"
#include "shardlab/measure/memory.hpp"
#include "shardlab/tensor_parallel/batch_norm.hpp"
#include "shardlab/tensor_parallel/column_linear.hpp"
#include "shardlab/tensor_parallel/fused_mlp.hpp"
#include "shardlab/tensor_parallel/layer_norm.hpp"
#include "shardlab/tensor_parallel/moments.hpp"
#include "shardlab/tensor_parallel/rms_norm.hpp"
#include "shardlab/tensor_parallel/row_linear.hpp"
#include "shardlab/tensor_parallel/sharded_mlp.hpp"
#include "shardlab/tensor_parallel/shards.hpp"

// What every rank runs: several calls in a run, and what belongs to call number i is called "<i>.x", "<i>.y", ...
// (layer_calls.hpp is the referee's side).

namespace shardlab::grade {
namespace {

at::Tensor Optional(RankContext& ctx, const std::string& name) {
  return ctx.HasInput(name) ? ctx.Input(name) : at::Tensor();
}

// Says what is wrong with an output before LibTorch does, which knows neither ranks nor graders.
void CheckOutput(const at::Tensor& y, const at::Tensor& dy) {
  if (y.sizes() != dy.sizes()) {
    throw std::runtime_error(fmt::format("the output has shape [{}]; on this rank it must be [{}]",
                                         fmt::join(y.sizes(), ", "), fmt::join(dy.sizes(), ", ")));
  }
  if (!y.requires_grad()) {
    throw std::runtime_error(
        "the output does not belong to the graph, so this rank has no backward, and others may wait for it in theirs. "
        "A "
        "collective outside autograd ends the graph, as a detached tensor does: CopyToShards, ReduceFromShards and "
        "GatherFromShards are part of it. And a rank with nothing to compute still computes with its empty parameters");
  }
}

// A layer and what it was made of and is run on: inputs x0, x1, ..., and a backward where there is a gradient dy0, dy1,
// ... What comes of it is handed back by HandBack alone, after every other layer has run: a result that lies where a later
// one was written shows.
class LayerRun {
 public:
  LayerRun(RankContext& ctx, std::string number, const nlohmann::json& call)
      : ctx_(ctx), i_(std::move(number)), call_(call), steps_(call.at("steps")) {
    const int groups = call.value("groups", 1);
    comm_ = groups == 1 ? ctx.shared_comm() : ctx.comm().Split(ctx.rank() % groups, ctx.rank(), "other ranks");
    for (const std::string name : {"weight", "bias", "first.weight", "first.bias", "second.weight", "second.bias"}) {
      const at::Tensor input = Optional(ctx, i_ + "." + name);
      // As a Linear has it: a leaf that wants a gradient.
      if (input.defined()) given_[name] = {input.clone().requires_grad_(true), input};
    }
    const int64_t before = LiveBytes();
    layer_ = Make();
    ctx.Number(i_ + ".kept", static_cast<double>(LiveBytes() - before));
    for (const auto& parameter : layer_->named_parameters()) {
      const at::Tensor& mine = parameter.value();
      ctx.Output(i_ + ".param." + parameter.key(), mine);
      ctx.Number(i_ + ".leaf." + parameter.key(), mine.is_leaf() ? 1 : 0);
      const bool shares = std::any_of(given_.begin(), given_.end(), [&](const auto& weight) {
        return mine.numel() > 0 && mine.is_alias_of(weight.second.full);
      });
      ctx.Number(i_ + ".shares." + parameter.key(), shares ? 1 : 0);
    }
    for (const auto& [name, weight] : given_) {
      // The tensor and its memory belong to this list and to nobody else.
      const bool kept = weight.full.use_count() > 1 || weight.full.storage().use_count() > 1;
      ctx.Number(i_ + ".alive." + name, kept ? 1 : 0);
    }
  }

  int steps() const { return steps_; }

  void Forward(int step) {
    const std::string s = std::to_string(step);
    Step& now = steps_run_.emplace(step, Step{}).first->second;
    layer_->train(!call_.contains("training") || call_.at("training").at(static_cast<size_t>(step)).get<bool>());

    now.x = ctx_.Input(i_ + ".x" + s);
    now.before = now.x.clone();
    now.dy = Optional(ctx_, i_ + ".dy" + s);
    if (call_.value("strided", false)) now.x = Strided(now.x);
    now.x.requires_grad_(call_.value("input_needs_gradient", true));

    ctx_.Mark("forward " + i_ + "." + s);
    if (now.dy.defined()) {
      now.y = layer_->forward(now.x);
    } else {
      const torch::NoGradGuard no_grad;
      now.y = layer_->forward(now.x);
    }
    ctx_.Mark("backward " + i_ + "." + s);
  }

  void Backward(int step) {
    const std::string s = std::to_string(step);
    Step& now = steps_run_.at(step);
    for (const at::Tensor& parameter : layer_->parameters()) parameter.mutable_grad() = at::Tensor();
    if (now.dy.defined()) {
      CheckOutput(now.y, now.dy);
      now.y.backward(now.dy);
      for (const auto& parameter : layer_->named_parameters()) {
        const at::Tensor& gradient = parameter.value().grad();
        if (gradient.defined()) ctx_.Output(i_ + ".grad" + s + "." + parameter.key(), gradient);
      }
    }
    ctx_.Mark("end " + i_ + "." + s);
  }

  // All steps one after the other, with nothing kept of them.
  void RunAndForget() {
    const int64_t before = LiveBytes();
    for (int step = 0; step < steps_; ++step) {
      Forward(step);
      Backward(step);
      for (const at::Tensor& parameter : layer_->parameters()) parameter.mutable_grad() = at::Tensor();
      steps_run_.clear();
    }
    // A thread of the communicator lets go of what it has sent a moment after the call has returned: what a layer holds
    // is there for good, so the least of some looks counts.
    int64_t left = LiveBytes() - before;
    constexpr int64_t kSmall = 1024;
    for (int look = 0; look < 400 && left > kSmall; ++look) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      left = std::min(left, LiveBytes() - before);
    }
    ctx_.Number(i_ + ".left", static_cast<double>(left));
  }

  void HandBack() {
    for (const auto& [step, now] : steps_run_) {
      const std::string s = std::to_string(step);
      ctx_.Output(i_ + ".y" + s, now.y);
      ctx_.Number(i_ + ".input_changed" + s, at::equal(now.x.detach(), now.before) ? 0 : 1);
      if (now.dy.defined() && now.x.grad().defined()) ctx_.Output(i_ + ".dx" + s, now.x.grad());
    }
    for (const auto& buffer : layer_->named_buffers()) ctx_.Output(i_ + ".buffer." + buffer.key(), buffer.value());
    for (const auto& [name, weight] : given_) {
      const bool same = weight.full.sizes() == weight.before.sizes() &&
                        weight.full.strides() == weight.before.strides() &&
                        at::equal(weight.full.detach(), weight.before);
      ctx_.Number(i_ + ".given_changed." + name, same ? 0 : 1);
      ctx_.Number(i_ + ".given_frozen." + name, weight.full.requires_grad() ? 0 : 1);
    }
  }

 private:
  struct Given {
    at::Tensor full, before;
  };
  struct Step {
    at::Tensor x, before, y, dy;
  };

  at::Tensor Weight(const std::string& name) const {
    const auto found = given_.find(name);
    return found == given_.end() ? at::Tensor() : found->second.full;
  }

  std::shared_ptr<ShardedLayer> Make() {
    const std::string kind = call_.at("layer");
    if (kind == "column") {
      return MakeColumnLinear(Weight("weight"), Weight("bias"), comm_,
                              call_.value("whole", false) ? ColumnOutput::kWhole : ColumnOutput::kShard);
    }
    if (kind == "row") return MakeRowLinear(Weight("weight"), Weight("bias"), comm_);
    if (kind == "mlp" || kind == "fused") {
      const MlpWeights weights{Weight("first.weight"), Weight("first.bias"), Weight("second.weight"),
                               Weight("second.bias")};
      return kind == "mlp" ? MakeShardedMlp(weights, comm_) : MakeFusedMlp(weights, comm_);
    }
    if (kind == "layer_norm") return MakeShardedLayerNorm(Weight("weight"), Weight("bias"), call_.at("eps"), comm_);
    if (kind == "rms_norm") return MakeShardedRmsNorm(Weight("weight"), call_.at("eps"), comm_);
    const BatchNormWeights weights{Weight("weight"), Weight("bias"), call_.at("eps"), call_.at("momentum")};
    return kind == "feature_batch_norm" ? MakeFeatureBatchNorm(weights, comm_) : MakeSampleBatchNorm(weights, comm_);
  }

  RankContext& ctx_;
  const std::string i_;
  const nlohmann::json& call_;
  const int steps_;
  std::shared_ptr<Communicator> comm_;
  std::map<std::string, Given> given_;
  std::shared_ptr<ShardedLayer> layer_;
  std::map<int, Step> steps_run_;
};

// One call of a door. `mode`: "plain", "expanded" (the gradient is one number in the full shape), "transposed" (it lies
// in memory the other way round), "shared" (the input is used beside the door as well, and the gradient goes both ways),
// "no gradient". Handed back as a LayerRun's results are.
struct DoorRun {
  at::Tensor x, before, y, dy, dy_before;
};

DoorRun RunDoor(RankContext& ctx, const std::string& i, const nlohmann::json& call) {
  const std::string door = call.at("door");
  const std::string mode = call.at("mode");
  DoorRun run;
  run.x = ctx.Input(i + ".x");
  run.before = run.x.clone();
  if (call.value("strided", false)) run.x = Strided(run.x);
  if (call.value("transposed", false)) run.x = Transposed(run.x);
  run.x.requires_grad_(mode != "no gradient");

  ctx.Mark("forward " + i);
  if (door == "CopyToShards") {
    run.y = CopyToShards(run.x, ctx.shared_comm());
  } else if (door == "ReduceFromShards") {
    run.y = ReduceFromShards(run.x, ctx.shared_comm());
  } else {
    run.y = GatherFromShards(run.x, call.at("dim"), call.at("size"), ctx.shared_comm());
  }
  ctx.Number(i + ".shares_input", run.y.numel() > 0 && run.y.is_alias_of(run.x) ? 1 : 0);
  ctx.Number(i + ".input_changed", at::equal(run.x.detach(), run.before) ? 0 : 1);
  ctx.Mark("backward " + i);
  if (mode == "no gradient") return run;

  run.dy = ctx.Input(i + ".dy");
  run.dy_before = run.dy.clone();
  if (mode == "transposed") run.dy = Transposed(run.dy);
  if (mode == "expanded") {
    run.y.sum().backward();
  } else if (mode == "shared") {
    (run.y + run.x).backward(run.dy);
  } else {
    run.y.backward(run.dy);
  }
  ctx.Mark("end " + i);
  return run;
}

void HandBack(RankContext& ctx, const std::string& i, const DoorRun& run) {
  ctx.Output(i + ".y", run.y);
  if (!run.dy.defined()) return;
  ctx.Output(i + ".dx", run.x.grad());
  ctx.Number(i + ".gradient_changed", at::equal(run.dy, run.dy_before) ? 0 : 1);
}

// Whether the call is refused as the contract says: 0 not at all, 1 with ContractError, 2 with something else.
template <typename Call>
double Refused(Call call) {
  try {
    call();
  } catch (const NotImplemented&) {
    throw;
  } catch (const CommError&) {
    throw;
  } catch (const ContractError&) {
    return 1;
  } catch (const std::exception&) {
    return 2;
  }
  return 0;
}

}  // namespace

// Layers one after the other; or `together`: all are made, then all forwards run, then all backwards, in an order that is
// neither the forwards' nor the reverse of it.
SHARDLAB_BODY(layers) {
  const bool together = ctx.params().value("together", false);
  std::vector<std::unique_ptr<LayerRun>> layers;
  const auto each = [&](const auto& what) {
    ForEachCall(ctx, [&](const std::string& i, const nlohmann::json&) { what(*layers.at(std::stoul(i))); });
  };
  ForEachCall(ctx, [&](const std::string& i, const nlohmann::json& call) {
    layers.push_back(std::make_unique<LayerRun>(ctx, i, call));
    LayerRun& layer = *layers.back();
    if (call.value("forgets", false)) {
      layer.RunAndForget();
    } else if (!together) {
      for (int step = 0; step < layer.steps(); ++step) {
        layer.Forward(step);
        layer.Backward(step);
      }
    }
  });
  if (together) {
    each([](LayerRun& layer) {
      for (int step = 0; step < layer.steps(); ++step) layer.Forward(step);
    });
    each([](LayerRun& layer) {
      for (int step = 1; step <= layer.steps(); ++step) layer.Backward(step % layer.steps());
    });
  }
  each([](LayerRun& layer) { layer.HandBack(); });
}

// Layers that must not be made of what they are given, or not run on it.
SHARDLAB_BODY(layers_refuse) {
  ForEachCall(ctx, [&](const std::string& i, const nlohmann::json& call) {
    ctx.Number(i + ".refused", Refused([&] {
                 LayerRun layer(ctx, i, call);
                 for (int step = 0; step < layer.steps(); ++step) layer.Forward(step);
               }));
  });
}

SHARDLAB_BODY(doors) {
  std::vector<DoorRun> runs;
  ForEachCall(ctx, [&](const std::string& i, const nlohmann::json& call) { runs.push_back(RunDoor(ctx, i, call)); });
  for (size_t i = 0; i < runs.size(); ++i) HandBack(ctx, std::to_string(i), runs[i]);
}

// Moments "<i>.<p>.mean" and "<i>.<p>.m2" of parts p with counts `counts`, merged.
SHARDLAB_BODY(moments) {
  ForEachCall(ctx, [&](const std::string& i, const nlohmann::json& call) {
    std::vector<Moments> parts;
    std::vector<at::Tensor> before;
    for (const auto& count : call.at("counts")) {
      const std::string part = i + "." + std::to_string(parts.size());
      parts.push_back({count.get<int64_t>(), ctx.Input(part + ".mean"), ctx.Input(part + ".m2")});
      before.insert(before.end(), {parts.back().mean.clone(), parts.back().m2.clone()});
    }
    const Moments all = MergeMoments(parts);
    bool changed = false;
    bool shares = false;
    for (size_t p = 0; p < parts.size(); ++p) {
      for (const auto& [now, then] :
           {std::pair(parts[p].mean, before[2 * p]), std::pair(parts[p].m2, before[2 * p + 1])}) {
        changed = changed || !at::allclose(now, then, 0, 0, /*equal_nan=*/true);
        shares = shares || all.mean.is_alias_of(now) || all.m2.is_alias_of(now);
      }
    }
    ctx.Number(i + ".changed", changed ? 1 : 0);
    ctx.Number(i + ".shares", shares ? 1 : 0);
    ctx.Number(i + ".count", static_cast<double>(all.count));
    ctx.Output(i + ".mean", all.mean);
    ctx.Output(i + ".m2", all.m2);
  });
}

}  // namespace shardlab::grade
