// What a layer may return, and what is said of everything else: in the engine, in one process and when the layers are
// measured, which is before a training begins.

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <torch/torch.h>

#include "../texts.hpp"
#include "on_ranks.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/models/profile.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/pipeline/engine.hpp"
#include "shardlab/pipeline/generators.hpp"
#include "shardlab/pipeline/policies.hpp"
#include "shardlab/plan/passes.hpp"
#include "toy_model.hpp"

namespace shardlab {
namespace {

using LayerFunction = std::function<Tensors(const Tensors& x)>;

class FunctionLayer final : public Layer {
 public:
  explicit FunctionLayer(LayerFunction forward) : forward_(std::move(forward)) {
    weight_ = register_parameter("weight", at::ones({4}, at::kDouble));
  }
  Tensors Forward(const Tensors& x, const MicroBatch&) override {
    Tensors y = x;
    y[0] = x[0] * weight_;
    return forward_(y);
  }

 private:
  LayerFunction forward_;
  at::Tensor weight_;
};

LayerSpec Spec(const std::string& name, const LayerFunction& forward) {
  return {name, [forward] { return std::make_shared<FunctionLayer>(forward); }, {}, {}};
}

LayerSequence Model(const LayerFunction& first) {
  return {Spec("first", first), Spec("second", [](const Tensors& x) { return Tensors{x[0]}; })};
}

struct Misfit {
  std::string says;  // behind "layer 'first' returned "
  LayerFunction forward;
};

std::vector<Misfit> Misfits() {
  return {
      {"0 tensor(s); it needs one for the next layer and 0 skip(s)", [](const Tensors&) { return Tensors(); }},
      {"an undefined tensor: leave it out, or return at::zeros of its shape",
       [](const Tensors&) { return Tensors{at::Tensor()}; }},
      {"an undefined tensor (number 1 of 2): leave it out",
       [](const Tensors& x) {
         return Tensors{x[0], at::Tensor()};
       }},
      {"a tensor that is not dense: return its to_dense()",
       [](const Tensors& x) { return Tensors{x[0].detach().to_sparse()}; }},
      {"17 tensors for the next layer, and between two stages travel at most 16",
       [](const Tensors& x) { return Tensors(17, x[0]); }},
      {"no element at all for the next layer, only tensors like float64 [0, 4]",
       [](const Tensors& x) { return Tensors{x[0].slice(0, 0, 0)}; }},
  };
}

PipelineSetup BoundarySetup(const LayerSequence& model, const Schedule& schedule) {
  PipelineSetup setup{model, {1, 1}, schedule.layout};
  setup.loss = test::CrossEntropy();
  setup.optimizer = test::MakeSgd(0.1);
  return setup;
}

TEST(Boundary, WhatIsNoneIsNamedWithItsLayer) {
  const at::Tensor x = at::rand({6, 4}, at::kDouble), labels = at::zeros({6}, at::kLong);
  const Schedule schedule = AddCommunication(Flush(GPipe(2, 3)));
  for (const Misfit& misfit : Misfits()) {
    const LayerSequence model = Model(misfit.forward);
    const std::string wanted = "layer 'first' returned " + misfit.says;
    EXPECT_EQ(MessageOf<std::exception>([&] { ProfileLayers(model, {x}, {1}); }).find(wanted), 0u)
        << wanted << "\n"
        << MessageOf<std::exception>([&] { ProfileLayers(model, {x}, {1}); });
    EXPECT_EQ(MessageOf<std::exception>([&] { SequenceClassifier(model).forward(x); }).find(wanted), 0u) << wanted;

    std::string told;
    test::OnRanks(2, [&](const std::shared_ptr<Communicator>& comm) {
      if (comm->rank() != 0) return;  // nothing comes as far
      const auto engine = MakeEngine(BoundarySetup(model, schedule), comm);
      told = MessageOf<std::exception>([&] {
        engine->Run(schedule, [&](int64_t) { return MiniBatch{6, {x}, labels}; });
      });
    });
    EXPECT_EQ(told.find("rank 0 failed at 0F0 (entry 0 of its list): " + wanted), 0u) << wanted << "\n" << told;
  }
}

TEST(Boundary, ALossIsOneNumber) {
  const at::Tensor x = at::rand({6, 4}, at::kDouble), labels = at::zeros({6}, at::kLong);
  const Schedule schedule = AddCommunication(Flush(GPipe(1, 2)));
  test::OnRanks(1, [&](const std::shared_ptr<Communicator>& comm) {
    PipelineSetup setup = BoundarySetup(Model([](const Tensors& y) { return Tensors{y[0]}; }), schedule);
    setup.balance = {2};
    setup.loss = [](const Tensors& y, const at::Tensor&) { return y[0].sum(1); };
    const auto engine = MakeEngine(setup, comm);
    const std::string message = MessageOf<std::exception>([&] {
      engine->Run(schedule, [&](int64_t) { return MiniBatch{6, {x}, labels}; });
    });
    EXPECT_NE(message.find("the loss function returned float64 [3]: it returns one number"), std::string::npos)
        << message;
  });
}

// Unusual, and none of anybody's business.
TEST(Boundary, TensorsOfAnyTypeAndShapeTravel) {
  const at::Tensor x = at::rand({6, 4}, at::kDouble), labels = at::zeros({6}, at::kLong);
  const Schedule schedule = AddCommunication(Flush(OneFOneB(2, 3)));
  const LayerSequence model = {
      Spec("first",
           [](const Tensors& y) {
             const at::Tensor n = at::scalar_tensor(static_cast<double>(y[0].size(0)), at::kDouble);
             return Tensors{y[0].t().contiguous().t(),         // other strides
                            at::empty({y[0].size(0), 0}),      // no element
                            n,                                 // no dimension
                            y[0] > 0,                          // bool
                            y[0].detach().to(at::kBFloat16)};  // 16 bits
           }),
      Spec("second", [](const Tensors& y) {
        const bool whole = y.size() == 5 && y[1].sizes() == at::IntArrayRef({y[0].size(0), 0}) && y[2].dim() == 0 &&
                           y[2].item<double>() == static_cast<double>(y[0].size(0)) &&
                           y[3].scalar_type() == at::kBool && y[4].scalar_type() == at::kBFloat16;
        if (!whole) throw std::runtime_error("another tuple has arrived");
        return Tensors{y[0] * y[3].to(at::kDouble)};
      })};
  test::OnRanks(2, [&](const std::shared_ptr<Communicator>& comm) {
    const auto engine = MakeEngine(BoundarySetup(model, schedule), comm);
    engine->Run(schedule, [&](int64_t) { return MiniBatch{6, {x}, labels}; });
  });
}

}  // namespace
}  // namespace shardlab
