#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kit/stand_ins.hpp"
#include "shardlab/comm/operation.hpp"
#include "shardlab/communication/overlapped_average.hpp"
#include "shardlab/grade/body.hpp"

namespace shardlab::grade {
namespace {

using Tensors = std::vector<at::Tensor>;
using Shapes = std::vector<std::vector<int64_t>>;

/// A communicator that keeps the all-reduces that go through it, so that a layer's backward can ask for what one brought.
class Watched final : public Communicator {
 public:
  /// What its sub-groups share.
  struct AllReduces {
    struct One {
      std::mutex mutex;  // a helper thread and a layer may both wait for it
      std::unique_ptr<Work> work;
      at::Tensor sum;

      void Wait() {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!work) return;
        work->Wait();
        work.reset();
        sum = sum.clone();  // whoever started it goes on with the tensor
      }
    };

    explicit AllReduces(RankContext& context) : ctx(context) {}

    /// The sum of the `number`-th all-reduce; undefined when nobody starts it, for far longer than a machine with other
    /// work keeps a helper thread from running.
    at::Tensor Sum(size_t number) {
      std::shared_ptr<One> one;
      {
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait_for(lock, std::chrono::seconds(patient ? 3 : 0), [&] { return all.size() > number; });
        patient = patient && all.size() > number;
        if (all.size() > number) one = all[number];
      }
      if (one) one->Wait();
      return one ? one->sum : at::Tensor();
    }

    RankContext& ctx;
    const std::thread::id thread = std::this_thread::get_id();  // backward's
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<std::shared_ptr<One>> all;  // in the order of their start
    bool patient = true;
  };

  Watched(std::shared_ptr<Communicator> inner, std::shared_ptr<AllReduces> all)
      : Communicator(inner->rank(), inner->group()), inner_(std::move(inner)), all_(std::move(all)) {}

  std::unique_ptr<Work> Start(const Operation& operation) override {
    if (operation.kind != OpKind::kAllReduce) return inner_->Start(operation);
    all_->ctx.Mark("start");
    auto one = std::make_shared<AllReduces::One>();
    one->sum = operation.outputs[0];
    one->work = inner_->Start(operation);
    const std::lock_guard<std::mutex> lock(all_->mutex);
    auto handle = std::make_unique<Handle>(all_, one, all_->all.size());
    all_->all.push_back(std::move(one));
    all_->changed.notify_all();
    return handle;
  }

  Announcer* announcer() override { return inner_->announcer(); }

 protected:
  std::shared_ptr<Communicator> MakeSubgroup(int rank, const Group& group, const Where& where) override {
    return std::make_shared<Watched>(MakeSubgroupOf(*inner_, rank, group, where), all_);
  }

 private:
  struct Handle final : Work {
    Handle(std::shared_ptr<AllReduces> its_all, std::shared_ptr<AllReduces::One> its_one, size_t its_number)
        : all(std::move(its_all)), one(std::move(its_one)), number(its_number) {}
    void Wait() override {
      if (std::this_thread::get_id() == all->thread) all->ctx.Mark("wait " + std::to_string(number));
      one->Wait();
    }
    std::shared_ptr<AllReduces> all;
    std::shared_ptr<AllReduces::One> one;
    size_t number;
  };

  std::shared_ptr<Communicator> inner_;
  std::shared_ptr<AllReduces> all_;
};

/// What the layers of a chain share.
struct Chain {
  RankContext& ctx;
  std::shared_ptr<Watched::AllReduces> buckets;
  at::Tensor own;        // [layers, 4]: this rank's part of each layer's gradient
  int64_t missing = -1;  // a layer that found no sum
};

/// The identity of x. The gradient of the weight needs the sum that the bucket of the layer but one behind this brought:
/// whoever computes the gradients before the buckets travel cannot have the right ones.
struct ChainLayer : torch::autograd::Function<ChainLayer> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x, const at::Tensor&,
                            int64_t layer, int64_t chain) {
    ctx->saved_data["layer"] = layer;
    ctx->saved_data["chain"] = chain;
    return x.clone();
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list gradients) {
    Chain& chain = *reinterpret_cast<Chain*>(ctx->saved_data["chain"].toInt());
    const int64_t layer = ctx->saved_data["layer"].toInt(), layers = chain.own.size(0);
    at::Tensor gradient = chain.own[layer].clone();
    if (layer + 2 < layers) {
      const at::Tensor sum = chain.buckets->Sum(layers - 1 - (layer + 2));
      if (sum.defined() && sum.numel() == gradient.numel()) {
        gradient.add_(sum.reshape({-1}).remainder(5));
      } else if (chain.missing < 0) {
        chain.missing = layer;
      }
    }
    chain.ctx.Mark("layer");
    return {gradients[0].clone(), gradient, at::Tensor(), at::Tensor()};
  }
};

/// Throws on its way back.
struct BreakingLayer : torch::autograd::Function<BreakingLayer> {
  static at::Tensor forward(torch::autograd::AutogradContext*, const at::Tensor& x) { return x.clone(); }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*, torch::autograd::variable_list) {
    throw std::runtime_error("this layer's backward fails");
  }
};

}  // namespace

