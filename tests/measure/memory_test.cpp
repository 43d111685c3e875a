// The counting allocator: exact to the byte, the same every time, and a cap that throws.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "../texts.hpp"
#include "shardlab/measure/memory.hpp"

namespace shardlab {
namespace {

class Memory : public testing::Test {
 protected:
  void SetUp() override { CountMemory(); }
};

TEST_F(Memory, IsExactToTheByte) {
  const int64_t before = LiveBytes();
  at::Tensor a = at::empty({1000}, at::kFloat);
  EXPECT_EQ(LiveBytes() - before, 4000);
  at::Tensor b = at::empty({3, 7}, at::kDouble);
  EXPECT_EQ(LiveBytes() - before, 4000 + 168);
  at::Tensor view = a.narrow(0, 0, 10);
  a.reset();
  EXPECT_EQ(LiveBytes() - before, 4000 + 168) << "the view keeps it alive";
  view.reset();
  b.reset();
  EXPECT_EQ(LiveBytes() - before, 0);
  const at::Tensor empty = at::empty({0});
  EXPECT_EQ(LiveBytes() - before, 0);
}

TEST_F(Memory, ThePeakIsTheMostAtOnce) {
  const PeakMemory memory;
  for (int i = 0; i < 5; ++i) at::empty({100}, at::kByte);  // one after the other
  EXPECT_EQ(memory.Bytes(), 100);
  { const at::Tensor a = at::empty({100}, at::kByte), b = at::empty({50}, at::kByte); }
  EXPECT_EQ(memory.Bytes(), 150);
  ResetPeak();
  EXPECT_EQ(memory.Bytes(), 0);
}

// Forward and backward of a chain of k layers keep k activations: so is a pipeline's schedule judged.
TEST_F(Memory, ActivationsAreCountedTheSameEveryTime) {
  const auto peak_of = [](int layers) {
    const at::Tensor x = at::ones({64, 64}).set_requires_grad(true);
    const PeakMemory memory;
    at::Tensor y = x;
    for (int layer = 0; layer < layers; ++layer) y = at::tanh(y);
    torch::autograd::backward({y.sum()}, {});
    return memory.Bytes();
  };
  const int64_t three = peak_of(3), four = peak_of(4);
  EXPECT_EQ(four - three, 64 * 64 * 4);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(peak_of(3), three);
}

TEST_F(Memory, TheCapThrowsAndLeavesEverythingAsItWas) {
  const int64_t before = LiveBytes();
  SetMemoryCap(before + 1000);
  const at::Tensor fits = at::empty({900}, at::kByte);
  EXPECT_THAT(MessageOf<MemoryCapError>([] { at::empty({200}, at::kByte); }),
              testing::HasSubstr("a tensor of 200 bytes is too much"));
  EXPECT_EQ(LiveBytes() - before, 900);
  EXPECT_NO_THROW(at::empty({100}, at::kByte));
  SetMemoryCap(-1);
  EXPECT_NO_THROW(at::empty({100000}, at::kByte));
}

TEST_F(Memory, ThreadsAreCountedTogether) {
  const int64_t before = LiveBytes();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 1000; ++i) at::empty({i}, at::kByte);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(LiveBytes(), before);
}

}  // namespace
}  // namespace shardlab
