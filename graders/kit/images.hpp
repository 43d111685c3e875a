#pragma once

#include <cstdint>
#include <string>

#include <ATen/core/Tensor.h>

#include "shardlab/grade/referee.hpp"

/// \file
/// Images to train on.

namespace shardlab::grade {

/// Images with their labels.
struct Images {
  at::Tensor pixels;   ///< uint8 [N, 3, 32, 32]
  at::Tensor labels;   ///< int64 [N]
  std::string source;  ///< what a curve calls them
};

/// `count` images, CIFAR-10's where all its files are in ./data, otherwise synthetic ones; the seed says which.
Images DrawImages(const CaseContext& t, int64_t count);

}  // namespace shardlab::grade
