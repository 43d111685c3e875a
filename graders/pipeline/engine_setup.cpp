#include "engine_setup.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include <torch/torch.h>

#include "shardlab/pipeline/computation.hpp"
#include "shardlab/pipeline/deferred_statistics.hpp"

namespace shardlab::grade {

namespace {

// Watches how many versions are held.
class CountedWeights final : public WeightStore {
 public:
  CountedWeights(std::unique_ptr<WeightStore> inner, int* most) : inner_(std::move(inner)), most_(most) {}
  StageModule& At(int version) override { return inner_->At(version); }
  int Newest() const override { return inner_->Newest(); }
  int Held() const override { return inner_->Held(); }
  std::vector<at::Tensor> Gradients() override { return inner_->Gradients(); }
  void Update(double rate) override {
    inner_->Update(rate);
    *most_ = std::max(*most_, inner_->Held());
  }
  void Release(int version) override { inner_->Release(version); }
  void Restart() override { inner_->Restart(); }

 private:
  std::unique_ptr<WeightStore> inner_;
  int* most_;
};

}  // namespace

PipelineSetup SetupFor(const TrainingPlan& plan, int* most_versions) {
  PipelineSetup setup{plan.MakeModel(), plan.balance, plan.MakeLayout()};
  if (plan.model == "probe") {
    setup.loss = [](const Tensors& y, const at::Tensor& targets) { return (y.at(0) - targets).square().mean(); };
  } else {
    setup.loss = [](const Tensors& y, const at::Tensor& labels) { return at::cross_entropy_loss(y.at(0), labels); };
  }
  const Recipe recipe = plan.MakeRecipe();
  setup.optimizer = [recipe](int, const std::vector<at::Tensor>& parameters) {
    return MakeOptimizer(recipe, parameters);
  };
  if (plan.halves) setup.stage = [](int) { return MakeSplitStage(); };
  if (plan.IsAsynchronous()) {
    setup.weights = [most_versions](StageFactory make, OptimizerMaker optimizer) -> std::unique_ptr<WeightStore> {
      auto weights = MakeWeightVersions(std::move(make), std::move(optimizer));
      if (most_versions == nullptr) return weights;
      return std::make_unique<CountedWeights>(std::move(weights), most_versions);
    };
  }
  setup.clip_norm = recipe.clip_norm;
  setup.learning_rate = recipe.rate_factor;
  if (plan.deferred) setup.statistics = MakeDeferredStatistics();
  return setup;
}

Schedule ScheduleOf(const TrainingPlan& plan, int microbatches, int updates) {
  Schedule schedule = ComputationOf(TraitsOf(plan.schedule), plan.ranks, plan.chunks, microbatches, updates);
  if (!plan.IsAsynchronous()) schedule = Flush(std::move(schedule));
  return plan.Complete(schedule, microbatches);
}

MiniBatch BatchOf(RankContext& ctx, const TrainingPlan& plan, size_t update) {
  int64_t begin = 0;
  for (size_t i = 0; i < update; ++i) begin += plan.batches[i];
  MiniBatch batch;
  batch.samples = plan.batches[update];
  if (ctx.HasInput("images")) batch.inputs = {ctx.Input("images").narrow(0, begin, batch.samples)};
  if (ctx.HasInput("labels")) batch.targets = ctx.Input("labels").narrow(0, begin, batch.samples);
  return batch;
}

}  // namespace shardlab::grade
