#include "shardlab/comm/operation.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {
namespace {

class Completed final : public Work {
 public:
  void Wait() override {}
};

void Reduce(const at::Tensor& into, const at::Tensor& other, ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      into.add_(other);
      break;
    case ReduceOp::kProduct:
      into.mul_(other);
      break;
    case ReduceOp::kMin:
      at::minimum_out(const_cast<at::Tensor&>(into), into, other);
      break;
    case ReduceOp::kMax:
      at::maximum_out(const_cast<at::Tensor&>(into), into, other);
      break;
  }
}

}  // namespace

std::string Describe(const at::Tensor& tensor) {
  if (!tensor.defined()) return "an undefined tensor";
  return fmt::format("{} [{}]", DtypeName(static_cast<uint8_t>(tensor.scalar_type())), fmt::join(tensor.sizes(), ", "));
}

std::string Describe(const Operation& operation) {
  std::string text = Name(operation.kind);
  if (operation.kind == OpKind::kSend || operation.kind == OpKind::kRecv) {
    text += fmt::format(" {} rank {}, tag {}", operation.kind == OpKind::kSend ? "to" : "from", operation.peer,
                        operation.tag);
  } else if (operation.kind == OpKind::kBroadcast) {
    text += fmt::format(" from rank {}", operation.peer);
  }
  const auto& tensors = operation.inputs.empty() ? operation.outputs : operation.inputs;
  if (!tensors.empty()) text += ", " + Describe(tensors[0]);
  return text;
}

void ExecuteCollective(const std::vector<const Operation*>& operations) {
  const c10::NoGradGuard no_grad;
  const size_t ranks = operations.size();
  const Operation& first = *operations[0];
  switch (first.kind) {
    case OpKind::kAllReduce: {
      const at::Tensor result = first.outputs[0].detach().clone();
      for (size_t r = 1; r < ranks; ++r) Reduce(result, operations[r]->outputs[0].detach(), first.reduce);
      for (const Operation* operation : operations) operation->outputs[0].detach().copy_(result);
      break;
    }
    case OpKind::kAllGather:
      for (size_t r = 0; r < ranks; ++r) {
        for (const Operation* to : operations) to->outputs[r].detach().copy_(operations[r]->inputs[0].detach());
      }
      break;
    case OpKind::kReduceScatter:
      for (size_t r = 0; r < ranks; ++r) {
        const at::Tensor result = first.inputs[r].detach().clone();
        for (size_t from = 1; from < ranks; ++from) result.add_(operations[from]->inputs[r].detach());
        operations[r]->outputs[0].detach().copy_(result);
      }
      break;
    case OpKind::kBroadcast: {
      const at::Tensor& value = operations[static_cast<size_t>(first.peer)]->outputs[0];
      for (size_t r = 0; r < ranks; ++r) {
        if (static_cast<int>(r) != first.peer) operations[r]->outputs[0].detach().copy_(value.detach());
      }
      break;
    }
    case OpKind::kAllToAll:
      for (size_t from = 0; from < ranks; ++from) {
        for (size_t to = 0; to < ranks; ++to) {
          operations[to]->outputs[from].detach().copy_(operations[from]->inputs[to].detach());
        }
      }
      break;
    case OpKind::kBarrier:
      break;
    default:
      throw ContractError(fmt::format("{} is not a collective", Name(first.kind)));
  }
}

std::unique_ptr<Work> CompletedWork() { return std::make_unique<Completed>(); }

}  // namespace shardlab
