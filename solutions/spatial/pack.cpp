#include "shardlab/spatial/pack.hpp"

#include <utility>

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <omp.h>

// Packing with threads
// ====================
// A box of an image is B * C * rows short runs of neighbouring pixels, one a row. Where each run begins in the message follows
// from its number, so any thread can copy any run:
//
//     run r of a box    image r / rows, row r % rows    begins at  box's place + r * columns
//
// PackPixels writes every element once, whoever does it. AddPackedPixels may meet a pixel in several boxes: boxes come one
// after the other, and only the runs of one box, which do not meet, are divided among the threads.

namespace shardlab {

namespace {

// Calls copy(place in the packed tensor, image, row, first column, columns) for each run of the box, in parallel.
template <typename Copy>
void ForRuns(const Box& box, int64_t images, int64_t place, Copy copy) {
  const Range rows = box.ranges[0], columns = box.ranges[1];
  const int64_t runs = images * rows.size();
#pragma omp parallel for schedule(static)
  for (int64_t run = 0; run < runs; ++run) {
    copy(place + run * columns.size(), run / rows.size(), rows.begin + run % rows.size(), columns.begin,
         columns.size());
  }
}

// Where pixel (row, column) of image b * C + c lies, whatever the strides.
struct Pixels {
  explicit Pixels(const at::Tensor& x)
      : channels(x.size(1)), image(x.stride(0)), channel(x.stride(1)), row(x.stride(2)), column(x.stride(3)) {}
  int64_t At(int64_t number, int64_t r, int64_t c) const {
    return number / channels * image + number % channels * channel + r * row + c * column;
  }
  int64_t channels, image, channel, row, column;
};

}  // namespace

at::Tensor PackPixels(const at::Tensor& x, const std::vector<Box>& boxes) {
  const int64_t images = x.size(0) * x.size(1);
  int64_t elements = 0;
  for (const Box& box : boxes) elements += images * box.volume();
  const at::Tensor packed = at::empty({elements}, x.options().requires_grad(false));
  const Pixels pixels(x);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "PackPixels", [&] {
    const scalar_t* const from = x.data_ptr<scalar_t>();
    scalar_t* const to = packed.data_ptr<scalar_t>();
    int64_t place = 0;
    for (const Box& box : boxes) {
      ForRuns(box, images, place, [=](int64_t at, int64_t image, int64_t row, int64_t column, int64_t count) {
        for (int64_t i = 0; i < count; ++i) to[at + i] = from[pixels.At(image, row, column + i)];
      });
      place += images * box.volume();
    }
  });
  return packed;
}

void AddPackedPixels(const at::Tensor& packed, const std::vector<Box>& boxes, const at::Tensor& into) {
  const int64_t images = into.size(0) * into.size(1);
  const Pixels pixels(into);
  AT_DISPATCH_FLOATING_TYPES(into.scalar_type(), "AddPackedPixels", [&] {
    const scalar_t* const from = packed.data_ptr<scalar_t>();
    scalar_t* const to = into.data_ptr<scalar_t>();
    int64_t place = 0;
    for (const Box& box : boxes) {
      ForRuns(box, images, place, [=](int64_t at, int64_t image, int64_t row, int64_t column, int64_t count) {
        for (int64_t i = 0; i < count; ++i) to[pixels.At(image, row, column + i)] += from[at + i];
      });
      place += images * box.volume();
    }
  });
}

}  // namespace shardlab
