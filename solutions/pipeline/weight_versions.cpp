#include <map>
#include <utility>

#include <fmt/format.h>
#include <torch/torch.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/weights.hpp"

// The versions are modules, each with leaves of its own, and the optimizer moves from one to the next:
//
//     At(0)   w0 <--- graphs of the micro-batches in flight        Update     w0   <--- graphs, as before
//             ^                                                     (2)          ^   copy
//         optimizer                                                           w1 <--- optimizer
//
// (1) The gradient of an update is the sum over all versions, since a micro-batch may have run on an older one. (2) A
// version in use stays as it is and a copy of it is updated. (3) A version out of use, once its gradients are in, gives
// its module to the next copy: with two versions two modules take turns.

namespace shardlab {

namespace {

class WeightVersions final : public WeightStore {
 public:
  WeightVersions(StageFactory make, const OptimizerMaker& optimizer) : make_(std::move(make)) {
    held_[0].module = make_();
    held_[0].module->train();
    const auto parameters = Trainable(*held_[0].module);
    if (!parameters.empty()) optimizer_ = optimizer(parameters);
  }

  StageModule& At(int version) override {
    const auto found = held_.find(version);
    if (found != held_.end() && (!found->second.released || version == newest_)) return *found->second.module;
    throw ContractError(fmt::format("weight version {} is not held: the newest is {}, and {} are held", version,
                                    newest_, held_.size()));
  }
  int Newest() const override { return newest_; }
  int Held() const override { return static_cast<int>(held_.size()); }

  std::vector<at::Tensor> Gradients() override {
    const auto newest = Trainable(*held_.at(newest_).module);
    for (at::Tensor parameter : newest) {
      if (!parameter.grad().defined()) parameter.mutable_grad() = at::zeros_like(parameter);
    }
    for (auto& [version, holding] : held_) {  // (1)
      if (version == newest_) continue;
      const auto parameters = Trainable(*holding.module);
      for (size_t i = 0; i < newest.size(); ++i) {
        at::Tensor parameter = parameters[i];
        if (!parameter.grad().defined()) continue;
        at::Tensor sum = newest[i].grad();
        sum.add_(parameter.grad());
        parameter.mutable_grad() = at::Tensor();
      }
    }
    std::vector<at::Tensor> gradients;
    for (const at::Tensor& parameter : newest) gradients.push_back(parameter.grad());
    return gradients;
  }

  void Update(double learning_rate) override {
    const torch::NoGradGuard no_grad;
    const auto gradients = Gradients();
    DropUnused();
    Holding& from = held_.at(newest_);
    const auto old = Trainable(*from.module);
    Holding to;
    if (from.released) {
      to.module = std::move(from.module);
      held_.erase(newest_);
    } else {
      to.module = CopyOf(*from.module);  // (2)
      const auto copies = Trainable(*to.module);
      for (size_t i = 0; i < copies.size(); ++i) {
        at::Tensor copy = copies[i], original = old[i];
        copy.mutable_grad() = gradients[i];
        original.mutable_grad() = at::Tensor();
      }
      if (optimizer_) MoveOptimizer(*optimizer_, old, copies);
    }
    held_[++newest_] = to;
    if (!optimizer_) return;
    StepScaled(*optimizer_, learning_rate);
    for (at::Tensor parameter : Trainable(*to.module)) parameter.mutable_grad() = at::Tensor();
  }

  void Release(int version) override {
    const auto found = held_.find(version);
    if (found != held_.end()) found->second.released = true;
    DropUnused();
  }

  void Restart() override {
    for (auto& [version, holding] : held_) holding.released = true;
    Gradients();
    DropUnused();
    Holding newest = held_.at(newest_);
    newest.released = false;
    held_.clear();
    held_[newest_ = 0] = newest;
  }

 private:
  struct Holding {
    std::shared_ptr<StageModule> module;
    bool released = false;
  };

  // (3)
  void DropUnused() {
    for (auto entry = held_.begin(); entry != held_.end();) {
      const auto& [version, holding] = *entry;
      bool has_gradient = false;
      for (const at::Tensor& parameter : Trainable(*holding.module)) has_gradient |= parameter.grad().defined();
      if (holding.released && version != newest_ && !has_gradient) {
        spare_ = holding.module;
        entry = held_.erase(entry);
      } else {
        ++entry;
      }
    }
  }

  std::shared_ptr<StageModule> CopyOf(StageModule& original) {
    std::shared_ptr<StageModule> copy = spare_ ? std::move(spare_) : make_();
    spare_ = nullptr;
    copy->train(original.is_training());
    const auto from = original.parameters();
    const auto to = copy->parameters();
    for (size_t i = 0; i < to.size(); ++i) {
      at::Tensor parameter = to[i];
      parameter.set_requires_grad(from[i].requires_grad());
      parameter.copy_(from[i]);
    }
    const auto buffers = original.buffers();
    const auto shared = copy->buffers();
    for (size_t i = 0; i < shared.size(); ++i) {
      at::Tensor buffer = shared[i];
      buffer.set_data(buffers[i]);
    }
    return copy;
  }

  StageFactory make_;
  std::unique_ptr<torch::optim::Optimizer> optimizer_;
  std::map<int, Holding> held_;
  std::shared_ptr<StageModule> spare_;  // out of use, for the next copy
  int newest_ = 0;
};

}  // namespace

std::unique_ptr<WeightStore> MakeWeightVersions(StageFactory make, OptimizerMaker optimizer) {
  return std::make_unique<WeightVersions>(std::move(make), optimizer);
}

}  // namespace shardlab
