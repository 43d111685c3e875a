#include "shardlab/pipeline/weights.hpp"

#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/optim/optimizer.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/layers/optimizer_state.hpp"

namespace shardlab {

namespace {

class SingleWeights final : public WeightStore {
 public:
  SingleWeights(const StageFactory& make, const OptimizerMaker& optimizer) : module_(make()) {
    module_->train();
    const auto parameters = Trainable(*module_);
    if (!parameters.empty()) optimizer_ = optimizer(parameters);
  }

  StageModule& At(int version) override {
    if (version == newest_) return *module_;
    throw ContractError(fmt::format(
        "weight version {} is not held: these weights are updated in place and are version {} now; MakeWeightVersions "
        "makes weights that keep several",
        version, newest_));
  }
  int Newest() const override { return newest_; }
  int Held() const override { return 1; }

  std::vector<at::Tensor> Gradients() override {
    std::vector<at::Tensor> gradients;
    for (at::Tensor& parameter : Trainable(*module_)) {
      if (!parameter.grad().defined()) parameter.mutable_grad() = at::zeros_like(parameter);
      gradients.push_back(parameter.grad());
    }
    return gradients;
  }

  void Update(double learning_rate) override {
    Gradients();
    if (optimizer_) {
      StepScaled(*optimizer_, learning_rate);
      for (at::Tensor& parameter : Trainable(*module_)) parameter.mutable_grad() = at::Tensor();
    }
    ++newest_;
  }
  void Release(int) override {}
  void Restart() override { newest_ = 0; }

 private:
  std::shared_ptr<StageModule> module_;
  std::unique_ptr<torch::optim::Optimizer> optimizer_;
  int newest_ = 0;
};

}  // namespace

std::unique_ptr<WeightStore> MakeWeights(StageFactory make, OptimizerMaker optimizer) {
  return std::make_unique<SingleWeights>(make, optimizer);
}

std::vector<at::Tensor> Trainable(const StageModule& module) {
  std::vector<at::Tensor> trainable;
  for (const at::Tensor& parameter : module.parameters()) {
    if (parameter.requires_grad()) trainable.push_back(parameter);
  }
  return trainable;
}

void MoveOptimizer(torch::optim::Optimizer& optimizer, const std::vector<at::Tensor>& from,
                   const std::vector<at::Tensor>& to) {
  if (from.size() != to.size()) {
    throw ContractError(
        fmt::format("an optimizer of {} parameters cannot go on with {} others", from.size(), to.size()));
  }
  auto& state = optimizer.state();
  for (size_t i = 0; i < from.size(); ++i) {
    for (auto& group : optimizer.param_groups()) {
      for (at::Tensor& parameter : group.params()) {
        if (parameter.is_same(from[i])) parameter = to[i];
      }
    }
    const auto found = state.find(StateKeyOf(from[i]));
    if (found == state.end()) continue;  // before the first step there is none
    auto moved = std::move(found->second);
    state.erase(found);
    state[StateKeyOf(to[i])] = std::move(moved);
  }
}

}  // namespace shardlab
