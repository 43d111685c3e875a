#include "shardlab/communication/all_to_all_function.hpp"

// A node of the autograd graph, by hand
// =====================================
//                 forward: parts to their ranks
//     input  ------------------------------------->  result
//       ^                                               |
//       +---------- the same, sizes swapped -----------+
//                 backward: their gradients home
//
//     (1)  What backward needs and is no tensor is kept in `saved_data`, which takes what is counted by reference: a
//          CustomClassHolder. (Tensors belong in save_for_backward.)
//     (2)  backward returns one entry for each argument of forward, undefined for those that are no tensors.
//     (3)  Autograd builds no node where no argument needs a gradient. This rank's backward would not run, and the
//          others would wait for its part for ever: so the argument is made to need one.
//     (4)  The incoming gradient may be non-contiguous, or one number expanded to a tensor; messages are contiguous.

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <numeric>

namespace shardlab {
namespace {

using Rows = std::vector<int64_t>;

struct Exchange : torch::CustomClassHolder {  // (1)
  std::shared_ptr<Communicator> comm;
  Rows send_rows, receive_rows;
};

at::Tensor Run(Communicator& comm, const at::Tensor& x, const Rows& send_rows, const Rows& receive_rows) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape[0] = std::accumulate(receive_rows.begin(), receive_rows.end(), int64_t{0});
  const at::Tensor result = at::empty(shape, x.options());
  comm.AllToAll(result.split_with_sizes(receive_rows), x.contiguous().split_with_sizes(send_rows));  // (4)
  return result;
}

class AllToAllNode : public torch::autograd::Function<AllToAllNode> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& input,
                            c10::intrusive_ptr<Exchange> exchange) {
    ctx->saved_data["exchange"] = c10::IValue::make_capsule(exchange);  // (1)
    return Run(*exchange->comm, input, exchange->send_rows, exchange->receive_rows);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list gradients) {
    const auto exchange = c10::static_intrusive_pointer_cast<Exchange>(ctx->saved_data["exchange"].toCapsule());
    return {Run(*exchange->comm, gradients[0], exchange->receive_rows, exchange->send_rows), at::Tensor()};  // (2)
  }
};

}  // namespace

at::Tensor DifferentiableAllToAll(std::shared_ptr<Communicator> comm, const at::Tensor& input, const Rows& send_rows,
                                  const Rows& receive_rows) {
  auto exchange = c10::make_intrusive<Exchange>();
  exchange->comm = std::move(comm);
  exchange->send_rows = send_rows;
  exchange->receive_rows = receive_rows;
  return AllToAllNode::apply(input.requires_grad() ? input : input.detach().requires_grad_(), exchange);  // (3)
}

}  // namespace shardlab
