#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include "kit/run_calls.hpp"
#include "kit/strides.hpp"
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

// `given`: the full weights that the layer gets.
std::shared_ptr<ShardedLayer> MakeLayer(RankContext& ctx, const std::string& i, const nlohmann::json& call,
                                        std::vector<at::Tensor>* given) {
  const auto weight = [&](const std::string& name) {
    given->push_back(Optional(ctx, i + "." + name));
    return given->back();
  };
  const auto comm = ctx.shared_comm();
  const std::string kind = call.at("layer");
  if (kind == "column") {
    return MakeColumnLinear(weight("weight"), weight("bias"), comm,
                            call.value("whole", false) ? ColumnOutput::kWhole : ColumnOutput::kShard);
  }
  if (kind == "row") return MakeRowLinear(weight("weight"), weight("bias"), comm);
  if (kind == "mlp" || kind == "fused") {
    const MlpWeights weights{weight("first.weight"), weight("first.bias"), weight("second.weight"),
                             weight("second.bias")};
    return kind == "mlp" ? MakeShardedMlp(weights, comm) : MakeFusedMlp(weights, comm);
  }
  if (kind == "layer_norm") return MakeShardedLayerNorm(weight("weight"), weight("bias"), call.at("eps"), comm);
  if (kind == "rms_norm") return MakeShardedRmsNorm(weight("weight"), call.at("eps"), comm);
  const BatchNormWeights weights{weight("weight"), weight("bias"), call.at("eps"), call.at("momentum")};
  return kind == "feature_batch_norm" ? MakeFeatureBatchNorm(weights, comm) : MakeSampleBatchNorm(weights, comm);
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

// One call: a layer is made and run on inputs x0, x1, ...; backward is run where there is a gradient dy0, dy1, ...
void RunLayer(RankContext& ctx, const std::string& i, const nlohmann::json& call) {
  std::vector<at::Tensor> given;
  const std::shared_ptr<ShardedLayer> layer = MakeLayer(ctx, i, call, &given);
  for (const auto& parameter : layer->named_parameters()) {
    ctx.Output(i + ".param." + parameter.key(), parameter.value());
    const bool shares = std::any_of(given.begin(), given.end(), [&](const at::Tensor& full) {
      return full.defined() && parameter.value().numel() > 0 && parameter.value().is_alias_of(full);
    });
    ctx.Number(i + ".shares." + parameter.key(), shares ? 1 : 0);
  }

  const int steps = call.at("steps");
  for (int step = 0; step < steps; ++step) {
    const std::string s = std::to_string(step);
    layer->train(!(call.value("evaluate_last", false) && step + 1 == steps));
    for (const at::Tensor& parameter : layer->parameters()) parameter.mutable_grad() = at::Tensor();

    at::Tensor x = ctx.Input(i + ".x" + s);
    const at::Tensor dy = Optional(ctx, i + ".dy" + s);
    const at::Tensor before = x.clone();
    if (call.value("strided", false)) x = Strided(x);
    x.requires_grad_(call.value("input_needs_gradient", true));

    ctx.Mark("forward " + i + "." + s);
    at::Tensor y;
    if (dy.defined()) {
      y = layer->forward(x);
    } else {
      const torch::NoGradGuard no_grad;
      y = layer->forward(x);
    }
    ctx.Output(i + ".y" + s, y);
    ctx.Mark("backward " + i + "." + s);
    if (dy.defined()) {
      CheckOutput(y, dy);
      y.backward(dy);
    }
    ctx.Mark("end " + i + "." + s);

    ctx.Number(i + ".input_changed" + s, at::equal(x.detach(), before) ? 0 : 1);
    if (!dy.defined()) continue;
    if (x.grad().defined()) ctx.Output(i + ".dx" + s, x.grad());
    for (const auto& parameter : layer->named_parameters()) {
      if (parameter.value().grad().defined()) {
        ctx.Output(i + ".grad" + s + "." + parameter.key(), parameter.value().grad());
      }
    }
  }
  for (const auto& buffer : layer->named_buffers()) ctx.Output(i + ".buffer." + buffer.key(), buffer.value());
}

// One call of a door. `mode`: "plain", "expanded" (the gradient is one number in the full shape), "shared" (the input
// is used beside the door as well, and the gradient goes both ways), "no gradient".
void RunDoor(RankContext& ctx, const std::string& i, const nlohmann::json& call) {
  const std::string door = call.at("door");
  const std::string mode = call.at("mode");
  at::Tensor x = ctx.Input(i + ".x");
  const at::Tensor before = x.clone();
  if (call.value("strided", false)) x = Strided(x);
  if (call.value("transposed", false)) x = Transposed(x);
  x.requires_grad_(mode != "no gradient");

  ctx.Mark("forward " + i);
  at::Tensor y;
  if (door == "CopyToShards") {
    y = CopyToShards(x, ctx.shared_comm());
  } else if (door == "ReduceFromShards") {
    y = ReduceFromShards(x, ctx.shared_comm());
  } else {
    y = GatherFromShards(x, call.at("dim"), call.at("size"), ctx.shared_comm());
  }
  ctx.Output(i + ".y", y);
  ctx.Number(i + ".shares_input", y.numel() > 0 && y.is_alias_of(x) ? 1 : 0);
  ctx.Number(i + ".input_changed", at::equal(x.detach(), before) ? 0 : 1);
  ctx.Mark("backward " + i);
  if (mode == "no gradient") return;

  const at::Tensor dy = ctx.Input(i + ".dy");
  const at::Tensor dy_before = dy.clone();
  if (mode == "expanded") {
    y.sum().backward();
  } else if (mode == "shared") {
    (y + x).backward(dy);
  } else {
    y.backward(dy);
  }
  ctx.Mark("end " + i);
  ctx.Output(i + ".dx", x.grad());
  ctx.Number(i + ".gradient_changed", at::equal(dy, dy_before) ? 0 : 1);
}

}  // namespace

SHARDLAB_BODY(layers) {
  ForEachCall(ctx, [&](const std::string& i, const nlohmann::json& call) { RunLayer(ctx, i, call); });
}

SHARDLAB_BODY(doors) {
  ForEachCall(ctx, [&](const std::string& i, const nlohmann::json& call) { RunDoor(ctx, i, call); });
}

// Moments "<i>.<p>.mean" and "<i>.<p>.m2" of parts p with counts `counts`, merged.
SHARDLAB_BODY(moments) {
  ForEachCall(ctx, [&](const std::string& i, const nlohmann::json& call) {
    std::vector<Moments> parts;
    for (const auto& count : call.at("counts")) {
      const std::string part = i + "." + std::to_string(parts.size());
      parts.push_back({count.get<int64_t>(), ctx.Input(part + ".mean"), ctx.Input(part + ".m2")});
    }
    const Moments all = MergeMoments(parts);
    ctx.Number(i + ".count", static_cast<double>(all.count));
    ctx.Output(i + ".mean", all.mean);
    ctx.Output(i + ".m2", all.m2);
  });
}

}  // namespace shardlab::grade
