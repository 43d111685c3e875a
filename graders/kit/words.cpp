#include "kit/words.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace shardlab::grade {

std::string ListName(const std::vector<int64_t>& numbers) { return fmt::format("{{{}}}", fmt::join(numbers, ", ")); }

std::string ShapeName(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

std::string DtypeName(at::ScalarType dtype) {
  switch (dtype) {
    case at::kBool:
      return "bool";
    case at::kByte:
      return "uint8";
    case at::kInt:
      return "int32";
    case at::kLong:
      return "int64";
    case at::kHalf:
      return "float16";
    case at::kFloat:
      return "float32";
    case at::kDouble:
      return "float64";
    default:
      return c10::toString(dtype);
  }
}

std::string Count(int64_t number, const std::string& of) {
  return fmt::format("{} {}{}", number, of, number == 1 ? "" : "s");
}

}  // namespace shardlab::grade
