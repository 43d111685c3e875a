#include <string>

#include <fmt/format.h>

#include "shardlab/plan/draw.hpp"

namespace shardlab {

std::string DescribeSize(const Schedule& schedule) {
  const Layout& layout = schedule.layout;
  const std::string kind = ToString(layout);
  std::string ranks = fmt::format("{} rank{}", layout.ranks(), layout.ranks() == 1 ? "" : "s");
  if (layout.chunks_per_rank() > 1) {
    ranks += fmt::format(" of {} chunks ({})", layout.chunks_per_rank(), kind.substr(0, kind.find(' ')));
  }
  return fmt::format("{}, {} micro-batch{}", ranks, schedule.microbatches, schedule.microbatches == 1 ? "" : "es");
}

}  // namespace shardlab
