#pragma once

#include <stdexcept>
#include <string>

#include <ATen/core/Tensor.h>

#include "kit/result_flaw.hpp"
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

/// The ranks' side of Calls (calls.hpp): `call(input x<i>, parameters)`, and what it returned, y<i>, what is wrong with
/// that, and the input as it is afterwards.
template <typename OneCall>
void RunCalls(RankContext& ctx, OneCall call) {
  ForEachCall(ctx, [&](const std::string& i, const nlohmann::json& params) {
    at::Tensor x = ctx.Input("x" + i);
    if (params.value("strided", false)) x = Apart(x);
    const at::Tensor y = call(x, params);
    ResultFlaw flaw = kNoFlaw;
    if (y.defined() && !y.is_contiguous()) flaw = kNotContiguous;
    if (y.defined() && y.numel() > 0 && y.is_alias_of(x)) flaw = kSharesInput;
    ctx.Output("y" + i, y);
    ctx.Number("flaw" + i, flaw);
    ctx.Output("after" + i, x);
  });
}

}  // namespace shardlab::grade
