#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <c10/core/ScalarType.h>

/// \file
/// What messages call things.

namespace shardlab::grade {

/// "{3, 0, 2}".
std::string ListName(const std::vector<int64_t>& numbers);
/// "[5, 3]".
std::string ShapeName(const std::vector<int64_t>& shape);
/// "float32", "int64", ...: what a student calls it.
std::string DtypeName(at::ScalarType dtype);
/// "1 row", "4 rows".
std::string Count(int64_t number, const std::string& of);

}  // namespace shardlab::grade
