#include "shardlab/grade/case.hpp"

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"

namespace shardlab::grade {

const char* Name(Status status) {
  switch (status) {
    case Status::kPassed:
      return "passed";
    case Status::kFailed:
      return "failed";
    case Status::kNotImplemented:
      return "not implemented";
    case Status::kDoesNotCompile:
      return "does not compile";
    case Status::kSkipped:
      return "skipped";
    case Status::kCrashed:
      return "crashed";
    case Status::kDeadlock:
      return "deadlock";
    case Status::kTimeout:
      return "timeout";
  }
  throw ContractError(fmt::format("there is no status {}", static_cast<int>(status)));
}

const char* Name(Kind kind) {
  switch (kind) {
    case Kind::kValue:
      return "value";
    case Kind::kGradient:
      return "gradient";
    case Kind::kCost:
      return "cost";
    case Kind::kRobustness:
      return "robustness";
  }
  throw ContractError(fmt::format("there is no kind {}", static_cast<int>(kind)));
}

}  // namespace shardlab::grade
