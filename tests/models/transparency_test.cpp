// Whoever cuts a model must not change it: outputs, gradients and statistics of any cut are those of the whole.

#include <map>
#include <numeric>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "shardlab/base/split.hpp"
#include "shardlab/layers/stage_module.hpp"
#include "small.hpp"

namespace shardlab {
namespace {

constexpr int64_t kImages = 3;

MicroBatch Whole() {
  MicroBatch at;
  at.step = 2;
  at.batch = kImages;
  at.samples = {0, kImages};
  return at;
}

at::Tensor Labels() { return at::arange(kImages, at::kLong).remainder(3); }

// Every stage is a graph of its own, as on ranks of its own: forward with detached inputs, backward with the gradients
// that the later stages gave.
//
//     x -> [stage 0] -> leaves -> [stage 1] -> leaves -> [stage 2] -> logits -> loss
class CutModel {
 public:
  CutModel(const LayerSequence& sequence, const std::vector<int>& sizes) {
    int begin = 0;
    for (const int size : sizes) {
      stages_.push_back(std::make_shared<StageModule>(sequence, begin, begin + size));
      begin += size;
    }
  }

  double TrainOnce(const at::Tensor& images, const MicroBatch& at) {
    std::vector<Tensors> inputs, outputs;
    std::vector<std::vector<std::string>> inputs_of_skips;
    std::map<std::string, at::Tensor> skips, skip_gradients;
    Tensors x = {images};
    for (const auto& stage : stages_) {
      Tensors given;
      for (const at::Tensor& tensor : x) given.push_back(Leaf(tensor, !inputs.empty()));
      for (const std::string& name : stage->skips_in()) given.push_back(Leaf(skips.at(name), true));
      stage->train();
      x = stage->Forward(given, at);
      inputs.push_back(given);
      outputs.push_back(x);
      for (size_t k = stage->skips_out().size(); k-- > 0; x.pop_back()) skips[stage->skips_out()[k]] = x.back();
    }
    const at::Tensor leaf = Leaf(x.at(0), true);
    const at::Tensor loss = at::cross_entropy_loss(leaf, Labels());
    loss.backward();
    Tensors gradients = {leaf.grad()};
    for (size_t s = stages_.size(); s-- > 0;) {
      for (const std::string& name : stages_[s]->skips_out()) gradients.push_back(skip_gradients.at(name));
      Tensors roots, of_roots;
      for (size_t k = 0; k < outputs[s].size(); ++k) {
        if (!gradients[k].defined() || !outputs[s][k].requires_grad()) continue;
        roots.push_back(outputs[s][k]);
        of_roots.push_back(gradients[k]);
      }
      torch::autograd::backward(roots, of_roots);
      gradients.clear();
      for (const at::Tensor& input : inputs[s]) gradients.push_back(input.grad());
      for (size_t k = stages_[s]->skips_in().size(); k-- > 0; gradients.pop_back()) {
        skip_gradients[stages_[s]->skips_in()[k]] = gradients.back();
      }
    }
    return loss.item<double>();
  }

  std::map<std::string, at::Tensor> Parameters() const { return All(&StageModule::NamedParameters); }
  std::map<std::string, at::Tensor> Buffers() const { return All(&StageModule::NamedBuffers); }

 private:
  static at::Tensor Leaf(const at::Tensor& tensor, bool needs_gradient) {
    const at::Tensor leaf = tensor.detach();
    return needs_gradient && leaf.is_floating_point() ? leaf.requires_grad_() : leaf;
  }
  template <typename Method>
  std::map<std::string, at::Tensor> All(Method method) const {
    std::map<std::string, at::Tensor> all;
    for (const auto& stage : stages_) {
      for (const auto& [name, tensor] : ((*stage).*method)()) all[name] = tensor;
    }
    return all;
  }

  std::vector<std::shared_ptr<StageModule>> stages_;
};

bool Near(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).norm().item<double>() <= 1e-10 * std::max(b.norm().item<double>(), 1e-3);
}

void ExpectTransparent(const SmallModel& model, const std::vector<int>& sizes, int64_t side) {
  SCOPED_TRACE(model.name + " in " + std::to_string(sizes.size()) + " stages");
  const at::Tensor images = Images(kImages, side);
  SequenceClassifier whole(model.sequence);
  whole.train();
  whole.Prepare(Whole());
  const at::Tensor loss = at::cross_entropy_loss(whole.forward(images), Labels());
  loss.backward();

  CutModel cut(model.sequence, sizes);
  EXPECT_NEAR(cut.TrainOnce(images, Whole()), loss.item<double>(), 1e-12);
  const auto parameters = cut.Parameters();
  ASSERT_EQ(parameters.size(), whole.parameters().size());
  for (const auto& parameter : whole.named_parameters()) {
    const at::Tensor& mine = parameters.at(parameter.key());
    ASSERT_EQ(mine.grad().defined(), parameter.value().grad().defined()) << parameter.key();
    if (!mine.grad().defined()) continue;
    EXPECT_TRUE(Near(mine.grad(), parameter.value().grad())) << parameter.key();
  }
  const auto buffers = cut.Buffers();
  for (const auto& buffer : whole.named_buffers()) {
    EXPECT_TRUE(Near(buffers.at(buffer.key()).to(at::kDouble), buffer.value().to(at::kDouble))) << buffer.key();
  }
}

TEST(Transparency, OfEveryModelCutBehindEveryLayer) {
  for (const SmallModel& model : SmallModels(32)) {
    ExpectTransparent(model, std::vector<int>(model.sequence.size(), 1), 32);
  }
}

TEST(Transparency, OfEveryModelInThreeStagesOfLargeImages) {
  for (const SmallModel& model : SmallModels(64)) {
    if (model.sequence.size() < 3) continue;
    std::vector<int> sizes;
    for (const int64_t size : SplitSizes(static_cast<int64_t>(model.sequence.size()), 3)) {
      sizes.push_back(static_cast<int>(size));
    }
    ExpectTransparent(model, sizes, 64);
  }
}

// A mini-batch in micro-batches drops what the whole one drops.
TEST(Transparency, OfDropoutUnderMicroBatches) {
  for (const SmallModel& model : SmallModels(32)) {
    if (model.name != "unet" && model.name != "transformer") continue;  // the others normalise over the batch
    SequenceClassifier whole(model.sequence);
    whole.train();
    whole.Prepare(Whole());
    const at::Tensor images = Images(kImages, 32);
    const at::Tensor logits = whole.forward(images);
    MicroBatch at = Whole();
    for (int64_t begin = 0; begin < kImages; ++begin) {
      at.samples = {begin, begin + 1};
      whole.Prepare(at);
      EXPECT_TRUE(Near(whole.forward(images.slice(0, begin, begin + 1)), logits.slice(0, begin, begin + 1)))
          << model.name << " image " << begin;
    }
    at.step += 1;
    whole.Prepare(at);
    EXPECT_FALSE(Near(whole.forward(images.slice(0, kImages - 1)), logits.slice(0, kImages - 1)))
        << model.name << " drops the same at every step";
    whole.eval();
    EXPECT_TRUE(at::equal(whole.forward(images), whole.forward(images))) << model.name;
  }
}

}  // namespace
}  // namespace shardlab
