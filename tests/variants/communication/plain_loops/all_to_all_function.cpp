#include "shardlab/communication/all_to_all_function.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <numeric>

namespace shardlab {
namespace {

using Rows = std::vector<int64_t>;

at::Tensor Exchange(Communicator& comm, const at::Tensor& x, const Rows& send, const Rows& receive) {
  std::vector<at::Tensor> leaving, arriving;
  int64_t begin = 0;
  for (size_t rank = 0; rank < send.size(); ++rank) {
    leaving.push_back(x.narrow(0, begin, send[rank]).contiguous());
    begin += send[rank];
    std::vector<int64_t> shape = x.sizes().vec();
    shape[0] = receive[rank];
    arriving.push_back(at::empty(shape, x.options()));
  }
  comm.AllToAll(arriving, leaving);
  return at::cat(arriving);
}

struct Kept : torch::CustomClassHolder {
  explicit Kept(std::shared_ptr<Communicator> what) : comm(std::move(what)) {}
  std::shared_ptr<Communicator> comm;
};

// An anchor that needs a gradient brings the node into the graph, whatever the input needs.
struct Node : torch::autograd::Function<Node> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x, const at::Tensor&,
                            std::shared_ptr<Communicator> comm, Rows send, Rows receive) {
    ctx->saved_data["comm"] = c10::IValue::make_capsule(c10::make_intrusive<Kept>(comm));
    ctx->saved_data["send"] = send;
    ctx->saved_data["receive"] = receive;
    return Exchange(*comm, x, send, receive);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list gradients) {
    const auto kept = c10::static_intrusive_pointer_cast<Kept>(ctx->saved_data["comm"].toCapsule());
    const at::Tensor back = Exchange(*kept->comm, gradients[0], ctx->saved_data["receive"].toIntVector(),
                                     ctx->saved_data["send"].toIntVector());
    return {back, {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor DifferentiableAllToAll(std::shared_ptr<Communicator> comm, const at::Tensor& input, const Rows& send_rows,
                                  const Rows& receive_rows) {
  const at::Tensor anchor = at::empty({0}, at::kDouble).requires_grad_();
  return Node::apply(input, anchor, comm, send_rows, receive_rows);
}

}  // namespace shardlab
