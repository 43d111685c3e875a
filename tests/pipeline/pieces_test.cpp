// The pieces of an engine by themselves, and what an engine may keep.

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include <torch/torch.h>

#include "on_ranks.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/engine.hpp"
#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/link.hpp"
#include "shardlab/pipeline/micro_batches.hpp"
#include "shardlab/pipeline/policies.hpp"
#include "shardlab/pipeline/skips.hpp"
#include "shardlab/plan/passes.hpp"
#include "shardlab/plan/validate.hpp"
#include "toy_model.hpp"

namespace shardlab {
namespace {

using test::OnRanks;

MicroBatch Piece(int64_t samples) {
  MicroBatch at;
  at.samples = {0, samples};
  at.batch = samples;
  return at;
}

TEST(Link, CarriesATupleOfAnyTypesAndTheGradientsOfThoseThatWantOne) {
  OnRanks(2, [](const std::shared_ptr<Communicator>& comm) {
    const auto link = MakeLink(comm, 1 - comm->rank(), 0);
    for (int i = 0; i < 3; ++i) {
      const MicroBatch at = Piece(i == 1 ? 3 : 2);  // two sizes
      const at::Tensor x = at::full({at.samples.size(), 2}, i + 0.5, at::kDouble).requires_grad_();
      const at::Tensor index = at::full({at.samples.size()}, i, at::kLong);
      const at::Tensor flags = at::ones({1, 0}, at::kBool);
      if (comm->rank() == 0) {
        link->Send(i, at, {x, index, flags});
        link->PostGradients(i);
        const Tensors gradients = link->TakeGradients(i);
        EXPECT_EQ(gradients.size(), 3u);
        EXPECT_TRUE(at::equal(gradients[0], x.detach() * 2));
        EXPECT_FALSE(gradients[1].defined() || gradients[2].defined());
      } else {
        link->Post(i, at);
        const Tensors got = link->Take(i, at);
        EXPECT_TRUE(at::equal(got[0], x) && at::equal(got[1], index) && at::equal(got[2], flags));
        EXPECT_TRUE(got[0].requires_grad() && !got[1].requires_grad());
        link->SendGradients(i, {got[0].detach() * 2, at::Tensor(), at::Tensor()});
      }
    }
    link->Finish();
  });
}

TEST(Link, RefusesTensorsUnlikeThoseOfTheFirstMicroBatchOfASize) {
  OnRanks(2, [](const std::shared_ptr<Communicator>& comm) {
    const auto link = MakeLink(comm, 1 - comm->rank(), 0);
    if (comm->rank() == 0) {
      link->Send(0, Piece(2), {at::ones({2, 3})});
      EXPECT_THROW(link->Send(1, Piece(2), {at::ones({2, 4})}), ContractError);
      EXPECT_THROW(link->Send(2, Piece(3), Tensors(17, at::ones({1}))), ContractError);
      link->Finish();
    } else {
      link->Take(0, Piece(2));
    }
  });
}

TEST(Link, TheWindowIsTwoOnALineAndAsLargeAsNeededOnALoop) {
  EXPECT_EQ(SendWindow(AddCommunication(Flush(OneFOneB(6, 12)))), 2);
  const Schedule wpipe = AddCommunication(GroupWeights(WPipe(6, 24), 6));
  const int window = SendWindow(wpipe);
  RunRules rules;
  rules.forward_window = rules.backward_window = window;
  EXPECT_NO_THROW(Validate(wpipe, rules));
}

// ------------------------------------------------------------------------------------------------ tuples and skips

class Encode final : public Layer {
 public:
  Encode() { weight_ = register_parameter("weight", at::full({4, 4}, 0.25, at::kDouble) + at::eye(4, at::kDouble)); }
  Tensors Forward(const Tensors& x, const MicroBatch&) override {
    const at::Tensor y = at::tanh(x.at(0).mm(weight_));
    // A tuple: with gradient, integers, without gradient; and a skip.
    return {y, (x.at(0).sum(1) > 0).to(at::kLong), x.at(0) * 3, y * 2};
  }

 private:
  at::Tensor weight_;
};

class Middle final : public Layer {
 public:
  Middle() { weight_ = register_parameter("weight", at::eye(4, at::kDouble) * 0.5); }
  Tensors Forward(const Tensors& x, const MicroBatch&) override {
    return {at::tanh(x.at(0).mm(weight_)), x.at(1), x.at(2)};
  }

