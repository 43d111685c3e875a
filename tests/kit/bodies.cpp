// A host of the tests: right and wrong ways to double a tensor, and messages between marks.

#include <memory>
#include <stdexcept>
#include <string>

#include <ATen/ATen.h>

#include "kit/run_calls.hpp"
#include "kit/stand_ins.hpp"

using shardlab::Communicator;
using shardlab::grade::ForEachCall;
using shardlab::grade::RunCalls;
using shardlab::grade::RunFailingCalls;

SHARDLAB_BODY(twice) {
  RunCalls(ctx, [&](Communicator& comm, at::Tensor x, const nlohmann::json& call) {
    const std::string how = call.value("how", "right");
    if (how == "rank") return at::full({2}, comm.rank(), at::kDouble);
    if (how == "one for all calls") {
      static const at::Tensor all = at::empty_like(x);
      return at::mul_out(const_cast<at::Tensor&>(all), x, at::full({}, 2, x.options()));
    }
    if (how == "turns the input") {
      x.t_();
      return (x.t() * 2).contiguous();
    }
    if (how == "on the root") return ctx.rank() == 0 ? x * 2 : at::Tensor();
    if (how == "on rank 1") return ctx.rank() == 1 ? x * 2 : at::Tensor();
    if (how == "in place") return x.mul_(2).clone();
    if (how == "alias") return x.view(-1);
    if (how == "transposed") return (x * 2).t().contiguous().t();
    if (how == "throws") throw std::out_of_range("index 7");
    // Only what lies apart has no flat view.
    if (how == "strided" && (x.is_contiguous() || x.stride(0) == x.size(1) * x.stride(1))) return at::Tensor();
    return (x * 2).contiguous();
  });
}

SHARDLAB_BODY(fails) {
  RunFailingCalls(ctx, [](const std::string& name, const std::shared_ptr<Communicator>& comm) {
    if (name == "hidden" && comm->rank() == 2) return;
    if (name == "other") throw std::out_of_range("index 7");
    comm->Barrier();
  });
}

SHARDLAB_BODY(talk) {
  ctx.Mark("begin");
  at::Tensor x = at::ones({3}, at::kDouble);
  if (ctx.rank() == 0) ctx.comm().Send(x, 1);
  if (ctx.rank() == 1) ctx.comm().Recv(x, 0);
  ctx.comm().AllReduce(x);
  ctx.Mark("end");
  ctx.comm().AllReduce(x);
  ctx.Mark("over");
}
