#include "shardlab/pipeline/stage_times.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include <ATen/ATen.h>

namespace shardlab {
namespace {

double MonotonicSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

class StageTimes::WatchedStage final : public Stage {
 public:
  WatchedStage(std::unique_ptr<Stage> stage, int chunk, std::vector<Span>* spans)
      : stage_(std::move(stage)), chunk_(chunk), spans_(spans) {}

  Tensors Forward(int number, const MicroBatch& at, const Tensors& inputs, StageModule& module) override {
    const ActionKind kind = at.recomputed ? ActionKind::kRecompute : ActionKind::kForward;
    return Watch(kind, number, [&] { return stage_->Forward(number, at, inputs, module); });
  }
  Tensors Backward(int number, const Tensors& gradients) override {
    return Watch(ActionKind::kBackward, number, [&] { return stage_->Backward(number, gradients); });
  }
  Tensors BackwardInput(int number, const Tensors& gradients) override {
    return Watch(ActionKind::kBackwardInput, number, [&] { return stage_->BackwardInput(number, gradients); });
  }
  void BackwardWeight(int number) override {
    Watch(ActionKind::kBackwardWeight, number, [&] {
      stage_->BackwardWeight(number);
      return 0;
    });
  }
  void Forget(int number) override { stage_->Forget(number); }
  int Live() const override { return stage_->Live(); }

 private:
  template <typename Work>
  auto Watch(ActionKind kind, int number, Work work) -> decltype(work()) {
    const double begin = MonotonicSeconds();
    auto result = work();
    spans_->push_back({{kind, chunk_, number}, begin, MonotonicSeconds()});
    return result;
  }

  std::unique_ptr<Stage> stage_;
  const int chunk_;
  std::vector<Span>* spans_;
};

StageMaker StageTimes::Watched(StageMaker make) {
  return [this, make = std::move(make)](int chunk) -> std::unique_ptr<Stage> {
    return std::make_unique<WatchedStage>(make(chunk), chunk, &spans_);
  };
}

Simulation GatherRun(const StageTimes& times, int microbatches, Communicator& pipe) {
  std::vector<double> mine;  // kind, chunk, micro-batch, begin, end of each
  for (const Span& span : times.spans()) {
    if (span.action.microbatch >= microbatches) continue;
    mine.insert(mine.end(), {static_cast<double>(span.action.kind), static_cast<double>(span.action.chunk),
                             static_cast<double>(span.action.microbatch), span.begin, span.end});
  }
  const at::Tensor packed = at::tensor(mine, at::kDouble);
  if (pipe.rank() != 0) {
    pipe.SendTensor(packed, 0);
    return {};
  }
  Simulation run;
  for (int rank = 0; rank < pipe.size(); ++rank) {
    const at::Tensor theirs = rank == 0 ? packed : pipe.RecvTensor(rank);
    const double* value = theirs.data_ptr<double>();
    run.ranks.emplace_back();
    for (int64_t i = 0; i < theirs.numel(); i += 5) {
      Span span;
      span.action = {static_cast<ActionKind>(static_cast<int>(value[i])), static_cast<int>(value[i + 1]),
                     static_cast<int>(value[i + 2])};
      span.begin = value[i + 3];
      span.end = value[i + 4];
      run.ranks.back().push_back(span);
    }
  }
  double first = std::numeric_limits<double>::infinity();
  for (const auto& spans : run.ranks) {
    for (const Span& span : spans) first = std::min(first, span.begin);
  }
  double computing = 0;
  for (auto& spans : run.ranks) {
    run.busy.push_back(0);
    for (Span& span : spans) {
      span.begin -= first;
      span.end -= first;
      run.busy.back() += span.end - span.begin;
      run.makespan = std::max(run.makespan, span.end);
    }
    computing += run.busy.back();
  }
  if (run.makespan > 0) run.bubble = 1 - computing / (run.makespan * static_cast<double>(run.ranks.size()));
  return run;
}

}  // namespace shardlab