 private:
  at::Tensor weight_;
};

class Decode final : public Layer {
 public:
  Decode() { weight_ = register_parameter("weight", at::full({4, 3}, 0.1, at::kDouble)); }
  Tensors Forward(const Tensors& x, const MicroBatch&) override {
    const at::Tensor chosen = x.at(1).to(at::kDouble).unsqueeze(1);
    return {(x.at(0) * chosen + x.at(2) + x.at(3)).mm(weight_)};
  }

 private:
  at::Tensor weight_;
};

LayerSequence TupleModel() {
  return {{"encode", [] { return std::make_shared<Encode>(); }, {"skip"}, {}},
          {"middle0", [] { return std::make_shared<Middle>(); }, {}, {}},
          {"middle1", [] { return std::make_shared<Middle>(); }, {}, {}},
          {"decode", [] { return std::make_shared<Decode>(); }, {}, {"skip"}}};
}

TEST(Engine, SkipsAndTuplesOfAnyTypeOnAnyLayout) {
  const at::Tensor x = at::randn({7, 4}, at::kDouble), labels = at::randint(3, {7}, at::kLong);
  StageModule whole(TupleModel(), 0, 4);
  at::cross_entropy_loss(whole.Forward({x}, Piece(7))[0], labels).backward();
  std::map<std::string, at::Tensor> expected;
  for (const auto& [name, value] : whole.NamedParameters()) expected[name] = value.detach() - value.grad();

  const std::vector<std::pair<Schedule, std::vector<int>>> all = {
      {GPipe(4, 3), {1, 1, 1, 1}},        {OneFOneB(3, 3), {1, 1, 2}},
      {OneFOneB(2, 4), {3, 1}},           {InterleavedOneFOneB(2, 2, 4), {1, 1, 1, 1}},
      {ZeroBubbleH1(4, 5), {1, 1, 1, 1}}, {GPipe(1, 2), {4}}};
  for (const auto& [computation, balance] : all) {
    for (const Recompute recompute : {Recompute::kNever, Recompute::kAlways}) {
      const Schedule schedule = AddCommunication(AddRecompute(Flush(computation), recompute));
      OnRanks(schedule.layout.ranks(), [&, balance = balance](const std::shared_ptr<Communicator>& comm) {
        PipelineSetup setup{TupleModel(), balance, schedule.layout};
        setup.loss = test::CrossEntropy();
        setup.optimizer = test::MakeSgd(1.0);
        setup.stage = [](int) { return MakeSplitStage(); };
        const auto engine = MakeEngine(setup, comm);
        engine->Run(schedule, [&](int64_t) { return MiniBatch{7, {x}, labels}; });
        for (const int chunk : schedule.layout.ChunksOf(comm->rank())) {
          for (const auto& [name, value] : engine->Module(chunk).NamedParameters()) {
            EXPECT_TRUE(at::allclose(value, expected.at(name), 1e-10, 1e-12)) << schedule.name << ": " << name;
          }
        }
      });
    }
  }
}

TEST(Engine, AFrozenLayerStaysAndTheOthersLearn) {
  LayerSequence model = test::ToyModel();
  for (const size_t frozen : {size_t{0}, size_t{6}}) {
    const auto make = model[frozen].make;
    model[frozen].make = [make] {
      auto layer = make();
      for (at::Tensor parameter : layer->parameters()) parameter.set_requires_grad(false);
      return layer;
    };
  }
  StageModule whole(model, 0, 9);
  const MiniBatch batch = test::ToyBatch(0, 6);
  at::cross_entropy_loss(whole.Forward(batch.inputs, Piece(6))[0], batch.targets).backward();
  const Schedule schedule = AddCommunication(Flush(OneFOneB(3, 1)));
  OnRanks(3, [&](const std::shared_ptr<Communicator>& comm) {
    PipelineSetup setup{model, {1, 5, 3}, schedule.layout};  // the first stage has nothing to learn
    setup.loss = test::CrossEntropy();
    setup.optimizer = test::MakeSgd(1.0);
    const auto engine = MakeEngine(setup, comm);
    engine->Run(schedule, [&](int64_t) { return batch; });
    for (const auto& [name, value] : engine->Module(comm->rank()).NamedParameters()) {
      for (const auto& [other, before] : whole.NamedParameters()) {
        if (name != other) continue;
        const at::Tensor after = before.grad().defined() ? before.detach() - before.grad() : before.detach();
        EXPECT_TRUE(at::allclose(value, after, 1e-10, 1e-12)) << name;
      }
    }
  });
}

TEST(Stage, TheHalvesAddUpToTheWhole) {
  const auto pieces = MicroBatches(6, 1);
  const MiniBatch batch = test::ToyBatch(3, 6);
  std::vector<at::Tensor> gradients;
  for (const bool halves : {false, true}) {
    StageModule module(test::ToyModel(), 0, 9, ShareOf(test::CrossEntropy()));
    const auto stage = halves ? MakeSplitStage() : MakeStage();
    const at::Tensor x = batch.inputs[0].clone().requires_grad_();
    stage->Forward(0, pieces[0], {x, batch.targets}, module);
    const at::Tensor dx = halves ? stage->BackwardInput(0, {})[0] : stage->Backward(0, {})[0];
    if (halves) {
      for (const at::Tensor& parameter : module.parameters()) EXPECT_FALSE(parameter.grad().defined());
      stage->BackwardWeight(0);
    }
    Tensors all{dx};
    for (const at::Tensor& parameter : module.parameters()) all.push_back(parameter.grad());
    if (!halves) gradients = all;
    for (size_t i = 0; i < all.size(); ++i) EXPECT_TRUE(at::allclose(all[i], gradients[i], 1e-12, 1e-14)) << i;
  }
}

// Returns a tensor, once more itself, and one that is made of it.
class Threefold final : public Layer {
 public:
  Threefold() { weight_ = register_parameter("weight", at::arange(4, at::kDouble).view({2, 2})); }
  Tensors Forward(const Tensors& x, const MicroBatch&) override {
    const at::Tensor h = x.at(0).mm(weight_);
    return {h, h, at::tanh(h)};
  }

