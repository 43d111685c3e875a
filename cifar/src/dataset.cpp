#include "shardlab/cifar/dataset.hpp"

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"

namespace shardlab::cifar {

const uint8_t* Dataset::image(int64_t i) const {
  if (i < 0 || i >= size()) {
    throw ContractError(fmt::format("{}: image {} does not exist, there are {}", name, i, size()));
  }
  return images.data() + i * kImageBytes;
}

}  // namespace shardlab::cifar
