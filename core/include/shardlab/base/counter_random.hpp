#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

/// \file
/// Random numbers that are a pure function of what they are for: (seed, step, layer, sample, element, ...).
///
/// A generator with a state gives a number that depends on how many were drawn before it, so a rank that holds a slice
/// would have to draw, and throw away, everybody else's. A counter-based one gives any element by itself: a shard, a
/// tile or an OpenMP thread takes exactly its own, and every division of the work sees the same numbers. Only integer
/// arithmetic on 64 bits is used, so every platform does too.
///
/// The mixing function is the finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
/// Generators, OOPSLA 2014). Not for cryptography.

namespace shardlab {

/// A bijection on 64 bits in which every output bit depends on every input bit.
constexpr uint64_t MixBits(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/// A number for a name, the same on every platform (FNV-1a).
constexpr uint64_t HashName(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

/// The random numbers of one purpose. Copying is free; there is no hidden state beside the position.
///
/// Two ways to use it: `At(i)` is the i-th number, in any order and from any thread; `Next()` walks through them.
class CounterRandom {
 public:
  /// \param keys what the numbers are for, for example {seed, epoch, sample}; different keys, in value or in order,
  /// give unrelated numbers.
  constexpr CounterRandom(std::initializer_list<uint64_t> keys) {
    for (const uint64_t key : keys) key_ = MixBits(key_ + kStep) ^ MixBits(key + kOther);
  }

  /// The i-th number, uniform on 64 bits.
  constexpr uint64_t At(uint64_t i) const { return MixBits(MixBits(key_ + (i + 1) * kStep) + kOther); }

  /// The i-th number as a double, uniform on [0, 1) in steps of 2^-53.
  constexpr double UniformAt(uint64_t i) const { return static_cast<double>(At(i) >> 11) * 0x1p-53; }

  /// The next number, uniform on 64 bits.
  constexpr uint64_t Next() { return At(position_++); }

  /// The next number as an integer, uniform on 0 .. bound-1 up to a bias of bound / 2^32 (for bound <= 2^32).
  constexpr uint32_t Below(uint32_t bound) {
    return static_cast<uint32_t>(((Next() >> 32) * static_cast<uint64_t>(bound)) >> 32);
  }

  /// The next number as an integer in low .. high, both included.
  constexpr int32_t Between(int32_t low, int32_t high) {
    return low + static_cast<int32_t>(Below(static_cast<uint32_t>(high - low) + 1));
  }

 private:
  static constexpr uint64_t kStep = 0x9e3779b97f4a7c15ULL;   // 2^64 / golden ratio, odd
  static constexpr uint64_t kOther = 0xd1b54a32d192ed03ULL;  // another odd constant, so that 0 is no fixed point

  uint64_t key_ = 0;
  uint64_t position_ = 0;
};

}  // namespace shardlab
