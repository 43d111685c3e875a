#include <array>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "parts.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/models/sequences.hpp"

//   A cell has two inputs: s1, the output of the cell before, and s2, the output of the one before that.
//
//     s1 -- reduce1 --> state 0 --+
//                                 +--> five sums of two operations each: states 2 to 6
//     s2 -- reduce2 --> state 1 --+
//
//   Its output is the concatenation of the states that `concat` names, and s1, which the next cell's s2 is.

namespace shardlab {
namespace {

enum class Kind { kNone, kAverage3, kMax3, kMax2, kConv1, kConv3, kConv1x7 };

struct Edge {
  size_t from;  // which state
  Kind kind;
};

struct Genotype {
  std::array<Edge, 10> edges;  // edges 2i and 2i+1 are summed to state 2+i
  std::vector<size_t> concat;
};

const Genotype& GenotypeOf(bool reduction) {
  static const Genotype normal = {{{{1, Kind::kConv1},
                                    {1, Kind::kMax3},
                                    {1, Kind::kNone},
                                    {0, Kind::kConv1x7},
                                    {0, Kind::kConv1},
                                    {0, Kind::kConv1x7},
                                    {2, Kind::kMax3},
                                    {2, Kind::kNone},
                                    {1, Kind::kAverage3},
                                    {5, Kind::kConv1}}},
                                  {0, 3, 4, 6}};
  static const Genotype reducing = {{{{0, Kind::kMax2},
                                      {0, Kind::kMax3},
                                      {2, Kind::kNone},
                                      {1, Kind::kConv3},
                                      {2, Kind::kConv1x7},
                                      {2, Kind::kMax3},
                                      {3, Kind::kNone},
                                      {1, Kind::kMax2},
                                      {2, Kind::kAverage3},
                                      {3, Kind::kConv1}}},
                                    {4, 5, 6}};
  return reduction ? reducing : normal;
}

// ReLU, convolution, BatchNorm, as often as there are windows; the inner ones have a quarter of the channels.
class Convolutions : public torch::nn::Module {
 public:
  Convolutions(const Weights& weights, int64_t in, int64_t out, const std::vector<Window>& windows) {
    const int64_t inner = out / 4;
    for (size_t i = 0; i < windows.size(); ++i) {
      convs_.emplace_back(*this, weights, fmt::format("conv{}", i + 1), fmt::format("bn{}", i + 1), i == 0 ? in : inner,
                          i + 1 == windows.size() ? out : inner, windows[i]);
    }
  }
  at::Tensor forward(at::Tensor x, const MicroBatch& at) const {
    for (const ConvNorm& conv : convs_) x = conv.forward(at::relu(x), at);
    return x;
  }

 private:
  std::vector<ConvNorm> convs_;
};

// Halves the image by two 1x1 convolutions, one on the even rows and columns and one on the odd ones.
class FactorizedReduce : public torch::nn::Module {
 public:
  FactorizedReduce(const Weights& weights, int64_t in, int64_t out)
      : even_(register_module("conv1", std::make_shared<Conv>(weights.Of("conv1"), in, out / 2, Window::Square(1, 2)))),
        odd_(register_module("conv2", std::make_shared<Conv>(weights.Of("conv2"), in, out / 2, Window::Square(1, 2)))),
        norm_(register_module("bn", weights.BatchNorm(out))) {}
  at::Tensor forward(const at::Tensor& x, const MicroBatch& at) const {
    const at::Tensor h = at::relu(x);
    return norm_->forward(at::cat({even_->forward(h), odd_->forward(h.slice(2, 1).slice(3, 1))}, 1), at);
  }

 private:
  std::shared_ptr<Conv> even_, odd_;
  std::shared_ptr<MicroBatchNorm> norm_;
};

std::vector<Window> WindowsOf(Kind kind, int64_t stride) {
  switch (kind) {
    case Kind::kConv1:
      return {Window::Square(1, stride)};
    case Kind::kConv3:
      return {Window::Square(1), Window::Square(3, stride), Window::Square(1)};
    case Kind::kConv1x7:
      return {Window::Square(1), {{1, 7}, {1, stride}, {0, 3}}, {{7, 1}, {stride, 1}, {3, 0}}, Window::Square(1)};
    default:
      return {};
  }
}

class Operation : public torch::nn::Module {
 public:
  Operation(const Weights& weights, Kind kind, int64_t channels, int64_t stride) : kind_(kind), stride_(stride) {
    const std::vector<Window> windows = WindowsOf(kind, stride);
    if (windows.empty()) return;
    convolutions_ = std::make_shared<Convolutions>(weights, channels, channels, windows);
    for (const auto& child : convolutions_->named_children()) register_module(child.key(), child.value());
  }
  at::Tensor forward(const at::Tensor& x, const MicroBatch& at) const {
    switch (kind_) {
      case Kind::kNone:
        return x;
      case Kind::kAverage3:
        return at::avg_pool2d(x, 3, stride_, 1, /*ceil_mode=*/false, /*count_include_pad=*/false);
      case Kind::kMax3:
        return at::max_pool2d(x, 3, stride_, 1);
      case Kind::kMax2:
        return at::max_pool2d(x, 2, stride_);
      default:
        return convolutions_->forward(x, at);
    }
  }

 private:
  Kind kind_;
  int64_t stride_;
  std::shared_ptr<Convolutions> convolutions_;
};

struct CellShape {
  int64_t in1 = 0, in2 = 0;   // channels of s1 and s2
  int64_t channels = 0;       // of each state
  bool reduction = false;     // halves the image
  bool s2_is_larger = false;  // the cell before halved it
  bool last = false;          // nobody wants its s1

