#include "shardlab/models/sequences.hpp"

#include <algorithm>
#include <cstdlib>
#include <set>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "parts.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/base/suggest.hpp"

namespace shardlab {
namespace {

at::Tensor Flatten(const at::Tensor& x) { return x.flatten(1); }
at::Tensor Relu(const at::Tensor& x) { return at::relu(x); }
at::Tensor ReluAndPool(const at::Tensor& x) { return at::max_pool2d(at::relu(x), 2); }

LayerSequence LinearSequence(const ModelOptions& options) {
  return {DenseSpec(options, "fc", options.channels * options.side * options.side, options.classes, Flatten)};
}

LayerSequence MlpSequence(const ModelOptions& options, bool layer_norm) {
  std::vector<int64_t> widths = {options.channels * options.side * options.side};
  widths.insert(widths.end(), options.hidden.begin(), options.hidden.end());
  widths.push_back(options.classes);
  LayerSequence model;
  for (size_t i = 0; i + 1 < widths.size(); ++i) {
    const bool last = i + 2 == widths.size();
    std::function<at::Tensor(const at::Tensor&)> before, after;
    if (i == 0) before = Flatten;
    if (!last && !layer_norm) after = Relu;
    model.push_back(DenseSpec(options, fmt::format("fc{}", i + 1), widths[i], widths[i + 1], before, after));
    if (!last && layer_norm) {
      model.push_back(LayerNormSpec(options, fmt::format("ln{}", i + 1), widths[i + 1], /*eps=*/1e-5, Relu));
    }
  }
  return model;
}

LayerSequence LeNetSequence(const ModelOptions& options, bool batch_norm) {
  LayerSequence model;
  int64_t in = options.channels;
  for (size_t i = 0; i < 2; ++i) {
    const int64_t out = options.conv_channels[i];
    std::function<at::Tensor(const at::Tensor&)> after;
    if (!batch_norm) after = ReluAndPool;
    model.push_back(
        ConvSpec(options, fmt::format("conv{}", i + 1), in, out, Window::Square(5), /*with_bias=*/true, after));
    if (batch_norm) model.push_back(BatchNormSpec(options, fmt::format("bn{}", i + 1), out, ReluAndPool));
    in = out;
  }
  const int64_t quarter = options.side / 4;
  model.push_back(DenseSpec(options, "fc1", in * quarter * quarter, options.dense, Flatten, Relu));
  model.push_back(DenseSpec(options, "fc2", options.dense, options.classes));
  return model;
}

// "unet-6-72" is a unet of 6 and 72.
struct SizedName {
  std::string name;
  std::vector<int64_t> sizes;
};

SizedName ParseSizes(const std::string& text, const std::vector<int64_t>& defaults, const char* what) {
  SizedName parsed;
  const size_t dash = text.find('-');
  parsed.name = text.substr(0, dash);
  if (dash == std::string::npos) {
    parsed.sizes = defaults;
    return parsed;
  }
  const char* at = text.c_str() + dash;
  while (*at == '-') {
    char* end = nullptr;
    const int64_t size = std::strtoll(at + 1, &end, 10);
    if (end == at + 1 || size < 1 || size > 100000) break;
    parsed.sizes.push_back(size);
    at = end;
  }
  if (*at != '\0' || parsed.sizes.size() != defaults.size()) {
    throw UsageError(fmt::format("model '{}': its sizes are written {}, for example {}-{}-{}", text, what, parsed.name,
                                 defaults[0], defaults[1]));
  }
  return parsed;
}

bool Begins(const std::string& text, const std::string& name) {
  return text == name || text.compare(0, name.size() + 1, name + "-") == 0;
}

}  // namespace

const std::vector<std::string>& SequenceNames() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all = ModelNames();
    all.insert(all.end(), {"resnet18", "resnet50", "resnet101", "amoebanet", "unet", "transformer"});
    return all;
  }();
  return names;
}

LayerSequence MakeSequence(const std::string& name, const ModelOptions& options) {
  // The small models' classes check their own sizes.
  const auto& small = ModelNames();
  if (std::find(small.begin(), small.end(), name) != small.end()) CheckModelOptions(name, options);
  if (name == "linear") return LinearSequence(options);
  if (name == "mlp" || name == "mlp-ln") return MlpSequence(options, /*layer_norm=*/name == "mlp-ln");
  if (name == "cnn" || name == "cnn-bn") return LeNetSequence(options, /*batch_norm=*/name == "cnn-bn");
  if (name == "resnet18") return ResNet(options, 18);
  if (name == "resnet50") return ResNet(options, 50);
  if (name == "resnet101") return ResNet(options, 101);
  if (Begins(name, "amoebanet")) {
    const auto sizes = ParseSizes(name, {3, 16}, "amoebanet-L-F").sizes;
    return AmoebaNetD(options, static_cast<int>(sizes[0]), sizes[1]);
  }
  if (Begins(name, "unet")) {
    const auto sizes = ParseSizes(name, {1, 8}, "unet-B-C").sizes;
    UNetOptions unet;
    while (unet.depth > 1 && options.side >> unet.depth < 2) --unet.depth;
    unet.convs = static_cast<int>(sizes[0]);
    unet.base = sizes[1];
    return UNet(options, unet);
  }
  if (Begins(name, "transformer")) {
    const auto sizes = ParseSizes(name, {4, 64}, "transformer-DEPTH-WIDTH").sizes;
    TransformerOptions transformer;
    transformer.depth = static_cast<int>(sizes[0]);
    transformer.width = sizes[1];
    return VisionTransformer(options, transformer);
  }
  throw UsageError(UnknownName("model", name, SequenceNames()));
}

