#include "shardlab/pipeline/two_stages.hpp"

#include <torch/torch.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

namespace {

constexpr int kShapeTag = 11;
constexpr int kValueTag = 12;
constexpr int64_t kMostDims = 8;

// The shape goes ahead, as a count and eight numbers, of which the first so many count.
void Tell(const at::Tensor& tensor, int to, Communicator& comm) {
  at::Tensor shape = at::zeros({1 + kMostDims}, at::kLong);
  shape[0] = tensor.dim();
  for (int64_t d = 0; d < tensor.dim(); ++d) shape[1 + d] = tensor.size(d);
  const auto first = comm.ISend(shape, to, kShapeTag);
  const at::Tensor values = tensor.contiguous();
  const auto second = comm.ISend(values, to, kValueTag);
  first->Wait();
  second->Wait();
}

}  // namespace

double TwoStageStep(const HalfModel& half, torch::optim::Optimizer& optimizer, const at::Tensor& data,
                    Communicator& comm) {
  if (comm.size() != 2) throw ContractError("two stages need two ranks");
  const bool first = comm.rank() == 0;
  const int other = 1 - comm.rank();
  at::Tensor shape = at::empty({1 + kMostDims}, at::kLong);
  at::Tensor loss;

  optimizer.zero_grad();
  if (first) {
    at::Tensor activation = half(data);
    // The gradient has the activation's shape: its receive can be posted before the activation is on its way.
    at::Tensor gradient = at::empty(activation.sizes(), activation.options().requires_grad(false));
    const auto shape_comes = comm.IRecv(shape, other, kShapeTag);
    const auto gradient_comes = comm.IRecv(gradient, other, kValueTag);
    Tell(activation.detach(), other, comm);
    shape_comes->Wait();
    gradient_comes->Wait();
    torch::autograd::backward({activation}, {gradient});
  } else {
    comm.Recv(shape, other, kShapeTag);
    std::vector<int64_t> sizes;
    for (int64_t d = 0; d < shape[0].item<int64_t>(); ++d) sizes.push_back(shape[1 + d].item<int64_t>());
    at::Tensor leaf = at::empty(sizes, at::kDouble);
    comm.Recv(leaf, other, kValueTag);
    leaf.set_requires_grad(true);
    loss = at::cross_entropy_loss(half(leaf), data);
    loss.backward();
    Tell(leaf.grad(), other, comm);
  }
  optimizer.step();
  return first ? 0 : loss.item<double>();
}

}  // namespace shardlab