/// A chain of layers, one bucket each, whose gradients need what earlier buckets brought; two steps.
SHARDLAB_BODY(overlap_chain) {
  const at::Tensor own = ctx.Input("own");  // [steps, layers, 4]
  const int64_t layers = own.size(1);
  Tensors weights;
  for (int64_t i = 0; i < layers; ++i) weights.push_back(at::ones({4}, at::kDouble).set_requires_grad(true));
  const auto buckets = std::make_shared<Watched::AllReduces>(ctx);
  auto average = MakeOverlappedAverage(std::make_shared<Watched>(ctx.shared_comm(), buckets), weights, 4 * 8);
  for (int64_t step = 0; step < own.size(0); ++step) {
    for (const at::Tensor& weight : weights) weight.mutable_grad() = at::Tensor();
    buckets->all.clear();
    Chain chain{ctx, buckets, own[step]};
    at::Tensor h = at::ones({4}, at::kDouble).set_requires_grad(true);
    for (int64_t i = 0; i < layers; ++i) {
      h = ChainLayer::apply(h, weights[i], i, reinterpret_cast<int64_t>(&chain));
    }
    const at::Tensor loss = h.sum();
    ctx.Mark("step");
    average->Begin(true);
    loss.backward();
    average->Finish();
    ctx.Mark("step over");
    Tensors means;
    for (const at::Tensor& weight : weights) means.push_back(weight.grad());
    ctx.Output("means" + std::to_string(step), at::stack(means));
    ctx.Number("missing" + std::to_string(step), static_cast<double>(chain.missing));
  }
}

/// Finish, where what it waits for fails.
SHARDLAB_BODY(overlap_fails) {
  RunFailingCalls(ctx, [](const std::string&, const std::shared_ptr<Communicator>& comm) {
    const at::Tensor w = at::ones({3}, at::kDouble).set_requires_grad(true);
    auto average = MakeOverlappedAverage(comm, {w}, 1);
    average->Begin(true);
    w.sum().backward();
    average->Finish();
  });
}

/// An object that is destroyed after a backward that threw, its parameters without it, and two at work together. c<i> is
/// parameter i's gradient on this rank.
SHARDLAB_BODY(overlap_lives) {
  Tensors c, parameters;
  for (int i = 0; i < 4; ++i) {
    c.push_back(ctx.Input("c" + std::to_string(i)));
    parameters.push_back(at::ones(c[i].sizes(), at::kDouble).set_requires_grad(true));
  }
  const auto loss = [&](bool breaks) {
    at::Tensor sum = at::zeros({}, at::kDouble).set_requires_grad(true);
    for (int i = 0; i < 4; ++i) {
      sum = sum * 1 + (parameters[i] * c[i]).sum();
      if (breaks && i == 1) sum = BreakingLayer::apply(sum);
    }
    return sum;
  };
  const auto forget = [&] {
    for (const at::Tensor& parameter : parameters) parameter.mutable_grad() = at::Tensor();
  };
  const auto hand_back = [&](const std::string& name) {
    for (int i = 0; i < 4; ++i) ctx.Output(name + std::to_string(i), parameters[i].grad());
  };

  auto broken = MakeOverlappedAverage(ctx.shared_comm(), parameters, 1);
  broken->Begin(true);
  bool threw = false;
  try {
    loss(/*breaks=*/true).backward();
  } catch (const std::runtime_error&) {
    threw = true;
  }
  ctx.Number("threw", threw);
  broken.reset();

  ctx.Mark("destroyed");
  forget();
  loss(/*breaks=*/false).backward();
  ctx.Mark("alone");
  hand_back("own");

  auto first = MakeOverlappedAverage(ctx.shared_comm(), {parameters[0], parameters[1]}, 1);
  auto second = MakeOverlappedAverage(ctx.shared_comm(), {parameters[2], parameters[3]}, 1 << 20);
  for (int step = 0; step < 2; ++step) {
    forget();
    first->Begin(true);
    second->Begin(true);
    loss(/*breaks=*/false).backward();
    first->Finish();
    second->Finish();
  }
  hand_back("mean");
}

/// Backwards that use the parameters in an order of the rank's own, or leave one out: c<b>_<i> is the gradient that
/// backward b gives parameter i.
SHARDLAB_BODY(overlap_values) {
  const auto shapes = ctx.Param<Shapes>("shapes");
  const auto order = ctx.Param<std::vector<std::vector<int64_t>>>("order").at(ctx.rank());
  Tensors parameters;
  for (const auto& shape : shapes) parameters.push_back(at::ones(shape, at::kDouble).set_requires_grad(true));
  auto average = MakeOverlappedAverage(ctx.shared_comm(), parameters, ctx.Param<int64_t>("bucket_bytes"));
  Tensors before(shapes.size());  // the gradients of the step before: tensors that nobody has a reason to write to
  for (int step = 0; step < ctx.Param<int>("steps"); ++step) {
    for (size_t i = 0; i < shapes.size(); ++i) {
      before[i] = parameters[i].grad();
      if (before[i].defined()) before[i].zero_();
      parameters[i].mutable_grad() = at::Tensor();
    }
    const int backwards = ctx.Param<int>("backwards");
    for (int backward = 0; backward < backwards; ++backward) {
      average->Begin(backward + 1 == backwards);
      at::Tensor loss = at::zeros({}, at::kDouble).set_requires_grad(true);  // a loss also of no parameter at all
      for (int64_t i : order) {
        const at::Tensor c = ctx.Input("c" + std::to_string(backward) + "_" + std::to_string(i));
        loss = loss * 1 + (parameters[i] * c).sum();
      }
      loss.backward();
      ctx.Mark("backward " + std::to_string(backward));
    }
    average->Finish();
  }
  for (size_t i = 0; i < shapes.size(); ++i) {
    ctx.Output("g" + std::to_string(i), parameters[i].grad());
    ctx.Output("before" + std::to_string(i), before[i]);
  }
}

}  // namespace shardlab::grade
