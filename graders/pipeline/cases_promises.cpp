#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <torch/torch.h>

#include "oracle.hpp"
#include "probe.hpp"
#include "shardlab/layers/stage_module.hpp"
#include "shardlab/models/sequences.hpp"

// What the headers promise beside the result: refusals, calls, memory that is shared or let go, results that stay.

namespace shardlab::grade {
namespace {

struct Promise {
  const char* name;    // of the number that the body hands back
  double expected;     // what it must be
  const char* broken;  // what is wrong when it is not
};

void ExpectPromises(CaseContext& t, const Run& run, int rank, const std::vector<Promise>& promises) {
  for (const Promise& promise : promises) {
    const double got = run.Number(rank, promise.name);
    t.Expect(std::abs(got - promise.expected) <= 1e-12 * std::abs(promise.expected),
             fmt::format("{} (rank {}: {} is {:g}, and must be {:g})", promise.broken, rank, promise.name, got,
                         promise.expected));
  }
}

// What a run of the probes' layers gives for one micro-batch, in one process; gradients are added to the module's.
std::pair<at::Tensor, at::Tensor> OfProbes(StageModule& module, const at::Tensor& x, const at::Tensor& dy) {
  const at::Tensor in = x.clone().requires_grad_();
  const at::Tensor y = module.Forward({in}, MicroBatch()).at(0);
  y.backward(dy);
  return {y.detach(), in.grad()};
}

void ExpectStagePromises(CaseContext& t, bool halves) {
  const at::Tensor x = t.Normal({9, 4}), dy = t.Normal({9, 4});
  RunSpec spec;
  spec.body = "promises_of_a_stage";
  spec.params["halves"] = halves;
  spec.inputs = {{"x", {x}}, {"dy", {dy}}};
  const Run run = t.Launch(spec);
  StageModule first(ProbeModel(2, 4, 1), 0, 2), second(ProbeModel(2, 4, 2), 0, 2);
  StageModule mistaken(ProbeModel(2, 4, 1), 0, 2), mistaken_too(ProbeModel(2, 4, 2), 0, 2);
  for (int i = 0; i < 3; ++i) {
    const auto part = [&](const at::Tensor& whole) { return whole.narrow(0, 3 * i, 3); };
    const auto [y, dx] = OfProbes(i % 2 == 0 ? first : second, part(x), part(dy));
    const auto [other_y, other_dx] = OfProbes(second, 2 * part(x), part(dy));
    const auto [swapped, swapped_dx] = OfProbes(i % 2 == 0 ? mistaken_too : mistaken, part(x), part(dy));
    const std::string number = std::to_string(i);
    const std::string kept = ", looked at when all forwards and backwards are done";
    t.ExpectClose(run, 0, "y" + number, y, {fmt::format("the output of micro-batch {}{}", i, kept)});
    t.ExpectClose(
        run, 0, "other y" + number, other_y,
        {fmt::format("the output of micro-batch {} of a second stage, which has the same number{}", i, kept)});
    Label label{fmt::format("the gradient of the input of micro-batch {}, on weights that take turns{}", i, kept)};
    label.hypotheses = {
        {"a micro-batch goes back through other weights than those of its forward", [dx = swapped_dx] { return dx; }}};
    t.ExpectClose(run, 0, "dx" + number, dx, label);
    t.ExpectClose(
        run, 0, "other dx" + number, other_dx,
        {fmt::format("the gradient of the input of micro-batch {} of a second stage, which has the same number{}", i,
                     kept)});
  }
  for (const auto& [number, module] : {std::pair{"0", &first}, std::pair{"1", &second}}) {
    for (const auto& [name, value] : module->NamedParameters()) {
      t.ExpectClose(run, 0, number + name, value.grad(),
                    {fmt::format("the gradient of `{}` of the {} of two sets of weights that take turns", name,
                                 number == std::string("0") ? "first" : "second")});
    }
  }
  ExpectPromises(t, run, 0,
                 {{"graphs after all backwards", 0,
                   "a backward drops its micro-batch: graphs are still alive behind the last one"},
                  {"refused number", 1, "Forward of a number that is under way must throw ContractError"},
                  {"refused backward", 1, "going back with a number that is not under way must throw ContractError"},
                  {"refused gradients", 1, "two gradients for one output must be refused with ContractError"},
                  {"live after forget", 0, "Forget drops a micro-batch: Live() must not count it"},
                  {"graphs after forget", 0, "Forget drops a micro-batch: its graph is still alive"},
                  {"number taken", 0, "the number of a micro-batch that was dropped is free again"}});
  if (halves) {
    ExpectPromises(t, run, 0,
                   {{"live between the halves", 1,
                     "between BackwardInput and BackwardWeight the micro-batch is under way, and Live() counts it"}});
  } else {
    ExpectPromises(
        t, run, 0,
        {{"refused halves", 1, "the halves of a stage of MakeStage throw ContractError: leave them to class Stage"}});
  }
  ExpectPromises(t, run, 0,
                 {{"shares memory", 1,
                   "the leaf at which the graph begins shares the input's memory (x.detach()); here it is a copy"},
                  {"input is a leaf", 1, "the caller's input must be left as it is"}});
}

}  // namespace

// ------------------------------------------------------------------------------------------------ stage

SHARDLAB_CASE(stage, pieces_refuse_and_share, kRobustness, {1}) {
  RunSpec spec;
  spec.body = "promises_of_pieces";
  ExpectPromises(
      t, t.Launch(spec), 0,
      {{"refused sizes", 3, "MicroBatches throws ContractError for 0 samples, for 0 pieces and for -2 samples"},
       {"step", 0, "the pieces of MicroBatches(7, 3) are for update 0"},
       {"tensors", 2, "SamplesOf gives one piece of each tensor of the mini-batch"},
       {"views", 1, "SamplesOf gives views of the mini-batch's tensors; here they are copies"},
       {"of none", 0, "SamplesOf of no tensors is no tensors"},
       {"refused samples", 1, "SamplesOf throws ContractError when any of the tensors has another number of samples"},
       // y[1] is 5, the targets 1, the factor 3, and 2 of 7 samples are here.
       {"share", 2.0 / 7 * 12,
        "ShareOf's loss is n_i / B times the mean loss that it was given, of all outputs and the "
        "targets; it keeps that function, which may be gone"},
       {"calls", 1, "ShareOf's loss calls the mean loss once"}});
}

SHARDLAB_CASE(stage, what_a_stage_keeps_and_refuses, kRobustness, {1}) { ExpectStagePromises(t, false); }
SHARDLAB_CASE(zero_bubble, what_a_stage_in_halves_keeps_and_refuses, kRobustness, {1}) { ExpectStagePromises(t, true); }

// ------------------------------------------------------------------------------------------------ gpipe

SHARDLAB_CASE(gpipe, what_an_engine_calls_and_refuses, kRobustness, {2}) {
  const int m = 3;
  const at::Tensor w0 = t.Normal({3, 3}), w1 = t.Normal({2, 3}), x = t.Normal({7, 3}), targets = t.Normal({7, 2});
  RunSpec spec;
  spec.body = "promises_of_an_engine";
  spec.params["microbatches"] = m;
  spec.inputs = {{"w0", {w0}}, {"w1", {w1}}, {"x", {x}}, {"targets", {targets}}};
  const Run run = t.Launch(spec);

  // Two updates of plain SGD by hand, whose loss counts a quarter of each sample, with the rates of updates 3 and 4.
  const auto losses_of = [&](double share, int first, at::Tensor* final0, at::Tensor* final1) {
    at::Tensor a = w0.clone(), b = w1.clone();
    std::vector<double> losses;
    for (int update = first; update < first + 2; ++update) {
      const at::Tensor a_leaf = a.clone().requires_grad_(), b_leaf = b.clone().requires_grad_();
      const at::Tensor loss = (x.mm(a_leaf.t()).mm(b_leaf.t()) - targets).square().mean() * share;
      loss.backward();
      losses.push_back(loss.item<double>());
      a = a - 0.1 / (1 + update) * a_leaf.grad();
      b = b - 0.1 / (1 + update) * b_leaf.grad();
    }
    if (final0 != nullptr) *final0 = a;
    if (final1 != nullptr) *final1 = b;
    return at::tensor(losses, at::kDouble);
  };
  at::Tensor final0, final1;
  const at::Tensor losses = losses_of(0.25, 3, &final0, &final1);
  Label label{"the losses of two updates, of whose samples this pipeline has a quarter"};
  label.hypotheses = {
      {"the samples of the mini-batch are taken for those of the whole update (MiniBatch::update_samples)",
       [=] { return losses_of(1, 3, nullptr, nullptr); }},
      {"the learning rate begins with update 0 in a run that is resumed (PipelineSetup::first_update)",
       [=] { return losses_of(0.25, 0, nullptr, nullptr); }}};
  t.ExpectClose(run, 1, "losses", losses, label);
  t.ExpectClose(run, 0, "weight", final0, {"the first stage's weight after two updates"}, 1);
  t.ExpectClose(run, 1, "weight", final1, {"the last stage's weight after two updates"}, 1);
  t.Expect(run.Output(0, "losses").numel() == 0,
           "Run returns losses on the ranks with a last chunk; on others nothing, and here rank 0 got some");

  std::vector<double> told, numbers;
  for (int update = 3; update < 5; ++update) {
    for (int i = 0; i < m; ++i) {
      const double begin = i == 0 ? 0 : 1 + 2 * i, end = 3 + 2 * i;
      for (const double value : {double(update), double(i), double(m), begin, end, 7.0, 12.0, 28.0, 1.0, 0.0}) {
        told.push_back(value);
      }
      numbers.push_back(i);
    }
  }
  const at::Tensor expected = at::tensor(told, at::kDouble).view({-1, 10});
  for (int rank = 0; rank < 2; ++rank) {
    const at::Tensor asked = run.Output(rank, "asked");
    t.Expect(asked.numel() == 2 && asked.sum().item<double>() == 0,
             fmt::format("the source of mini-batches is called once for each update of a run, on every rank, with 0 in "
                         "each of two runs of one update; rank {} called it {} times",
                         rank, asked.numel()));
    t.ExpectEqual(run, rank, "told", expected,
                  {"what the layers are told (a row a forward: step, index, count, begin, end, batch, first, "
                   "update_samples, training, recomputed)"});
    t.ExpectEqual(run, rank, "numbers", at::tensor(numbers, at::kDouble),
                  {"the numbers of the micro-batches that the stage is given, in two runs"});
    t.ExpectEqual(run, rank, "rates", at::tensor({3.0, 4.0}, at::kDouble),
                  {"the updates that the learning rate is asked for, of a run that is resumed at update 3"});
    ExpectPromises(
        t, run, rank,
        {{"data left alone", 1, "the caller's data must be left as they are"},
         {"module of another rank", 1, "Module throws ContractError for a chunk of another rank"},
         {"balance that is too large", 1,
          "MakeEngine throws ContractError when the balance has more layers than the model"},
         {"names a balance", 1, "the refusal of a balance names one that would do (RequireBalance)"},
         {"balance of one stage", 1, "MakeEngine throws ContractError when the balance has fewer numbers than stages"},
         {"balance with an empty stage", 1, "MakeEngine throws ContractError when the balance leaves a stage empty"},
         {"layout of three ranks", 1, "MakeEngine throws ContractError when the layout has another number of ranks"},
         {"schedule that is not valid", 3,
          "Run throws ScheduleError for a schedule that is not valid: a backward was left out of it"}});
  }
}

SHARDLAB_CASE(gpipe, a_failure_says_where, kRobustness, {1}) {
  RunSpec spec;
  spec.body = "failure_of_an_engine";
  ExpectPromises(t, t.Launch(spec), 0,
                 {{"thrown", 1, "what fails while a list runs is thrown on as ScheduleError (FailureAt)"},
                  {"rank", 0, "the error says on which rank it was"},
                  {"step", 1, "the error says at which entry of the list it was: the list begins 0F0 0F1"},
                  {"named", 1, "the error names the action, 0F1, and the cause, the loss is on strike"},
                  {"table", 1, "the error's table shows the lists around [0F1]"}});
}

SHARDLAB_CASE(gpipe, two_pipelines_share_an_update, kRobustness, {2}) {
  const at::Tensor w0 = t.Normal({3, 3}), w1 = t.Normal({2, 3}), x = t.Normal({7, 3}), targets = t.Normal({7, 2});
  RunSpec spec;
  spec.body = "two_pipelines";
  spec.params = {{"first of rank 1", 4}, {"update_samples", 7}};
  spec.inputs = {{"w0", {w0}}, {"w1", {w1}}};
  spec.inputs["x"] = {x.narrow(0, 0, 4).contiguous(), x.narrow(0, 4, 3).contiguous()};
  spec.inputs["targets"] = {targets.narrow(0, 0, 4).contiguous(), targets.narrow(0, 4, 3).contiguous()};
  const Run run = t.Launch(spec);
  const auto trained = [=](int64_t begin, int64_t count) {
    at::Tensor a = w0, b = w1;
    for (int update = 0; update < 2; ++update) {
      const at::Tensor a_leaf = a.clone().requires_grad_(), b_leaf = b.clone().requires_grad_();
      const auto part = [&](const at::Tensor& of) { return of.narrow(0, begin, count); };
      const at::Tensor errors = (part(x).mm(a_leaf.t()).mm(b_leaf.t()) - part(targets)).square();
      (errors.sum() / 14).backward();
      a = a - 0.1 * a_leaf.grad();
      b = b - 0.1 * b_leaf.grad();
    }
    return std::pair{a, b};
  };
  const auto [a, b] = trained(0, 7);
  for (int rank = 0; rank < 2; ++rank) {
    const auto [own_a, own_b] = trained(rank == 0 ? 0 : 4, rank == 0 ? 4 : 3);
    for (const auto& [name, value, own] :
         {std::tuple{"layer0.weight", a, own_a}, std::tuple{"layer1.weight", b, own_b}}) {
      Label label{fmt::format("`{}` after two updates of two pipelines together", name)};
      label.hypotheses = {
          {"each pipeline steps by its own gradients: REDUCE_GRAD sums them over PipelineSetup::same_weights",
           [own = own] { return own; }}};
      t.ExpectClose(run, rank, name, value, label, 1);
    }
  }
}

SHARDLAB_CASE(gpipe, two_engines_at_once, kRobustness, {2}) {
  const TrainingPlan plan = PlanFor(t, "probe", "gpipe", 2, {4, 5});
  const PipelineData data = DrawData(t, plan);
  RunSpec spec = SpecOf("two_engines", plan, data);
  spec.inputs = {{"images", {data.images}}, {"labels", {data.labels}}};
  const Run run = t.Launch(spec);
  for (int e = 0; e < 2; ++e) {
    TrainingPlan mine = plan;
    mine.model_seed += static_cast<uint64_t>(e);
    const Trained reference = TrainReference(mine, data);
    const std::string of = fmt::format("engine {} ", e);
    const char* what[] = {"the first of two engines",
                          "the second of two engines, whose stages lie on the ranks in reverse"};
    t.ExpectClose(run, e == 0 ? 1 : 0, of + "losses", at::tensor(reference.losses, at::kDouble),
                  {fmt::format("the losses of {}, whose updates take turns", what[e])}, 0, 2);
    for (const auto& [name, value] : reference.parameters) {
      const int stage = StageOf(mine.MakeModel(), mine.balance, name);
      t.ExpectClose(run, e == 0 ? stage : 1 - stage, of + name, value,
                    {fmt::format("`{}` of {}, whose updates take turns", name, what[e])}, 1, 2);
    }
  }
}

// ------------------------------------------------------------------------------------------------ train

SHARDLAB_CASE(train, an_evaluation_of_fewer_samples, kRobustness, {2}) {
  TrainingPlan plan = PlanFor(t, "probe", "gpipe", 4, {8});
  plan.evaluate = 2;
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(train, statistics_in_float32_at_the_last_micro_batch, kRobustness, {1}) {
  // The mean is 1000 times the standard deviation.
  const at::Tensor x = (t.Normal({26, 3}) + 1000).to(at::kFloat);
  RunSpec spec;
  spec.body = "promises_of_statistics";
  spec.inputs = {{"x", {x}}};
  const Run run = t.Launch(spec);
  ExpectPromises(
      t, run, 0,
      {{"early", 0, "running statistics are updated at the last micro-batch of a mini-batch, and not before"}});
  const at::Tensor wide = x.to(at::kDouble);
  const at::Tensor mean = wide.mean(0) * 0.1, var = wide.var(0, true) * 0.1 + 0.9;
  const auto wrong = [&](const char* output, const at::Tensor& expected, double tolerance) {
    const at::Tensor got = run.Output(0, output).to(at::kDouble);
    return (got - expected).abs().max().item<double>() > tolerance * expected.abs().max().item<double>();
  };
  t.Expect(!wrong("mean", mean, 1e-5), "the running mean of float32 values around 1000 is wrong in its fifth digit");
  t.Expect(!wrong("second mean", mean + 0.1, 1e-5),
           "the running mean of a second norm, tracked by a second object in turn with the first, is wrong");
  t.Expect(
      !wrong("var", var, 1e-3),
      fmt::format("the running variance of float32 values whose mean is 1000 times their standard deviation is {:g}, "
                  "and must be {:g}: E[x^2] - mean^2 has no right digit there; join sums of squared differences",
                  run.Output(0, "var")[0].item<double>(), var[0].item<double>()));
}

// ------------------------------------------------------------------------------------------------ recompute

SHARDLAB_CASE(recompute, states_and_checkpoints, kRobustness, {1}) {
  RunSpec spec;
  spec.body = "promises_of_recompute";
  spec.params["seed"] = static_cast<int64_t>(t.seed() % 1000000);
  const Run run = t.Launch(spec);
  ExpectPromises(
      t, run, 0,
      {{"first again", 1, "RestoreRandomState makes the generator what it was when the state was saved"},
       {"second again", 1, "of two saved states each stays what it was"},
       {"first once more", 1, "a saved state can be restored twice: what is drawn in between must not change it"},
       {"number", 4, "Checkpoint::number is the micro-batch's number"},
       {"index", 1, "Checkpoint::at is the micro-batch's place in training"},
       {"module", 1, "Checkpoint::module is the module that the forward ran on"},
       {"inputs", 1, "Checkpoint::inputs are the inputs themselves, in their memory"},
       {"live", 1, "after RunAgain the micro-batch is under way"},
       {"backward", 0, "after RunAgain the micro-batch can go back, under the checkpoint's number"}});
  t.ExpectAtMost("bytes beside their inputs that two micro-batches keep until they are computed again",
                 run.Number(0, "bytes"), 1.5 * run.Number(0, "boundary"), "bytes");
}

// ------------------------------------------------------------------------------------------------ pipedream, 2bw

SHARDLAB_CASE(pipedream, versions_change_no_more_than_they_must, kRobustness, {1}) {
  RunSpec spec;
  spec.body = "promises_of_versions";
  ExpectPromises(
      t, t.Launch(spec), 0,
      {{"refused version", 1, "At throws ContractError for a version that is not made yet"},
       {"gradients", 1, "Gradients are of the parameters that require one: here of one of two"},
       {"changed gradient", 0.5, "changing Gradients() in place changes the update: w1 = 1 - 2 * 0.25"},
       {"newest", 1, "Newest() counts the updates"},
       {"cleared", 0, "an update clears the gradients"},
       {"frozen", 7, "a new version has the values of the version that it is made of, also where they are not trained"},
       {"frozen wants", 0, "a parameter that requires no gradient requires none in the next version"},
       {"in place", 1, "a version that was released before the update becomes the next one itself, without a copy"},
       {"optimizers of no weights", 0, "a chunk without parameters that require a gradient has no optimizer"},
       {"newest of no weights", 1, "a chunk without weights makes versions all the same"}});
}

SHARDLAB_CASE(pipedream, two_runs_of_one_engine, kRobustness, {3}) {
  TrainingPlan plan = PlanFor(t, "probe", "pipedream", 1, std::vector<int64_t>(8, 3));
  const PipelineData data = DrawData(t, plan);
  const Run run = t.Launch(SpecOf("two_runs", plan, data));
  const auto of_one = DefinitionOf(plan).version;
  Definition definition;
  definition.version = [of_one](int s, int update) {
    return update < 4 ? of_one(s, update) : 4 + of_one(s, update - 4);
  };
  const Trained reference = TrainReference(plan, data, definition);
  Label label{"the losses of two runs of 4 updates, each of which begins with the weights that the one before left"};
  label.hypotheses = {{"the second run goes on with the delays of the first: it begins with its newest weights",
                       [=] { return at::tensor(TrainReference(plan, data, DefinitionOf(plan)).losses, at::kDouble); }}};
  t.ExpectClose(run, 2, "losses", at::tensor(reference.losses, at::kDouble), label, 0, 8);
  for (const auto& [name, value] : reference.parameters) {
    const int rank = StageOf(plan.MakeModel(), plan.balance, name);
    t.ExpectClose(run, rank, "param." + name, value, {fmt::format("`{}` after two runs", name)}, 1, 8);
  }
}

SHARDLAB_CASE(2bw, memory_does_not_grow_with_updates, kCost, {2}) {
  TrainingPlan plan = PlanFor(t, "probe", "2bw", 2, {64});
  plan.width = 32;
  plan.BalanceEvenly();
  const PipelineData data = DrawData(t, plan);
  const Run run = t.Launch(SpecOf("memory_of_updates", plan, data));
  const double batch = 64 * 32 * 8;
  for (int rank = 0; rank < 2; ++rank) {
    const double grows = (run.Number(rank, "many") - run.Number(rank, "few")) / 8;
    t.ExpectAtMost(
        fmt::format(
            "bytes by which the peak of rank {} grows with every update of a run without a flush (the data of an "
            "update, which have {:g}, are needed until the last micro-batch that uses them)",
            rank, batch),
        grows, 0.1 * batch, "bytes");
    const at::Tensor asked = run.Output(rank, "asked");
    t.Expect(
        at::equal(asked, at::arange(12, at::kDouble)),
        fmt::format("the source of mini-batches is called once for each update, in order; rank {} called it {} times "
                    "in 12 updates",
                    rank, asked.numel()));
  }
}

// ------------------------------------------------------------------------------------------------ skips

SHARDLAB_CASE(skips, routes_check_the_names_too, kRobustness, {1}) {
  RunSpec spec;
  spec.body = "promises_of_skips";
  ExpectPromises(
      t, t.Launch(spec), 0,
      {{"refused routes", 1, "SkipRoutes throws ContractError for a skip that nobody pops, as CheckSkips does"}});
}

}  // namespace shardlab::grade
