#include "shardlab/measure/memory.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <fmt/format.h>

namespace shardlab {
namespace {

std::atomic<int64_t> live{0};
std::atomic<int64_t> peak{0};
std::atomic<int64_t> cap{-1};
std::atomic<bool> fill{false};

// Ahead of the memory that is handed out stands its size, in a block that keeps the alignment LibTorch counts on.
constexpr size_t kAlignment = 64;

void Free(void* data) {
  if (data == nullptr) return;
  char* block = static_cast<char*>(data) - kAlignment;
  int64_t bytes = 0;
  std::memcpy(&bytes, block, sizeof bytes);
  live -= bytes;
  std::free(block);
}

// "64 GiB", "200 bytes".
std::string Size(int64_t bytes) {
  constexpr double kMega = 1 << 20, kGiga = 1 << 30;
  if (bytes < (10 << 20)) return fmt::format("{} bytes", bytes);
  return bytes < (int64_t{1} << 30) ? fmt::format("{:.3g} MiB", static_cast<double>(bytes) / kMega)
                                    : fmt::format("{:.3g} GiB", static_cast<double>(bytes) / kGiga);
}

void Fill(char* data, size_t size) {
  uint64_t word = 0;
  for (int i = 0; i < 4; ++i) word = word << 16 | kNewMemoryWord;
  size_t done = 0;
  for (; done + sizeof word <= size; done += sizeof word) std::memcpy(data + done, &word, sizeof word);
  std::memcpy(data + done, &word, size - done);
}

c10::DataPtr Allocate(size_t size) {
  const c10::Device cpu(c10::DeviceType::CPU);
  if (size == 0) return {nullptr, nullptr, &Free, cpu};
  const auto bytes = static_cast<int64_t>(size);
  const int64_t now = live += bytes;
  const int64_t limit = cap;
  if (limit >= 0 && now > limit) {
    live -= bytes;
    throw MemoryCapError(fmt::format("a tensor of {} is too much: {} are in use and {} are allowed", Size(bytes),
                                     Size(now - bytes), Size(limit)));
  }
  void* block = nullptr;
  if (posix_memalign(&block, kAlignment, size + kAlignment) != 0) {
    live -= bytes;
    throw std::bad_alloc();
  }
  for (int64_t seen = peak; seen < now && !peak.compare_exchange_weak(seen, now);) {
  }
  std::memcpy(block, &bytes, sizeof bytes);
  void* data = static_cast<char*>(block) + kAlignment;
  if (fill) Fill(static_cast<char*>(data), size);
  return {data, data, &Free, cpu};
}

// LibTorch 1.13 asks a const allocate, 2.x one that is not, and 2.x wants copy_data besides: whatever is no override is
// an ordinary function that nobody calls.
class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t size) const { return Allocate(size); }
  c10::DataPtr allocate(size_t size) { return Allocate(size); }
  c10::DeleterFnPtr raw_deleter() const override { return &Free; }
  void copy_data(void* to, const void* from, std::size_t size) const { std::memcpy(to, from, size); }
};

}  // namespace

void CountMemory() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Never destroyed: tensors may outlive every static object.
    c10::SetCPUAllocator(new CountingAllocator, /*priority=*/100);
  });
}

int64_t LiveBytes() { return live; }
int64_t PeakBytes() { return peak; }
void ResetPeak() { peak = live.load(); }

void SetMemoryCap(int64_t bytes) {
  CountMemory();
  cap = bytes;
}

void FillNewMemory() {
  CountMemory();
  fill = true;
}

PeakMemory::PeakMemory() {
  CountMemory();
  ResetPeak();
  before_ = LiveBytes();
}

}  // namespace shardlab
