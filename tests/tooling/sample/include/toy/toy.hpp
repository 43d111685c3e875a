#pragma once
#include <vector>

#include "shardlab/base/contract.hpp"

namespace toy {
SHARDLAB_CONTRACT int Left(int rank, int size);
SHARDLAB_CONTRACT int Right(int rank, int size);
SHARDLAB_CONTRACT std::vector<int> Neighbours(int rank, int size);
SHARDLAB_CONTRACT int Half(int size);
}  // namespace toy
