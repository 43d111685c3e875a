#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <omp.h>

#include "kit/run_calls.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/grade/body.hpp"
#include "shardlab/spatial/conv.hpp"
#include "shardlab/spatial/halo_exchange.hpp"
#include "shardlab/spatial/moments.hpp"
#include "shardlab/spatial/pack.hpp"
#include "shardlab/spatial/pooling.hpp"
#include "shardlab/spatial/tile_window.hpp"
#include "shardlab/spatial/two_rounds.hpp"
#include "tiling_json.hpp"

// What every rank runs. Pixels that a rank has are x<i>; what comes back to its outputs is dy<i>, where there is a backward.

namespace shardlab::grade {
namespace {

at::Tensor Leaf(RankContext& ctx, const std::string& name) {
  return ctx.HasInput(name) ? ctx.Input(name).requires_grad_(true) : at::Tensor();
}

at::Tensor Grad(const at::Tensor& leaf) { return leaf.defined() ? leaf.grad() : at::Tensor(); }

// x in the memory that the case asks for, with or without a gradient.
at::Tensor Image(RankContext& ctx, const std::string& i, const nlohmann::json& params, at::Tensor* leaf) {
  at::Tensor x = ctx.Input("x" + i);
  if (params.value("needs_gradient", true) && x.is_floating_point()) {
    x.requires_grad_(true);
    *leaf = x;
  }
  return params.value("strided", false) ? x.transpose(2, 3).contiguous().transpose(2, 3) : x;
}

at::Tensor RunOne(RankContext& ctx, const std::string& i, const nlohmann::json& params, const at::Tensor& x,
                  const at::Tensor& weight, const at::Tensor& bias) {
  const std::string op = params.at("op");
  const std::shared_ptr<Communicator> comm = ctx.shared_comm();
  if (op == "exchange") {
    return ExchangePixels(x, params.at("from").get<Distribution>(), params.at("to").get<Distribution>(), comm);
  }
  if (op == "two_rounds") {
    return ExchangeInTwoRounds(x, params.at("held").get<Tiling>(), params.at("outputs").get<Tiling>(), comm);
  }
  const TiledImage image{x, params.at("tiling").get<Tiling>(), params.at("held").get<Tiling>()};
  if (op == "moments") return TiledMoments(image, params.at("over_images"), comm);
  if (op == "sum") return TiledSum(image, comm);
  const Tiling outputs = params.at("outputs").get<Tiling>();
  const ImageWindow window = params.at("window").get<ImageWindow>();
  if (op == "conv") return TiledConv2d(image, weight, bias, window, params.at("groups"), outputs, comm);
  if (op == "max_pool") return TiledMaxPool2d(image, window, outputs, comm);
  if (op == "average_pool") {
    return TiledAveragePool2d(image, window, params.at("count_include_pad"), params.at("divisor"), outputs, comm);
  }
  throw ContractError("no operation " + op + " in call " + i);
}

}  // namespace

SHARDLAB_BODY(tiles) {
  ForEachCall(ctx, [&](const std::string& i, const nlohmann::json& params) {
    at::Tensor leaf;
    const at::Tensor x = Image(ctx, i, params, &leaf);
    const at::Tensor before = x.detach().clone();
    const at::Tensor weight = Leaf(ctx, "weight" + i), bias = Leaf(ctx, "bias" + i);
    ctx.Mark("forward " + i);
    const at::Tensor y = RunOne(ctx, i, params, x, weight, bias);
    ctx.Mark("forward done " + i);
    ctx.Output("y" + i, y.defined() ? y.detach().contiguous() : y);
    ctx.Number("changed" + i, at::equal(before, x.detach()) ? 0 : 1);
    if (!ctx.HasInput("dy" + i)) return;
    ctx.Mark("backward " + i);
    if (y.requires_grad()) y.backward(ctx.Input("dy" + i));
    ctx.Mark("backward done " + i);
    ctx.Output("dx" + i, Grad(leaf));
    ctx.Output("dweight" + i, Grad(weight));
    ctx.Output("dbias" + i, Grad(bias));
  });
}

// Calls that have to be refused: which were.
SHARDLAB_BODY(refusals) {
  ForEachCall(ctx, [&](const std::string& i, const nlohmann::json& params) {
    bool refused = false;
    try {
      RunOne(ctx, i, params, ctx.Input("x" + i), at::Tensor(), at::Tensor());
    } catch (const ContractError&) {
      refused = true;
    }
    ctx.Number("refused" + i, refused ? 1 : 0);
  });
}

SHARDLAB_BODY(pack) {
  ForEachCall(ctx, [&](const std::string& i, const nlohmann::json& params) {
    at::Tensor leaf;
    at::Tensor x = ctx.Input("x" + i);
    if (params.value("strided", false)) x = x.transpose(2, 3).contiguous().transpose(2, 3);
    const auto boxes = params.at("boxes").get<std::vector<Box>>();
    for (const int threads : {1, 2}) {
      omp_set_num_threads(threads);
      const std::string suffix = i + "/" + std::to_string(threads);
      const at::Tensor packed = PackPixels(x, boxes);
      ctx.Output("packed" + suffix, packed);
      const at::Tensor into = ctx.Input("into" + i).clone();
      at::Tensor strided = params.value("strided", false) ? into.transpose(2, 3).contiguous().transpose(2, 3) : into;
      AddPackedPixels(ctx.Input("add" + i), boxes, strided);
      ctx.Output("sum" + suffix, strided.contiguous());
    }
  });
}

}  // namespace shardlab::grade
