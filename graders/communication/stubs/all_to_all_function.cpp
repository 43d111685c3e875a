#include "shardlab/communication/all_to_all_function.hpp"

// TASK communication.autograd: DifferentiableAllToAll
//
// The all-to-all as a node of the autograd graph, without the help of ConjugateOp: write a
// torch::autograd::Function yourself.
//
//     class AllToAllNode : public torch::autograd::Function<AllToAllNode> {
//      public:
//       static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& input, ...);
//       static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
//                                                      torch::autograd::variable_list gradients);
//     };
//     ... AllToAllNode::apply(input, ...)
//
// Forward is the communicator's AllToAll of the parts of `input`; backward sends every part's gradient home.
//
//  * backward returns one entry for each argument of forward after ctx, an undefined tensor where that is no tensor.
//  * What backward needs is kept in ctx: tensors with save_for_backward, numbers, lists and the like in
//    ctx->saved_data["name"]. A pointer fits in as an int64_t, or, owning what it points to, as a capsule:
//    c10::IValue::make_capsule(c10::make_intrusive<YourStruct>(...)), YourStruct being a torch::CustomClassHolder.
//  * The incoming gradient is not yours: other branches of the graph may hold the same tensor. It may be
//    non-contiguous, and in the gradient of a sum() all elements share one place in memory.
//  * If `input` needs no gradient, autograd builds no node, and this rank's backward does not take place. Who waits?

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

at::Tensor DifferentiableAllToAll(std::shared_ptr<Communicator> comm, const at::Tensor& input,
                                  const std::vector<int64_t>& send_rows, const std::vector<int64_t>& receive_rows) {
  (void)comm, (void)input, (void)send_rows, (void)receive_rows;
  throw NotImplemented(
      "communication.autograd: DifferentiableAllToAll (exercises/communication/all_to_all_function.cpp)");
}

}  // namespace shardlab
