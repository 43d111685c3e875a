#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/tensor_parallel/batch_norm.hpp"
#include "shardlab/tensor_parallel/moments.hpp"

// x becomes a matrix [values, C] in front, and its shape again behind. With n = (x - mean) s and g = dy gamma:
//
//     dx = s (g - (1/N) sum g - n (1/N) sum g n)        over the values of all ranks

namespace shardlab {
namespace {

using torch::autograd::AutogradContext;
using Tensors = torch::autograd::variable_list;

struct Batch : torch::CustomClassHolder {
  std::shared_ptr<Communicator> comm;
  double eps = 0;
  Moments all;  // left by forward
};

struct Normalise : torch::autograd::Function<Normalise> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_nC, const at::Tensor& gamma,
                            const at::Tensor& beta, const c10::intrusive_ptr<Batch>& batch) {
    const int64_t channels = gamma.size(0);
    const int64_t count = x_nC.size(0);
    const at::Tensor mine = at::zeros({2 * channels + 1}, x_nC.options());
    if (count > 0) {
      const at::Tensor mean = x_nC.mean(0);
      mine.slice(0, 0, channels).copy_(mean);
      mine.slice(0, channels, 2 * channels).copy_((x_nC - mean).square().sum(0));
      mine[2 * channels].fill_(count);
    }
    std::vector<at::Tensor> all(static_cast<size_t>(batch->comm->size()));
    for (at::Tensor& one : all) one = at::empty_like(mine);
    batch->comm->AllGather(all, mine);
    std::vector<Moments> parts;
    for (const at::Tensor& one : all) {
      parts.push_back({one[2 * channels].item<int64_t>(), one.slice(0, 0, channels).clone(),
                       one.slice(0, channels, 2 * channels).clone()});
    }
    batch->all = MergeMoments(parts);
    if (batch->all.count < 2) throw ContractError("BatchNorm in training: two values a channel, on all ranks together");
    const at::Tensor scale = (batch->all.m2 / batch->all.count + batch->eps).rsqrt();
    const at::Tensor normed = (x_nC - batch->all.mean) * scale;
    context->save_for_backward({normed, scale, gamma});
    context->saved_data["batch"] = c10::IValue::make_capsule(batch);
    context->saved_data["wanted"] = x_nC.requires_grad();
    return normed * gamma + beta;
  }

  static Tensors backward(AutogradContext* context, const Tensors& gradients) {
    const Tensors saved = context->get_saved_variables();
    const at::Tensor& normed = saved[0];
    const at::Tensor& dy = gradients[0];
    const at::Tensor dgamma = (dy * normed).sum(0);
    const at::Tensor dbeta = dy.sum(0);
    at::Tensor dx;
    if (context->saved_data["wanted"].toBool()) {
      const auto batch = c10::static_intrusive_pointer_cast<Batch>(context->saved_data["batch"].toCapsule());
      const at::Tensor sums = at::cat({dbeta * saved[2], dgamma * saved[2]});
      batch->comm->AllReduce(sums);
      sums.div_(batch->all.count);
      const std::vector<at::Tensor> halves = sums.chunk(2);
      dx = (dy * saved[2] - halves[0] - normed * halves[1]) * saved[1];
    }
    return {dx, dgamma, dbeta, at::Tensor()};
  }
};

class SampleBatchNorm : public ShardedLayer {
 public:
  SampleBatchNorm(const BatchNormWeights& weights, std::shared_ptr<Communicator> comm)
      : comm_(std::move(comm)), eps_(weights.eps), momentum_(weights.momentum) {
    gamma_ = register_parameter("weight", weights.gamma_C.detach().clone());
    beta_ = register_parameter("bias", weights.beta_C.detach().clone());
    mean_ = register_buffer("running_mean", weights.gamma_C.detach().new_zeros(gamma_.sizes()));
    var_ = register_buffer("running_var", mean_ + 1);
    batches_ = register_buffer("num_batches_tracked", at::scalar_tensor(0, at::kLong));
  }

  at::Tensor forward(const at::Tensor& x) override {
    const at::Tensor last = x.movedim(1, -1);
    const at::Tensor x_nC = last.reshape({x.numel() / gamma_.size(0), gamma_.size(0)});
    at::Tensor y_nC;
    if (is_training()) {
      auto batch = c10::make_intrusive<Batch>();
      batch->comm = comm_;
      batch->eps = eps_;
      y_nC = Normalise::apply(x_nC, gamma_, beta_, batch);
      const at::NoGradGuard no_grad;
      mean_ += (batch->all.mean - mean_) * momentum_;
      var_ += (batch->all.m2 / (batch->all.count - 1) - var_) * momentum_;
      batches_ += 1;
    } else {
      const at::Tensor scale = gamma_ / (var_ + eps_).sqrt();
      y_nC = x_nC * scale + (beta_ - mean_ * scale);
    }
    return y_nC.view(last.sizes()).movedim(-1, 1);
  }

 private:
  std::shared_ptr<Communicator> comm_;
  double eps_;
  double momentum_;
  at::Tensor gamma_;
  at::Tensor beta_;
  at::Tensor mean_;
  at::Tensor var_;
  at::Tensor batches_;
};

}  // namespace

std::shared_ptr<ShardedLayer> MakeSampleBatchNorm(const BatchNormWeights& weights, std::shared_ptr<Communicator> comm) {
  if (weights.gamma_C.dim() != 1 || !weights.gamma_C.sizes().equals(weights.beta_C.sizes())) {
    throw ContractError("MakeSampleBatchNorm: gamma and beta are [C]");
  }
  return std::make_shared<SampleBatchNorm>(weights, std::move(comm));
}

}  // namespace shardlab
