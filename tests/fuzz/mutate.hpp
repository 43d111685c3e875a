#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

/// \file
/// Inputs that are nearly right.

namespace shardlab::fuzz {

/// Changes an input in one to eight places: bits, bytes, numbers in digits and in binary, words, pieces that are left
/// out, repeated, or taken from another input.
class Mutator {
 public:
  Mutator(uint64_t seed, std::vector<std::string> words) : random_(seed), words_(std::move(words)) {}

  /// Longer inputs are cut.
  static constexpr size_t kLongest = 192 << 10;

  std::string Mutate(std::string input, const std::vector<std::string>& corpus);
  /// A number from 0 to `count` - 1.
  size_t Below(size_t count);

 private:
  void Once(std::string& input, const std::vector<std::string>& corpus);
  void ChangeDigits(std::string& input);
  void ChangeBinary(std::string& input);

  std::mt19937_64 random_;
  std::vector<std::string> words_;
};

}  // namespace shardlab::fuzz
