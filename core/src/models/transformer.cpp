#include <cmath>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "parts.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/models/sequences.hpp"

// Dimensions: B images, N tokens (the class token first), D width, H heads.

namespace shardlab {
namespace {

constexpr double kEps = 1e-6;

// What dropouts have in common.
struct Dropping {
  double p = 0;
  uint64_t number = 0;  // a dropout's own
};

at::Tensor Drop(const at::Tensor& x, const Dropping& drop, const Layer& layer, uint64_t seed, const MicroBatch& at) {
  if (!layer.is_training() || drop.p == 0) return x;
  return MicroBatchDropout(x, drop.p, seed, drop.number, at);
}

// [B, C, S, S] to tokens [B, 1 + (S / patch)^2, D].
class Embedding : public Layer {
 public:
  Embedding(const Weights& weights, int64_t channels, int64_t side, int64_t patch, int64_t width, Dropping drop)
      : projection_(register_module(
            "proj", std::make_shared<Conv>(weights.Of("proj"), channels, width,
                                           Window{{patch, patch}, {patch, patch}, {0, 0}}, /*with_bias=*/true))),
        drop_(drop),
        seed_(weights.options().seed) {
    const int64_t tokens = 1 + (side / patch) * (side / patch);
    class_token_ = register_parameter("cls_token", weights.Draw({1, 1, width}, "cls_token", width));
    positions_ = register_parameter("pos_embed", weights.Draw({1, tokens, width}, "pos_embed", width));
  }
  Tensors Forward(const Tensors& x, const MicroBatch& at) override {
    const at::Tensor patches_BND = projection_->forward(x.at(0)).flatten(2).transpose(1, 2);
    const at::Tensor first_B1D = class_token_.expand({patches_BND.size(0), -1, -1});
    return {Drop(at::cat({first_B1D, patches_BND}, 1) + positions_, drop_, *this, seed_, at)};
  }

 private:
  std::shared_ptr<Conv> projection_;
  Dropping drop_;
  uint64_t seed_;
  at::Tensor class_token_, positions_;
};

// x + attention(norm(x))
class Attention : public Layer {
 public:
  Attention(const Weights& weights, int64_t width, int64_t heads, Dropping drop)
      : norm_(register_module("norm", std::make_shared<LayerNorm>(weights.Of("norm"), width, kEps))),
        qkv_(register_module("qkv", std::make_shared<Dense>(weights.Of("qkv"), width, 3 * width))),
        projection_(register_module("proj", std::make_shared<Dense>(weights.Of("proj"), width, width))),
        heads_(heads),
        drop_(drop),
        seed_(weights.options().seed) {}
  Tensors Forward(const Tensors& x, const MicroBatch& at) override {
    const at::Tensor& x_BND = x.at(0);
    const int64_t images = x_BND.size(0), tokens = x_BND.size(1), width = x_BND.size(2);
    const int64_t head_width = width / heads_;
    const at::Tensor qkv_3BHND =
        qkv_->forward(norm_->forward(x_BND)).view({images, tokens, 3, heads_, head_width}).permute({2, 0, 3, 1, 4});
    const at::Tensor scores_BHNN =
        at::matmul(qkv_3BHND[0], qkv_3BHND[1].transpose(2, 3)) / std::sqrt(static_cast<double>(head_width));
    const at::Tensor mixed_BND =
        at::matmul(at::softmax(scores_BHNN, 3), qkv_3BHND[2]).transpose(1, 2).reshape({images, tokens, width});
    return {x_BND + Drop(projection_->forward(mixed_BND), drop_, *this, seed_, at)};
  }

 private:
  std::shared_ptr<LayerNorm> norm_;
  std::shared_ptr<Dense> qkv_, projection_;
  int64_t heads_;
  Dropping drop_;
  uint64_t seed_;
};

// x + fc2(gelu(fc1(norm(x))))
class TokenMlp : public Layer {
 public:
  TokenMlp(const Weights& weights, int64_t width, int64_t hidden, Dropping drop)
      : norm_(register_module("norm", std::make_shared<LayerNorm>(weights.Of("norm"), width, kEps))),
        fc1_(register_module("fc1", std::make_shared<Dense>(weights.Of("fc1"), width, hidden))),
        fc2_(register_module("fc2", std::make_shared<Dense>(weights.Of("fc2"), hidden, width))),
        drop_(drop),
        seed_(weights.options().seed) {}
  Tensors Forward(const Tensors& x, const MicroBatch& at) override {
    const at::Tensor h_BND = fc2_->forward(at::gelu(fc1_->forward(norm_->forward(x.at(0)))));
    return {x[0] + Drop(h_BND, drop_, *this, seed_, at)};
  }

 private:
  std::shared_ptr<LayerNorm> norm_;
  std::shared_ptr<Dense> fc1_, fc2_;
  Dropping drop_;
  uint64_t seed_;
};

void CheckTransformer(const ModelOptions& options, const TransformerOptions& transformer, int64_t patch) {
  RequireSize(options.channels, "channels");
  RequireSize(options.classes, "classes");
  RequireSize(options.side, "a side");
  RequireSize(patch, "patches");
  RequireSize(transformer.depth, "a depth");
  RequireSize(transformer.width, "a width");
  RequireSize(transformer.heads, "heads");
  RequireSize(transformer.mlp_ratio, "an MLP ratio");
  if (options.side % patch != 0) {
    throw ContractError(fmt::format("patches of {0} x {0} do not fill an image of {1} x {1}: {0} must divide {1}",
                                    patch, options.side));
  }
  if (transformer.width % transformer.heads != 0) {
    throw ContractError(fmt::format("{} heads cannot share a width of {}: it must be a multiple of them",
                                    transformer.heads, transformer.width));
  }
  if (!(transformer.dropout >= 0 && transformer.dropout < 1)) {
    throw ContractError(fmt::format("a dropout is 0 or more and below 1, not {}", transformer.dropout));
  }
}

}  // namespace

LayerSequence VisionTransformer(const ModelOptions& options, const TransformerOptions& transformer) {
  const int64_t patch = transformer.patch != 0 ? transformer.patch : (options.side >= kLargeSide ? 16 : 4);
  CheckTransformer(options, transformer, patch);
  const int64_t width = transformer.width;
  Dropping drop{transformer.dropout, 0};
  LayerSequence model;
  model.push_back(SpecOf<Embedding>(options, "embed", options.channels, options.side, patch, width, drop));
  for (int block = 0; block < transformer.depth; ++block) {
    ++drop.number;
    model.push_back(SpecOf<Attention>(options, fmt::format("blocks.{}.attn", block), width, transformer.heads, drop));
    ++drop.number;
    model.push_back(
        SpecOf<TokenMlp>(options, fmt::format("blocks.{}.mlp", block), width, transformer.mlp_ratio * width, drop));
  }
  model.push_back(
      LayerNormSpec(options, "norm", width, kEps, [](const at::Tensor& x_BND) { return x_BND.select(1, 0); }));
  model.push_back(DenseSpec(options, "head", width, options.classes));
  return model;
}

}  // namespace shardlab