  int64_t out() const { return channels * static_cast<int64_t>(GenotypeOf(reduction).concat.size()); }
};

class Cell : public Layer {
 public:
  Cell(const Weights& weights, const CellShape& shape) : shape_(shape) {
    const std::vector<Window> one = {Window::Square(1)};
    reduce1_ = register_module("reduce1",
                               std::make_shared<Convolutions>(weights.Of("reduce1"), shape.in1, shape.channels, one));
    if (shape.s2_is_larger) {
      halve2_ = register_module("reduce2",
                                std::make_shared<FactorizedReduce>(weights.Of("reduce2"), shape.in2, shape.channels));
    } else if (shape.in2 != shape.channels) {
      reduce2_ = register_module("reduce2",
                                 std::make_shared<Convolutions>(weights.Of("reduce2"), shape.in2, shape.channels, one));
    }
    const Genotype& genotype = GenotypeOf(shape.reduction);
    for (size_t i = 0; i < genotype.edges.size(); ++i) {
      const std::string name = fmt::format("op{}", i);
      const int64_t stride = shape.reduction && genotype.edges[i].from < 2 ? 2 : 1;
      operations_.push_back(register_module(
          name, std::make_shared<Operation>(weights.Of(name), genotype.edges[i].kind, shape.channels, stride)));
    }
  }

  Tensors Forward(const Tensors& x, const MicroBatch& at) override {
    const at::Tensor& s1 = x.at(0);
    const at::Tensor& s2 = x.back();  // the first cell has one input
    const Genotype& genotype = GenotypeOf(shape_.reduction);
    Tensors states = {reduce1_->forward(s1, at), Reduce2(s2, at)};
    for (size_t i = 0; i < genotype.edges.size(); i += 2) {
      states.push_back(operations_[i]->forward(states[genotype.edges[i].from], at) +
                       operations_[i + 1]->forward(states[genotype.edges[i + 1].from], at));
    }
    Tensors parts;
    for (const size_t state : genotype.concat) parts.push_back(states[state]);
    const at::Tensor out = at::cat(parts, 1);
    return shape_.last ? Tensors{out} : Tensors{out, s1};
  }

 private:
  at::Tensor Reduce2(const at::Tensor& s2, const MicroBatch& at) const {
    if (halve2_) return halve2_->forward(s2, at);
    return reduce2_ ? reduce2_->forward(s2, at) : s2;
  }

  CellShape shape_;
  std::shared_ptr<Convolutions> reduce1_, reduce2_;
  std::shared_ptr<FactorizedReduce> halve2_;
  std::vector<std::shared_ptr<Operation>> operations_;
};

class Stem : public Layer {
 public:
  Stem(const Weights& weights, int64_t in, int64_t out, int64_t stride)
      : conv_(*this, weights, "conv", "bn", in, out, Window::Square(3, stride)) {}
  Tensors Forward(const Tensors& x, const MicroBatch& at) override { return {conv_.forward(x.at(0), at)}; }

 private:
  ConvNorm conv_;
};

void CheckAmoebaNet(const ModelOptions& options, int layers, int64_t filters) {
  RequireSize(options.channels, "channels");
  RequireSize(options.classes, "classes");
  if (layers < 3 || layers % 3 != 0) {
    throw ContractError(
        fmt::format("AmoebaNet-D has three groups of as many cells: L is a multiple of 3, not {}", layers));
  }
  if (filters < 8 || filters % 8 != 0) {
    throw ContractError(fmt::format("AmoebaNet-D divides its filters by 8: F is a multiple of it, not {}", filters));
  }
  const int64_t halvings = options.side >= kLargeSide ? 32 : 4;
  if (options.side < halvings || options.side % halvings != 0) {
    throw ContractError(fmt::format("AmoebaNet-D makes this image smaller by {}, which does not divide its side {}",
                                    halvings, options.side));
  }
}

}  // namespace

LayerSequence AmoebaNetD(const ModelOptions& options, int layers, int64_t filters) {
  CheckAmoebaNet(options, layers, filters);
  const bool large = options.side >= kLargeSide;

  LayerSequence model;
  CellShape shape;
  shape.channels = large ? filters / 4 : filters;
  shape.in1 = shape.in2 = shape.channels;
  model.push_back(SpecOf<Stem>(options, "stem1", options.channels, shape.channels, int64_t{large ? 2 : 1}));
  const auto add = [&](const std::string& name, bool reduction, bool last = false) {
    shape.reduction = reduction;
    shape.last = last;
    if (reduction) shape.channels *= 2;
    model.push_back(SpecOf<Cell>(options, name, shape));
    shape.in2 = shape.in1;
    shape.in1 = shape.out();
    shape.s2_is_larger = reduction;
  };
  if (large) {
    add("stem2", true);
    add("stem3", true);
  }
  const int repeat = layers / 3;
  for (const int group : {1, 3, 5}) {
    for (int i = 1; i <= repeat; ++i) {
      add(fmt::format("cell{}_normal{}", group, i), false, group == 5 && i == repeat);
    }
    if (group < 5) add(fmt::format("cell{}_reduction", group + 1), true);
  }
  model.push_back(DenseSpec(options, "classify", shape.in1, options.classes, [](const at::Tensor& x) {
    return x.mean({2, 3});
  }));
  return model;
}

}  // namespace shardlab
