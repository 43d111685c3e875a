#pragma once

#include <ATen/ATen.h>

#include <string>

#include "result_flaw.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/grade/body.hpp"

/// \file
/// What the bodies of this module share: several calls of one function in one run. Parameter `calls` is a list, one
/// object a call; inputs and outputs carry the call's number: "x0", "y0", "x1", ...

namespace shardlab::grade {

/// The same values with other strides: every second element of rows that are one element longer than they look, so that
/// a tensor with rows has no flat view.
inline at::Tensor Apart(const at::Tensor& x) {
  std::vector<int64_t> shape = x.sizes().vec();
  if (x.dim() > 0) ++shape.back();
  shape.push_back(2);
  at::Tensor apart = at::zeros(shape, x.options()).select(-1, 0);
  if (x.dim() > 0) apart = apart.narrow(-1, 0, x.size(-1));
  apart.copy_(x);
  return apart;
}

/// The same values with other strides: every second element of a tensor twice as large.
inline at::Tensor Strided(const at::Tensor& x) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape.push_back(2);
  at::Tensor wide = at::zeros(shape, x.options());
  wide.select(-1, 0).copy_(x);
  return wide.select(-1, 0);
}

/// Calls `call(input, parameters)` for each of the case's calls, and hands back what it returned, what is wrong with
/// that, and the input as it is afterwards.
template <typename Call>
void RunCalls(RankContext& ctx, Call call) {
  const nlohmann::json& calls = ctx.params().at("calls");
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string number = std::to_string(i);
    at::Tensor x = ctx.Input("x" + number);
    if (calls[i].value("strided", false)) x = Apart(x);
    at::Tensor y;
    try {
      y = call(x, calls[i]);
    } catch (const NotImplemented&) {
      throw;
    } catch (const CommError&) {
      throw;
    } catch (const std::exception& error) {
      throw std::runtime_error(Brief(error) + " (with " + calls[i].at("what").get<std::string>() + ")");
    }
    int flaw = kNoFlaw;
    if (y.defined() && !y.is_contiguous()) flaw = kNotContiguous;
    if (y.defined() && y.numel() > 0 && y.is_alias_of(x)) flaw = kSharesInput;
    ctx.Output("y" + number, y);
    ctx.Number("flaw" + number, flaw);
    ctx.Output("after" + number, x);
  }
}

}  // namespace shardlab::grade
