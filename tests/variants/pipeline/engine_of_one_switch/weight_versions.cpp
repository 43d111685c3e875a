#include "shardlab/pipeline/weights.hpp"

#include <map>
#include <string>
#include <utility>

#include <torch/torch.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

namespace {

class Versions final : public WeightStore {
 public:
  Versions(StageFactory make, const OptimizerMaker& optimizer) : make_(std::move(make)) {
    held_[0] = make_();
    if (!Trainable(*held_[0]).empty()) optimizer_ = optimizer(Trainable(*held_[0]));
  }

  StageModule& At(int version) override {
    const auto found = held_.find(version);
    if (found == held_.end()) throw ContractError("version " + std::to_string(version) + " is not held");
    return *found->second;
  }
  int Newest() const override { return newest_; }
  int Held() const override { return static_cast<int>(held_.size()); }

  std::vector<at::Tensor> Gradients() override {
    const torch::NoGradGuard no_grad;
    Tensors target = Trainable(*held_.at(newest_));
    for (at::Tensor& w : target)
      if (!w.grad().defined()) w.mutable_grad() = at::zeros_like(w);
    for (auto& [version, module] : held_)
      if (version != newest_) Collect(*module, target);
    std::vector<at::Tensor> gradients;
    for (at::Tensor& w : target) gradients.push_back(w.grad());
    return gradients;
  }

  void Update(double factor) override {
    const torch::NoGradGuard no_grad;
    const std::vector<at::Tensor> gradients = Gradients();
    std::shared_ptr<StageModule> now = held_.at(newest_);
    if (!released_) {
      std::shared_ptr<StageModule> next = make_();
      Tensors from = now->parameters(), to = next->parameters();
      for (size_t k = 0; k < from.size(); ++k) to[k].copy_(from[k]);
      from = now->buffers(), to = next->buffers();
      for (size_t k = 0; k < from.size(); ++k) to[k].set_data(from[k]);
      from = Trainable(*now), to = Trainable(*next);
      for (size_t k = 0; k < from.size(); ++k) {
        to[k].mutable_grad() = gradients[k];
        from[k].mutable_grad() = at::Tensor();
      }
      if (optimizer_) MoveOptimizer(*optimizer_, from, to);
      held_[newest_ + 1] = next;
    } else {
      held_.erase(newest_);
      held_[newest_ + 1] = now;
    }
    ++newest_;
    released_ = false;
    if (optimizer_) StepScaled(*optimizer_, factor);
    for (at::Tensor& w : Trainable(*held_.at(newest_))) w.mutable_grad() = at::Tensor();
  }

  void Release(int version) override {
    if (version == newest_) {
      released_ = true;
      return;
    }
    const auto found = held_.find(version);
    if (found == held_.end()) return;
    Gradients();
    held_.erase(found);
  }

  void Restart() override {
    Gradients();
    std::shared_ptr<StageModule> now = held_.at(newest_);
    held_.clear();
    held_[0] = now;
    newest_ = 0;
    released_ = false;
  }

 private:
  static void Collect(const StageModule& module, const Tensors& target) {
    Tensors source = Trainable(module);
    for (size_t k = 0; k < source.size(); ++k) {
      if (!source[k].grad().defined()) continue;
      target[k].grad().add_(source[k].grad());
      source[k].mutable_grad() = at::Tensor();
    }
  }

  StageFactory make_;
  std::unique_ptr<torch::optim::Optimizer> optimizer_;
  std::map<int, std::shared_ptr<StageModule>> held_;
  int newest_ = 0;
  bool released_ = false;
};

}  // namespace

std::unique_ptr<WeightStore> MakeWeightVersions(StageFactory make, OptimizerMaker optimizer) {
  return std::make_unique<Versions>(std::move(make), optimizer);
}

}  // namespace shardlab
