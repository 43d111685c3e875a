#include <ATen/ATen.h>

#include "shardlab/grade/body.hpp"
#include "sum.hpp"

SHARDLAB_BODY(sum) {
  ctx.Output("sum",
             SumOverRanks(ctx.comm(), ctx.Input("mine"), ctx.Param<std::string>("attack"), ctx.params().at("targets")));
}
