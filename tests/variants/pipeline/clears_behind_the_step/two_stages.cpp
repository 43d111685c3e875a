#include "shardlab/pipeline/two_stages.hpp"

#include <fmt/format.h>
#include <torch/torch.h>

#include "shardlab/base/errors.hpp"

// Whoever clears the gradients behind the step as well finds none in front of the next one.
//
//     rank 0   images --[ half ]--> y  ==(1)==>            (4) backward from dL/dy --> step
//                                         \                 /
//     rank 1                               (2) leaf --[ half ]--> loss --> backward: leaf.grad() ==(3)==>  step

namespace shardlab {

namespace {

double FirstHalf(const HalfModel& half, const at::Tensor& images, Communicator& comm) {
  const at::Tensor y = half(images);
  comm.SendTensor(y.detach().contiguous(), 1);  // (1)
  y.backward(comm.RecvTensor(1));               // (4)
  return 0;
}

double SecondHalf(const HalfModel& half, const at::Tensor& labels, Communicator& comm) {
  const at::Tensor leaf = comm.RecvTensor(0).requires_grad_();  // (2)
  const at::Tensor loss = at::cross_entropy_loss(half(leaf), labels);
  loss.backward();
  comm.SendTensor(leaf.grad().contiguous(), 0);  // (3)
  return loss.item<double>();
}

}  // namespace

double TwoStageStep(const HalfModel& half, torch::optim::Optimizer& optimizer, const at::Tensor& data,
                    Communicator& comm) {
  if (comm.size() != 2) throw ContractError(fmt::format("two stages need two ranks, not {}", comm.size()));
  optimizer.zero_grad();
  const double loss = comm.rank() == 0 ? FirstHalf(half, data, comm) : SecondHalf(half, data, comm);
  optimizer.step();
  optimizer.zero_grad();
  return loss;
}

}  // namespace shardlab
