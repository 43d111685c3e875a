#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/communication/all_to_all_function.hpp"
#include "shardlab/communication/operators.hpp"
#include "shardlab/grade/body.hpp"

namespace shardlab::grade {
namespace {

using Json = nlohmann::json;

/// Applies the operator that a call names to `x`.
at::Tensor ApplyOperator(RankContext& ctx, const Json& call, const at::Tensor& x) {
  const std::string name = call.at("op");
  const auto comm = ctx.shared_comm();
  if (name == "Copy") return Apply(CopyOperator(comm), x);
  if (name == "Reduce") return Apply(ReduceOperator(comm), x);
  if (name == "Scatter") return Apply(ScatterOperator(comm, call.at("dim"), call.at("size")), x);
  if (name == "Gather") return Apply(GatherOperator(comm, call.at("dim"), call.at("size")), x);
  if (name == "SendReceive") {
    return Apply(SendReceiveOperator(comm, call.at("to").at(ctx.rank()), call.at("from").at(ctx.rank())), x);
  }
  const auto rows = call.at("rows").get<std::vector<std::vector<int64_t>>>();
  std::vector<int64_t> receive_rows;
  for (const auto& from : rows) receive_rows.push_back(from[ctx.rank()]);
  return DifferentiableAllToAll(comm, x, rows[ctx.rank()], receive_rows);
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
    const at::Tensor x = ctx.Input("x" + number);
    const bool needs = !calls[i].contains("needs") || calls[i]["needs"].at(ctx.rank()).get<bool>();
    x.set_requires_grad(needs);
    if (mode == "shared") {
      const at::Tensor h = x * 1;
      (h + ApplyOperator(ctx, calls[i], h)).backward(ctx.Input("y" + number));
      ctx.Output("dx" + number, x.grad());
      continue;
    }
    const at::Tensor out = ApplyOperator(ctx, calls[i], x);
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

}  // namespace shardlab::grade
