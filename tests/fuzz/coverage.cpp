// Compiled without instrumentation: it is what the instrumentation calls.
#include "coverage.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

namespace shardlab::fuzz {
namespace {

std::array<uint8_t, 1 << 16> counts;  // of the last input
std::array<uint8_t, 1 << 16> known;   // a bit for each class of counts

// 1, 2, 3, 4 to 7, 8 to 15, ...: a loop that runs once more is no news.
uint8_t ClassOf(uint8_t count) {
  if (count < 4) return static_cast<uint8_t>((1 << count) >> 1);
  if (count < 8) return 8;
  if (count < 16) return 16;
  return count < 32 ? 32 : count < 128 ? 64 : 128;
}

}  // namespace

void ForgetBranches() { counts.fill(0); }

bool FoundNewBranches() {
  bool found = false;
  for (size_t i = 0; i < counts.size(); i += sizeof(uint64_t)) {
    uint64_t eight;
    std::memcpy(&eight, &counts[i], sizeof eight);
    if (eight == 0) continue;
    for (size_t k = i; k < i + sizeof eight; ++k) {
      const uint8_t bit = ClassOf(counts[k]);
      if ((known[k] & bit) != bit) found = true;
      known[k] = static_cast<uint8_t>(known[k] | bit);
    }
  }
  return found;
}

size_t KnownBranches() {
  return static_cast<size_t>(std::count_if(known.begin(), known.end(), [](uint8_t bits) { return bits != 0; }));
}

}  // namespace shardlab::fuzz

extern "C" void __sanitizer_cov_trace_pc() {
  auto place = reinterpret_cast<uintptr_t>(__builtin_return_address(0));
  place ^= place >> 16;
  uint8_t& count = shardlab::fuzz::counts[place & 0xffff];
  if (count < 255) ++count;
}
