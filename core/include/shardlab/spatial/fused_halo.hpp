#pragma once

#include <cstdint>

#include "shardlab/base/contract.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/plan/tiling.hpp"

namespace shardlab {

/// Contract: the outputs that some pixels are enough for. It is what a fused halo needs besides a wide exchange: each layer of a
/// group computes all outputs that it can, its neighbours' too, and the next layer finds its halo there.
///
///     kernel 3, padding 1, held 2:8 of an image of 8        outputs 3:8
///
///     . 0 1 [2 3 4 5 6 7] .        output 2 reads 1, which is not held; output 7 reads padding, which needs no pixel
///
/// \param held the pixels of one side of the image that a rank has.
/// \param inputs how many pixels that side has.
/// \returns all outputs whose inputs, from the first to the last (InputsOf), are held as far as they lie in the image; without a
/// gap. Where there is none: an empty
/// range. An output that reads padding alone needs no pixel: it is one of them where it is next to others, and not by itself.
/// \throws ContractError as OutputSize does.
SHARDLAB_CONTRACT Range OutputsWithin(const SlidingWindow& window, Range held, int64_t inputs);

}  // namespace shardlab