 private:
  at::Tensor weight_;
};

TEST(Stage, TheHalvesCountOnceWhatALayerReturnsInSeveralPlaces) {
  const LayerSequence model(2, {"layer", [] { return std::make_shared<Threefold>(); }, {}, {}});
  std::vector<at::Tensor> gradients;
  for (const bool halves : {false, true}) {
    StageModule module(model, 0, 2);
    const auto stage = halves ? MakeSplitStage() : MakeStage();
    stage->Forward(0, Piece(3), {at::ones({3, 2}, at::kDouble).requires_grad_()}, module);
    const at::Tensor one = at::full({3, 2}, 0.5, at::kDouble);
    Tensors all = stage->Backward(0, {one, one * 2, one * 3});
    for (const at::Tensor& parameter : module.parameters()) all.push_back(parameter.grad());
    if (!halves) gradients = all;
    for (size_t i = 0; i < all.size(); ++i) EXPECT_TRUE(at::allclose(all[i], gradients[i], 1e-12, 1e-14)) << i;
  }
}

TEST(Stage, AModuleInTheWrongModeIsNamed) {
  StageModule module(test::ToyModel(), 0, 9, ShareOf(test::CrossEntropy()));
  const MiniBatch batch = test::ToyBatch(3, 6);
  MicroBatch evaluation = Piece(6);
  evaluation.training = false;
  EXPECT_THROW(module.Forward(batch.inputs, evaluation), ContractError);
  module.eval();
  EXPECT_THROW(module.Forward(batch.inputs, Piece(6)), ContractError);
  EXPECT_NO_THROW(module.Forward(batch.inputs, evaluation));
}

TEST(Stage, MisuseIsNamed) {
  StageModule module(test::ToyModel(), 0, 9);
  const auto stage = MakeStage();
  const MiniBatch batch = test::ToyBatch(3, 6);
  EXPECT_THROW(stage->Backward(0, {}), ContractError);
  stage->Forward(0, Piece(6), batch.inputs, module);
  EXPECT_THROW(stage->Forward(0, Piece(6), batch.inputs, module), ContractError);
  EXPECT_THROW(stage->BackwardInput(0, {at::ones({6, 3}, at::kDouble)}), ContractError);
  stage->Forget(0);
  EXPECT_EQ(stage->Live(), 0);
}

}  // namespace
}  // namespace shardlab
