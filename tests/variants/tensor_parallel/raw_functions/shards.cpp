#include "shardlab/tensor_parallel/shards.hpp"

#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "shardlab/base/split.hpp"

namespace shardlab {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using Tensors = torch::autograd::variable_list;

// What a node keeps of the call: a capsule, because only IValues live in a context.
struct Call : torch::CustomClassHolder {
  explicit Call(std::shared_ptr<Communicator> c) : comm(std::move(c)) {}
  std::shared_ptr<Communicator> comm;
  int64_t dim = 0;
  int64_t size = 0;
};

void Keep(AutogradContext* context, const c10::intrusive_ptr<Call>& call) {
  context->saved_data["call"] = c10::IValue::make_capsule(call);
}
c10::intrusive_ptr<Call> Kept(AutogradContext* context) {
  return c10::static_intrusive_pointer_cast<Call>(context->saved_data["call"].toCapsule());
}

at::Tensor Sum(const at::Tensor& summand, Communicator& comm) {
  at::Tensor sum = at::empty(summand.sizes(), summand.options());
  sum.copy_(summand);
  comm.IAllReduce(sum)->Wait();
  return sum;
}

struct Copy : Function<Copy> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const c10::intrusive_ptr<Call>& call) {
    Keep(context, call);
    return at::empty_like(x).copy_(x);
  }
  static Tensors backward(AutogradContext* context, const Tensors& dy) {
    return {Sum(dy[0], *Kept(context)->comm), at::Tensor()};
  }
};

struct Reduce : Function<Reduce> {
  static at::Tensor forward(AutogradContext*, const at::Tensor& y, const c10::intrusive_ptr<Call>& call) {
    return Sum(y, *call->comm);
  }
  static Tensors backward(AutogradContext*, const Tensors& dy) { return {dy[0], at::Tensor()}; }
};

struct Gather : Function<Gather> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& mine, const c10::intrusive_ptr<Call>& call) {
    Keep(context, call);
    const auto sizes = SplitSizes(call->size, call->comm->size());
    std::vector<at::Tensor> parts;
    for (const int64_t part : sizes) {
      auto shape = mine.sizes().vec();
      shape[static_cast<size_t>(call->dim)] = part;
      parts.push_back(at::empty(shape, mine.options()));
    }
    call->comm->IAllGather(parts, mine.contiguous())->Wait();
    auto shape = mine.sizes().vec();
    shape[static_cast<size_t>(call->dim)] = call->size;
    at::Tensor whole = at::empty(shape, mine.options());
    int64_t begin = 0;
    for (const at::Tensor& part : parts) {
      whole.narrow(call->dim, begin, part.size(call->dim)).copy_(part);
      begin += part.size(call->dim);
    }
    return whole;
  }
  static Tensors backward(AutogradContext* context, const Tensors& dy) {
    const auto call = Kept(context);
    const auto parts = dy[0].split_with_sizes(SplitSizes(call->size, call->comm->size()), call->dim);
    return {parts[static_cast<size_t>(call->comm->rank())].clone(), at::Tensor()};
  }
};

}  // namespace

at::Tensor CopyToShards(const at::Tensor& x, std::shared_ptr<Communicator> comm) {
  return Copy::apply(x, c10::make_intrusive<Call>(std::move(comm)));
}

at::Tensor ReduceFromShards(const at::Tensor& y, std::shared_ptr<Communicator> comm) {
  return Reduce::apply(y, c10::make_intrusive<Call>(std::move(comm)));
}

at::Tensor GatherFromShards(const at::Tensor& y_shard, int64_t dim, int64_t size, std::shared_ptr<Communicator> comm) {
  auto call = c10::make_intrusive<Call>(std::move(comm));
  call->dim = dim < 0 ? dim + y_shard.dim() : dim;
  call->size = size;
  return Gather::apply(y_shard, call);
}

}  // namespace shardlab
