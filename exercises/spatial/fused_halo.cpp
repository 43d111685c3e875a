#include "shardlab/spatial/fused_halo.hpp"

// TASK spatial.fused_halo: OutputsWithin
//
//  * Which is the first output all of whose pixels are held, and which the last? Draw a window of 3 at both ends of the held
//    pixels, and at both ends of the image.
//  * At the end of the image a window reads fewer pixels than its kernel has. Which are they, and who has to hold the rest?

#include "shardlab/base/errors.hpp"
#include "shardlab/spatial/window.hpp"

namespace shardlab {

Range OutputsWithin(const SlidingWindow& window, Range held, int64_t inputs) {
  (void)window, (void)held, (void)inputs;
  throw NotImplemented("spatial.fused_halo: OutputsWithin (exercises/spatial/fused_halo.cpp)");
}

}  // namespace shardlab
