#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include <torch/torch.h>

#include "engine_setup.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/grade/body.hpp"
#include "shardlab/measure/memory.hpp"
#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/policies.hpp"
#include "shardlab/plan/passes.hpp"

// Bodies that ask an engine for what its header says beside the training: what it refuses, calls and leaves alone.

namespace shardlab::grade {

namespace {

// What the layers of a Noting model were told.
std::vector<MicroBatch> noted;

// y = x W'.
class Noting final : public Layer {
 public:
  explicit Noting(const at::Tensor& weight) { weight_ = register_parameter("weight", weight); }
  Tensors Forward(const Tensors& x, const MicroBatch& at) override {
    noted.push_back(at);
    return {x.at(0).mm(weight_.t())};
  }

 private:
  at::Tensor weight_;
};

LayerSequence NotingModel(const std::vector<at::Tensor>& weights) {
  LayerSequence model;
  for (size_t i = 0; i < weights.size(); ++i) {
    model.push_back(
        {"layer" + std::to_string(i), [w = weights[i]] { return std::make_shared<Noting>(w.clone()); }, {}, {}});
  }
  return model;
}

PipelineSetup NotingSetup(const std::vector<at::Tensor>& weights, const Layout& layout) {
  PipelineSetup setup{NotingModel(weights), {}, layout};
  const auto layers = static_cast<int>(weights.size());
  for (int stage = 0; stage < layout.stages(); ++stage) setup.balance.push_back(layers / layout.stages());
  setup.loss = [](const Tensors& y, const at::Tensor& targets) { return (y.at(0) - targets).square().mean(); };
  setup.optimizer = [](int, const std::vector<at::Tensor>& parameters) {
    Recipe recipe;
    recipe.learning_rate = 0.1;
    recipe.momentum = 0;
    return MakeOptimizer(recipe, parameters);
  };
  return setup;
}

// A stage that notes the numbers of its micro-batches.
class NumberedStage final : public Stage {
 public:
  explicit NumberedStage(std::vector<double>* numbers) : numbers_(numbers) {}
  Tensors Forward(int number, const MicroBatch& at, const Tensors& inputs, StageModule& module) override {
    numbers_->push_back(number);
    return inner_->Forward(number, at, inputs, module);
  }
  Tensors Backward(int number, const Tensors& gradients) override { return inner_->Backward(number, gradients); }
  void Forget(int number) override { inner_->Forget(number); }
  int Live() const override { return inner_->Live(); }

