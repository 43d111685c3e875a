#pragma once

#include <stdexcept>
#include <string>

#include <ATen/core/Tensor.h>

#include "kit/result_flaw.hpp"
#include "kit/stand_ins.hpp"
#include "kit/strides.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/grade/body.hpp"

/// \file
/// Several calls in one run, on the ranks' side. Parameter `calls` is a list, one object a call with its name in `what`;
/// inputs and outputs carry the call's number.

namespace shardlab::grade {

/// `call(number, parameters)` for each of the case's calls. What it throws is said with the name of the call.
template <typename OneCall>
void ForEachCall(RankContext& ctx, OneCall call) {
  const nlohmann::json& calls = ctx.params().at("calls");
  for (size_t i = 0; i < calls.size(); ++i) {
    try {
      call(std::to_string(i), calls[i]);
    } catch (const NotImplemented&) {
      throw;
    } catch (const CommError&) {
      throw;
    } catch (const std::exception& error) {
      throw std::runtime_error(Brief(error) + " (with " + calls[i].at("what").get<std::string>() + ")");
    }
  }
}

/// The ranks' side of Calls (calls.hpp): `call(communicator, input x<i>, parameters)`, and what it returned, y<i>, what is
/// wrong with that, and the input as it is afterwards. Results and inputs are kept until all calls are done: nobody may
/// write to those of an earlier one.
template <typename OneCall>
void RunCalls(RankContext& ctx, OneCall call) {
  struct Done {
    std::string number;
    at::Tensor input, result, when_returned;
    ResultFlaw flaw;
  };
  std::vector<Done> all;
  Groups groups(ctx);
  ForEachCall(ctx, [&](const std::string& i, const nlohmann::json& params) {
    at::Tensor x = ctx.Input("x" + i);
    if (params.value("strided", false)) x = Apart(x);
    const std::shared_ptr<Communicator> comm = groups.Of(params);
    const at::Tensor before = x.alias();
    const at::Tensor y = comm ? call(*comm, x, params) : at::Tensor();
    ResultFlaw flaw = kNoFlaw;
    if (y.defined() && !y.is_contiguous()) flaw = kNotContiguous;
    if (y.defined() && y.numel() > 0 && y.is_alias_of(x)) flaw = kSharesInput;
    if (x.sizes() != before.sizes() || x.strides() != before.strides() || x.data_ptr() != before.data_ptr() ||
        x.requires_grad() != before.requires_grad()) {
      flaw = kInputAltered;
    }
    all.push_back({i, x, y, y.defined() ? y.detach().clone() : y, flaw});
  });
  for (Done& done : all) {
    if (done.result.defined() && done.flaw == kNoFlaw && !done.result.equal(done.when_returned)) {
      done.flaw = kChangedLater;
    }
    ctx.Output("y" + done.number, done.when_returned);
    ctx.Number("flaw" + done.number, done.flaw);
    ctx.Output("after" + done.number, done.input);
  }
}

}  // namespace shardlab::grade
