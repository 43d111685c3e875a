// A referee that dies in the middle of its only case.

#include <cstdio>
#include <cstdlib>

#include <ATen/ATen.h>

#include "shardlab/grade/referee.hpp"

SHARDLAB_CASE(part, dies, kValue, {1}) {
  std::fputs("the oracle ran out of memory\n", stderr);
  std::abort();
}
