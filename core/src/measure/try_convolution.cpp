// Computes some convolutions, forward and backward, and says so: `lab doctor` runs it to see whether LibTorch survives
// them on this machine.
#include <array>
#include <cstdio>

#include <ATen/ATen.h>

int main() {
  struct Convolution {
    int64_t in, out, kernel, stride, side;
  };
  constexpr std::array<Convolution, 5> kConvolutions = {
      {{3, 16, 3, 1, 32}, {16, 32, 3, 2, 32}, {64, 64, 1, 1, 16}, {128, 256, 3, 1, 8}, {512, 512, 3, 1, 4}}};
  double sum = 0;
  for (const Convolution& one : kConvolutions) {
    const at::Tensor x = at::ones({8, one.in, one.side, one.side}).requires_grad_(true);
    const at::Tensor w = at::ones({one.out, one.in, one.kernel, one.kernel}).requires_grad_(true);
    const at::Tensor y = at::conv2d(x, w, at::Tensor(), one.stride, one.kernel / 2);
    y.sum().backward();
    sum += w.grad().sum().item<double>();
  }
  std::printf("convolutions work, %g\n", sum);
  return 0;
}