 private:
  std::unique_ptr<Stage> inner_ = MakeStage();
  std::vector<double>* numbers_;
};

// What a call throws: 1 ContractError, 3 ScheduleError, 2 something else, 0 nothing; and the words.
std::pair<double, std::string> Thrown(const std::function<void()>& call) {
  try {
    call();
  } catch (const ContractError& error) {
    return {1, error.what()};
  } catch (const ScheduleError& error) {
    return {3, std::string(error.what()) + "\n" + error.table()};
  } catch (const NotImplemented&) {
    throw;
  } catch (const std::exception& error) {
    return {2, error.what()};
  }
  return {0, ""};
}

// Whether a text names sizes of `stages` stages that sum to `layers`.
bool NamesABalance(const std::string& text, int stages, int layers) {
  const std::regex list("[0-9]+(,[0-9]+)*");
  for (auto found = std::sregex_iterator(text.begin(), text.end(), list); found != std::sregex_iterator(); ++found) {
    int count = 0, sum = 0;
    std::string digits;
    for (const char c : found->str() + ",") {
      if (c != ',') {
        digits += c;
        continue;
      }
      ++count;
      sum += std::stoi(digits.substr(0, 6));
      digits.clear();
    }
    if (count == stages && sum == layers) return true;
  }
  return false;
}

Schedule CompleteGPipe(int stages, int microbatches) { return AddCommunication(Flush(GPipe(stages, microbatches))); }

}  // namespace

// Two updates of a quarter of a larger mini-batch, of a run that is resumed; and what was called and told.
SHARDLAB_BODY(promises_of_an_engine) {
  const std::vector<at::Tensor> weights = {ctx.Input("w0"), ctx.Input("w1")};
  const at::Tensor x = ctx.Input("x"), targets = ctx.Input("targets");
  const auto m = ctx.Param<int>("microbatches");
  const Layout layout = Layout::Linear(2);
  PipelineSetup setup = NotingSetup(weights, layout);
  std::vector<double> rates, numbers, asked, losses;
  setup.first_update = 3;
  setup.learning_rate = [&](int64_t update) {
    rates.push_back(static_cast<double>(update));
    return 1.0 / static_cast<double>(1 + update);
  };
  setup.stage = [&](int) { return std::make_unique<NumberedStage>(&numbers); };
  const auto engine = MakeEngine(setup, ctx.shared_comm());
  setup = {{}, {}, layout};
  const at::Tensor before = x.clone();
  for (int run = 0; run < 2; ++run) {
    const auto returned = engine->Run(CompleteGPipe(2, m), [&](int64_t update) {
      asked.push_back(static_cast<double>(update));
      MiniBatch batch;
      batch.samples = x.size(0);
      batch.first = 12;
      batch.update_samples = 4 * x.size(0);
      if (ctx.rank() == 0) batch.inputs = {x};
      if (ctx.rank() == 1) batch.targets = targets;
      return batch;
    });
    losses.insert(losses.end(), returned.begin(), returned.end());
  }
  std::vector<double> told;
  for (const MicroBatch& at : noted) {
    for (const int64_t value : {at.step, int64_t{at.index}, int64_t{at.count}, at.samples.begin, at.samples.end,
                                at.batch, at.first, at.update_samples, int64_t{at.training}, int64_t{at.recomputed}}) {
      told.push_back(static_cast<double>(value));
    }
  }
  ctx.Output("told", at::tensor(told, at::kDouble).view({-1, 10}));
  ctx.Output("numbers", at::tensor(numbers, at::kDouble));
  ctx.Output("asked", at::tensor(asked, at::kDouble));
  ctx.Output("rates", at::tensor(rates, at::kDouble));
  ctx.Output("losses", at::tensor(losses, at::kDouble));
  ctx.Output("weight", engine->Module(ctx.rank()).NamedParameters().at(0).second);
  ctx.Number("data left alone", at::equal(x, before) && !x.requires_grad() && !targets.requires_grad() ? 1 : 0);

  const auto refuse = [&](const std::string& name, const std::function<void()>& call) {
    const auto [kind, text] = Thrown(call);
    ctx.Number(name, kind);
    return text;
  };
  refuse("module of another rank", [&] { engine->Module(1 - ctx.rank()); });
  PipelineSetup wrong = NotingSetup(weights, layout);
  wrong.balance = {2, 1};
  const std::string sum = refuse("balance that is too large", [&] { MakeEngine(wrong, ctx.shared_comm()); });
  ctx.Number("names a balance", NamesABalance(sum, 2, 2) ? 1 : 0);
  wrong.balance = {2};
  refuse("balance of one stage", [&] { MakeEngine(wrong, ctx.shared_comm()); });
  wrong.balance = {2, 0};
  refuse("balance with an empty stage", [&] { MakeEngine(wrong, ctx.shared_comm()); });
  const std::vector<at::Tensor> three = {weights[0], weights[0], weights[0]};
  refuse("layout of three ranks", [&] { MakeEngine(NotingSetup(three, Layout::Linear(3)), ctx.shared_comm()); });

  Schedule incomplete = CompleteGPipe(2, 2);
  auto& list = incomplete.ranks[0];
  list.erase(std::find(list.begin(), list.end(), Action::Backward(0, 1)));
  const auto invalid = MakeEngine(NotingSetup(weights, layout), ctx.shared_comm());
  refuse("schedule that is not valid", [&] {
    invalid->Run(incomplete, [&](int64_t) {
      MiniBatch batch;
      batch.samples = x.size(0);
      batch.inputs = {x};
      batch.targets = targets;
      return batch;
    });
  });
}

// A loss that throws in the second micro-batch, on one rank.
SHARDLAB_BODY(failure_of_an_engine) {
  PipelineSetup setup = NotingSetup({at::eye(2, at::kDouble)}, Layout::Linear(1));
  int calls = 0;
  setup.loss = [&](const Tensors& y, const at::Tensor&) {
    if (++calls == 2) throw std::runtime_error("the loss is on strike");
    return y.at(0).mean();
  };
  const auto engine = MakeEngine(setup, ctx.shared_comm());
  double thrown = 0, rank = -1, step = -1, named = 0, table = 0;
  try {
    engine->Run(CompleteGPipe(1, 3), [](int64_t) {
      MiniBatch batch;
      batch.samples = 6;
      batch.inputs = {at::ones({6, 2}, at::kDouble)};
      batch.targets = at::ones({6, 2}, at::kDouble);
      return batch;
    });
  } catch (const NotImplemented&) {
    throw;
  } catch (const ScheduleError& error) {
    const std::string what = error.what();
    thrown = 1;
    rank = error.rank();
    step = error.step();
    named = what.find("0F1") != std::string::npos && what.find("the loss is on strike") != std::string::npos ? 1 : 0;
    table = error.table().find("[0F1]") != std::string::npos ? 1 : 0;
  } catch (const std::exception&) {
    thrown = 2;
  }
  ctx.Number("thrown", thrown);
  ctx.Number("rank", rank);
  ctx.Number("step", step);
  ctx.Number("named", named);
  ctx.Number("table", table);
}

// Two pipelines of one rank each, whose gradients REDUCE_GRAD sums.
SHARDLAB_BODY(two_pipelines) {
  PipelineSetup setup = NotingSetup({ctx.Input("w0"), ctx.Input("w1")}, Layout::Linear(1));
  const at::Tensor x = ctx.Input("x"), targets = ctx.Input("targets");
  setup.balance = {2};
  setup.same_weights = ctx.shared_comm();
  const auto engine = MakeEngine(setup, ctx.comm().Split(ctx.rank(), 0));
  const Schedule schedule = AddCommunication(AddGradientReduction(Flush(GPipe(1, 2))));
  std::vector<double> losses;
  for (int run = 0; run < 2; ++run) {
    const auto returned = engine->Run(schedule, [&](int64_t) {
      MiniBatch batch;
      batch.samples = x.size(0);
      batch.inputs = {x};
      batch.targets = targets;
      batch.first = ctx.Param<int64_t>("first of rank 1") * ctx.rank();
      batch.update_samples = ctx.Param<int64_t>("update_samples");
      return batch;
    });
    losses.insert(losses.end(), returned.begin(), returned.end());
  }
  ctx.Output("losses", at::tensor(losses, at::kDouble));
  for (const auto& [name, value] : engine->Module(0).NamedParameters()) ctx.Output(name, value);
}

// Two engines in one process, whose updates take turns. The second has its stages on the ranks in reverse.
SHARDLAB_BODY(two_engines) {
  const TrainingPlan plan = ctx.params().get<TrainingPlan>();
  const std::shared_ptr<Communicator> reversed = ctx.comm().Split(0, -ctx.rank());
  const std::vector<std::shared_ptr<Communicator>> comms = {ctx.shared_comm(), reversed};
  std::vector<std::unique_ptr<Engine>> engines;
  for (size_t e = 0; e < 2; ++e) {
    TrainingPlan mine = plan;
    mine.model_seed += e;
    engines.push_back(MakeEngine(SetupFor(mine), comms[e]));
  }
  std::vector<std::vector<double>> losses(2);
  const Schedule schedule = ScheduleOf(plan, plan.microbatches, 1);
  for (size_t update = 0; update < plan.batches.size(); ++update) {
    for (size_t e = 0; e < 2; ++e) {
      const auto returned = engines[e]->Run(schedule, [&](int64_t) { return BatchOf(ctx, plan, update); });
      losses[e].insert(losses[e].end(), returned.begin(), returned.end());
    }
  }
  for (size_t e = 0; e < 2; ++e) {
    const std::string of = "engine " + std::to_string(e) + " ";
    if (!losses[e].empty()) ctx.Output(of + "losses", at::tensor(losses[e], at::kDouble));
    for (const auto& [name, value] : engines[e]->Module(comms[e]->rank()).NamedParameters())
      ctx.Output(of + name, value);
  }
}

// Two runs of an asynchronous schedule by one engine.
SHARDLAB_BODY(two_runs) {
  const TrainingPlan plan = ctx.params().get<TrainingPlan>();
  const auto engine = MakeEngine(SetupFor(plan), ctx.shared_comm());
  const size_t half = plan.batches.size() / 2;
  const Schedule schedule = ScheduleOf(plan, plan.microbatches, static_cast<int>(half));
  std::vector<double> losses;
  for (size_t run = 0; run < 2; ++run) {
    const auto returned = engine->Run(
        schedule, [&](int64_t update) { return BatchOf(ctx, plan, run * half + static_cast<size_t>(update)); },
        plan.microbatches);
    losses.insert(losses.end(), returned.begin(), returned.end());
  }
  if (!losses.empty()) ctx.Output("losses", at::tensor(losses, at::kDouble));
  for (const int chunk : plan.MakeLayout().ChunksOf(ctx.rank())) {
    for (const auto& [name, value] : engine->Module(chunk).NamedParameters()) ctx.Output("param." + name, value);
  }
}

// What a run of few and of many updates without a flush keeps at its peak; the data of an update are made when asked for.
SHARDLAB_BODY(memory_of_updates) {
  TrainingPlan plan = ctx.params().get<TrainingPlan>();
  const auto engine = MakeEngine(SetupFor(plan), ctx.shared_comm());
  CountMemory();
  std::vector<double> asked;
  const auto peak = [&](int updates) {
    asked.clear();
    const Schedule schedule = ScheduleOf(plan, plan.microbatches, updates);
    const PeakMemory memory;
    engine->Run(
        schedule,
        [&](int64_t update) {
          asked.push_back(static_cast<double>(update));
          MiniBatch batch = BatchOf(ctx, plan, 0);
          for (at::Tensor& x : batch.inputs) x = x.clone();
          if (batch.targets.defined()) batch.targets = batch.targets.clone();
          return batch;
        },
        plan.microbatches);
    return static_cast<double>(memory.Bytes());
  };
  peak(3);  // momentum and the shapes are there from now on
  ctx.Number("few", peak(4));
  ctx.Number("many", peak(12));
  ctx.Output("asked", at::tensor(asked, at::kDouble));
}

}  // namespace shardlab::grade
