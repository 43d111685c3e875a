#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "kit/stand_ins.hpp"
#include "kit/strides.hpp"
#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/communication/all_to_all_function.hpp"
#include "shardlab/communication/buckets.hpp"
#include "shardlab/communication/data_parallel.hpp"
#include "shardlab/communication/operators.hpp"
#include "shardlab/grade/body.hpp"

namespace shardlab::grade {
namespace {

using Json = nlohmann::json;
using Tensors = std::vector<at::Tensor>;

/// The operator that a call names, applied to each of `all`. It alone keeps its communicator.
Tensors ApplyOperator(RankContext& ctx, const Json& call, const Tensors& all) {
  const std::string name = call.at("op");
  const auto comm = Lent(ctx.shared_comm());
  const auto applied = [&](const ConjugateOp& op) {
    Tensors results;
    for (const at::Tensor& x : all) results.push_back(Apply(op, x));
    return results;
  };
  if (name == "Copy") return applied(CopyOperator(comm));
  if (name == "Reduce") return applied(ReduceOperator(comm));
  if (name == "Scatter") return applied(ScatterOperator(comm, call.at("dim"), call.at("size")));
  if (name == "Gather") return applied(GatherOperator(comm, call.at("dim"), call.at("size")));
  if (name == "SendReceive") {
    return applied(SendReceiveOperator(comm, call.at("to").at(ctx.rank()), call.at("from").at(ctx.rank())));
  }
  const auto rows = call.at("rows").get<std::vector<std::vector<int64_t>>>();
  std::vector<int64_t> receive_rows;
  for (const auto& from : rows) receive_rows.push_back(from[ctx.rank()]);
  Tensors results;
  for (const at::Tensor& x : all) {
    results.push_back(DifferentiableAllToAll(comm, x, rows[ctx.rank()], receive_rows));
    if (x.requires_grad() != call.value("input_needs", true)) {
      throw ContractError(
          "DifferentiableAllToAll: the caller's input has another requires_grad after the call; it must be "
          "left as it is (x.detach().requires_grad_() is another tensor)");
    }
  }
  return results;
}

at::Tensor ApplyOperator(RankContext& ctx, const Json& call, const at::Tensor& x) {
  return ApplyOperator(ctx, call, Tensors{x})[0];
}

}  // namespace

/// Each call: an operator, its input x<i>, the gradient y<i> of its result, and how that gradient comes in:
///   plain       as it is
///   shared      autograd hands the very same tensor to another branch of the graph: z = h + op(h)
///   expanded    one number for all elements, from sum()
///   transposed  a non-contiguous tensor
///   none        no backward: the result alone
SHARDLAB_BODY(operators) {
  const Json& calls = ctx.params().at("calls");
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string number = std::to_string(i), mode = calls[i].at("gradient");
    at::Tensor x = ctx.Input("x" + number);
    const bool needs = !calls[i].contains("needs") || calls[i]["needs"].at(ctx.rank()).get<bool>();
    if (calls[i].value("strided", false)) x = Apart(x);
    x.set_requires_grad(needs);
    Json call = calls[i];
    call["input_needs"] = mode == "shared" || needs;
    if (mode == "shared") {
      const at::Tensor h = x * 1;
      (h + ApplyOperator(ctx, call, h)).backward(ctx.Input("y" + number));
      ctx.Output("dx" + number, x.grad());
      continue;
    }
    const at::Tensor out = ApplyOperator(ctx, call, x);
    ctx.Output("out" + number, out.detach());
    if (mode != "none" && !out.requires_grad()) {
      // Here backward would throw in LibTorch's words; in a model it would be left out, and the other ranks would hang.
      throw ContractError(calls[i].at("op").get<std::string>() +
                          ": its result needs no gradient on this rank, because the input needs none: autograd leaves "
                          "the backward out here, and the other ranks wait for this rank's part of it for ever");
    }
    if (mode == "plain") out.backward(ctx.Input("y" + number));
    if (mode == "expanded") out.sum().backward();
    if (mode == "transposed") out.transpose(0, 1).backward(ctx.Input("y" + number).transpose(0, 1).contiguous());
    if (mode != "none" && needs) ctx.Output("dx" + number, x.grad());
    ctx.Output("after" + number, x.detach());
  }
}

/// One operator, applied to two inputs before the first backward. They lie differently: b is longer in a dimension that
/// the operator does not cut.
SHARDLAB_BODY(operator_used_twice) {
  for (const Json& call : ctx.params().at("calls")) {
    const std::string name = call.at("op");
    const at::Tensor a = ctx.Input(name + "_xa").set_requires_grad(true),
                     b = ctx.Input(name + "_xb").set_requires_grad(true);
    const Tensors results = ApplyOperator(ctx, call, Tensors{a, b});
    ((results[0] * ctx.Input(name + "_ya")).sum() + (results[1] * ctx.Input(name + "_yb")).sum()).backward();
    ctx.Output(name + "_a", results[0].detach());
    ctx.Output(name + "_b", results[1].detach());
    ctx.Output(name + "_da", a.grad());
    ctx.Output(name + "_db", b.grad());
  }
}

/// Each function where what it waits for fails.
SHARDLAB_BODY(autograd_fails) {
  RunFailingCalls(ctx, [](const std::string& name, const std::shared_ptr<Communicator>& comm) {
    const at::Tensor w = at::ones({3, 2}, at::kDouble).set_requires_grad(true);
    if (name == "DifferentiableAllToAll") DifferentiableAllToAll(comm, w, {1, 1, 1}, {1, 1, 1});
    w.mutable_grad() = at::ones({3, 2}, at::kDouble);
    if (name == "AverageGradients") AverageGradients(*comm, {w}, 1);
    if (name == "DataParallelStep") {
      const Trainable model{{w}, [&](const at::Tensor& x, const at::Tensor&) { return x.mm(w).mean(); }};
      DataParallelStep(*comm, model, at::ones({2, 3}, at::kDouble), at::ones({2}, at::kDouble), 6, 1, 1);
    }
  });
}

}  // namespace shardlab::grade
