// Bodies without tensors, which behave well and badly. They are linked into a host of their own, without LibTorch, and
// into the ordinary one.

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "shardlab/base/errors.hpp"
#include "shardlab/grade/plain_body.hpp"

namespace {

__attribute__((noinline)) int StagesOf(int layers, int per_stage) { return layers / per_stage; }

}  // namespace

SHARDLAB_PLAIN_BODY(hands_back) {
  ctx.Text("text", ctx.Param<std::string>("text"));
  ctx.Text("empty", "");
  ctx.Text("zero", std::string("a\0b", 3));
  ctx.Number("number", ctx.Param<double>("number"));
  ctx.Integers("integers", {std::numeric_limits<int64_t>::min(), 0, 7});
  ctx.Integers("none", {});
}

SHARDLAB_PLAIN_BODY(hands_back_twice) {
  ctx.Number("steps", 1);
  ctx.Number("steps", 2);
}

SHARDLAB_PLAIN_BODY(plain_not_implemented) {
  throw shardlab::NotImplemented("tests.plain: Function (exercises/tests/file.cpp)");
}

SHARDLAB_PLAIN_BODY(plain_divides_by_zero) {
  ctx.Number("stages", StagesOf(4, static_cast<int>(ctx.params().value("per_stage", 0))));
}

SHARDLAB_PLAIN_BODY(plain_never_ends) {
  for (volatile int turn = 0;; turn = turn + 1) {
  }
}