std::vector<int64_t> CountParameters(const LayerSequence& sequence) {
  std::vector<int64_t> counts;
  for (const LayerSpec& spec : sequence) {
    int64_t count = 0;
    for (const at::Tensor& parameter : spec.make()->parameters()) count += parameter.numel();
    counts.push_back(count);
  }
  return counts;
}

int StageOf(const LayerSequence& sequence, const std::vector<int>& balance, const std::string& tensor) {
  const auto has = [&](const std::string& layer) { return tensor.compare(0, layer.size() + 1, layer + ".") == 0; };
  size_t end = 0, layer = 0;
  for (size_t stage = 0; stage < balance.size(); ++stage) {
    end = std::min(end + static_cast<size_t>(std::max(balance[stage], 0)), sequence.size());
    for (; layer < end; ++layer) {
      const auto& joins = sequence[layer].joins;
      if (joins.empty() ? has(sequence[layer].name) : std::any_of(joins.begin(), joins.end(), has)) {
        return static_cast<int>(stage);
      }
    }
  }
  throw ContractError(fmt::format("no layer of these {} stages has a tensor '{}'", balance.size(), tensor));
}

void RequireRunnable(const LayerSequence& sequence) {
  if (sequence.empty()) throw ContractError("a model needs at least 1 layer");
  std::set<std::string> names, open, closed;
  for (const LayerSpec& spec : sequence) {
    if (!names.insert(spec.name).second) throw ContractError(fmt::format("two layers are called '{}'", spec.name));
    for (const std::string& skip : spec.pops) {
      if (open.erase(skip) == 0) {
        throw ContractError(fmt::format("layer '{}' pops the skip '{}', which {}", spec.name, skip,
                                        closed.count(skip) != 0 ? "was popped before" : "no layer before it stashes"));
      }
      closed.insert(skip);
    }
    for (const std::string& skip : spec.stashes) {
      if (closed.count(skip) != 0 || !open.insert(skip).second) {
        throw ContractError(fmt::format("layer '{}' stashes the skip '{}', which was stashed before", spec.name, skip));
      }
    }
  }
  if (!open.empty()) throw ContractError(fmt::format("the skip '{}' is stashed and never popped", *open.begin()));
}

SequenceClassifier::SequenceClassifier(LayerSequence sequence) : sequence_(std::move(sequence)) {
  RequireRunnable(sequence_);
  for (const LayerSpec& spec : sequence_) {
    layers_.push_back(spec.make());
    if (!spec.joins.empty()) {
      for (const auto& child : layers_.back()->named_children()) register_module(child.key(), child.value());
      continue;
    }
    // "layer1.0" is registered as module "0" of module "layer1", so that names come out as the spec has them.
    torch::nn::Module* parent = this;
    std::string rest = spec.name;
    for (size_t dot = rest.find('.'); dot != std::string::npos; dot = rest.find('.')) {
      const std::string child = rest.substr(0, dot);
      const auto children = parent->named_children();
      const auto* known = children.find(child);
      parent =
          known != nullptr ? known->get() : parent->register_module(child, std::make_shared<torch::nn::Module>()).get();
      rest = rest.substr(dot + 1);
    }
    parent->register_module(rest, layers_.back());
  }
}

void SequenceClassifier::train(bool on) {
  ImageClassifier::train(on);
  for (const auto& layer : layers_) layer->train(on);  // one that joins others is no submodule
}

Tensors SequenceClassifier::Run(size_t begin, size_t end, Tensors x, Skips& skips) {
  for (size_t i = begin; i < end; ++i) {
    const LayerSpec& spec = sequence_[i];
    for (const std::string& name : spec.pops) {
      x.push_back(skips.at(name));
      skips.erase(name);
    }
    x = layers_[i]->Forward(x, at_);
    RequireBoundary(spec.name, x, spec.stashes.size());
    for (size_t k = spec.stashes.size(); k-- > 0; x.pop_back()) skips[spec.stashes[k]] = x.back();
  }
  return x;
}

at::Tensor SequenceClassifier::forward(const at::Tensor& x_BCHW) {
  Skips skips;
  const Tensors outputs = Run(0, layers_.size(), {x_BCHW}, skips);
  if (outputs.size() != 1) {
    throw ContractError(
        fmt::format("the last layer of a classifier returns the logits alone, not {} tensors", outputs.size()));
  }
  return outputs[0];
}

}  // namespace shardlab
