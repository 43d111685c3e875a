#include "shardlab/spatial/window.hpp"

// TASK spatial.slices: OutputSize, InputsOf, OutputsOf, InputsOfTiles, HaloOf
//
//  * Along one side of the image only: the other side is the same sum again. Draw a window of 3 with stride 2 on
//    seven pixels before you write anything.
//  * Which inputs does output o read first, and last? What does that say of the outputs o0 to o1 together?
//  * Which tile shall compute an output whose window lies across a border? Read the rule of OutputsOf, and find out
//    where it puts the outputs of a convolution with stride 2 and odd tiles.
//  * A second layer needs a halo of the first one's outputs. How many pixels of the image is one of its pixels?

#include "shardlab/base/errors.hpp"

namespace shardlab {

int64_t OutputSize(const SlidingWindow& window, int64_t inputs) {
  (void)window, (void)inputs;
  throw NotImplemented("spatial.slices: OutputSize (exercises/spatial/window.cpp)");
}

Range InputsOf(const SlidingWindow& window, Range outputs) {
  (void)window, (void)outputs;
  throw NotImplemented("spatial.slices: InputsOf (exercises/spatial/window.cpp)");
}

std::vector<Range> OutputsOf(const SlidingWindow& window, const std::vector<Range>& tiles) {
  (void)window, (void)tiles;
  throw NotImplemented("spatial.slices: OutputsOf (exercises/spatial/window.cpp)");
}

Tiling InputsOfTiles(const ImageWindow& window, const Tiling& outputs, int64_t height, int64_t width) {
  (void)window, (void)outputs, (void)height, (void)width;
  throw NotImplemented("spatial.slices: InputsOfTiles (exercises/spatial/window.cpp)");
}

Halo HaloOf(const std::vector<SlidingWindow>& chain) {
  (void)chain;
  throw NotImplemented("spatial.slices: HaloOf (exercises/spatial/window.cpp)");
}

}  // namespace shardlab
