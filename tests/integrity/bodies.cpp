#include <chrono>
#include <thread>

#include <ATen/ATen.h>

#include "shardlab/grade/body.hpp"
#include "sum.hpp"

SHARDLAB_BODY(turn_the_clock) {
  if (ctx.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const double turned_s = ctx.rank() == 0 ? TurnTheClock() : 0;
  ctx.Mark(ctx.rank() == 0 ? "left" : "entered");
  ctx.Number("turned_s", turned_s);
}

SHARDLAB_BODY(sum) {
  ctx.Output("sum",
             SumOverRanks(ctx.comm(), ctx.Input("mine"), ctx.Param<std::string>("attack"), ctx.params().at("targets")));
}
