#pragma once

#include <cstdint>
#include <stdexcept>

/// \file
/// How much memory tensors on the CPU take, counted by the allocator that LibTorch asks: exact, and the same in every
/// run.
///
/// Counted are the bytes that were asked for, of every tensor made after CountMemory, in all threads. Not counted:
/// tensors made before, memory that LibTorch's libraries take for themselves, and tensors on other devices.

namespace shardlab {

/// An allocation would have gone over the cap.
class MemoryCapError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Counts from now on, for the rest of the process. Further calls change nothing.
void CountMemory();

/// Bytes of counted tensors that are alive now.
int64_t LiveBytes();
/// The most that were alive at once since CountMemory or the last ResetPeak.
int64_t PeakBytes();
/// Forgets the peak: it begins again at what is alive now.
void ResetPeak();
/// From now on an allocation that would bring LiveBytes above `bytes` throws MemoryCapError; negative: no cap.
/// Calls CountMemory.
void SetMemoryCap(int64_t bytes);

/// What FillNewMemory writes: NaN as float64, float32, float16 and bfloat16, and an odd large number as an integer.
constexpr uint16_t kNewMemoryWord = 0x7ffb;
/// From now on memory that a tensor is given holds kNewMemoryWord, over and over: what at::empty leaves unwritten
/// shows, and is the same in every run. Calls CountMemory.
void FillNewMemory();

/// The memory that a stretch of code takes beyond what was there before it. One at a time: it resets the peak.
///
///     const PeakMemory memory;
///     loss = model(x);
///     activations = memory.Bytes();
class PeakMemory {
 public:
  /// Begins to measure. Calls CountMemory.
  PeakMemory();
  /// The most beyond the beginning so far.
  int64_t Bytes() const { return PeakBytes() - before_; }

 private:
  int64_t before_;
};

}  // namespace shardlab
