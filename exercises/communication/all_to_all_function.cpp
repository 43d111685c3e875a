#include "shardlab/communication/all_to_all_function.hpp"

// TASK communication.autograd: DifferentiableAllToAll
//
// The contract is the header above. A node of the graph is a class with two static functions:
//
//     class AllToAllNode : public torch::autograd::Function<AllToAllNode> {
//      public:
//       static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& input, ...);
//       static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
//                                                      torch::autograd::variable_list gradients);
//     };
//     ... AllToAllNode::apply(input, ...)
//
// backward returns one entry for each argument of forward after ctx, an undefined tensor where that is no tensor. What
// it needs is kept in ctx: tensors with save_for_backward, numbers and lists in ctx->saved_data["name"]. A pointer
// fits in there as an int64_t, or, owning what it points to, as a capsule:
// c10::IValue::make_capsule(c10::make_intrusive<YourStruct>(...)), YourStruct being a torch::CustomClassHolder. Before
// you write:
//
//  * Which all-to-all brings every part's gradient home?
//  * The incoming gradient is not yours alone. May it be changed? Is it contiguous, if it is that of a sum()?
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
