#include "mutate.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>

namespace shardlab::fuzz {
namespace {

const std::array<const char*, 18> kNumbers = {"0",
                                              "1",
                                              "-1",
                                              "2",
                                              "7",
                                              "127",
                                              "255",
                                              "65536",
                                              "1000000",
                                              "2147483647",
                                              "2147483648",
                                              "-2147483648",
                                              "4294967296",
                                              "9223372036854775807",
                                              "-9223372036854775808",
                                              "99999999999999999999",
                                              "1e308",
                                              "nan"};
const std::array<uint64_t, 9> kBits = {
    0, 1, 0x7f, 0xff, 0xffff, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff, 0xffffffffffffffff};

}  // namespace

size_t Mutator::Below(size_t count) { return static_cast<size_t>(random_() % std::max<size_t>(count, 1)); }

std::string Mutator::Mutate(std::string input, const std::vector<std::string>& corpus) {
  for (size_t left = size_t{1} << Below(4); left > 0; --left) Once(input, corpus);
  if (input.size() > kLongest) input.resize(kLongest);
  return input;
}

void Mutator::Once(std::string& input, const std::vector<std::string>& corpus) {
  const size_t at = Below(input.size() + 1);
  const size_t length = std::min(input.size() - at, Below(Below(8) == 0 ? input.size() + 1 : 24));
  switch (Below(10)) {
    case 0:
      if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << Below(8)));
      break;
    case 1:
      if (at < input.size()) input[at] = static_cast<char>(random_());
      break;
    case 2:
      input.insert(at, 1, static_cast<char>(random_()));
      break;
    case 3:
      input.erase(at, length);
      break;
    case 4: {  // often once, now and then so often that nothing but a limit helps
      const std::string piece = input.substr(at, length);
      size_t times = Below(8) == 0 ? size_t{1} << Below(17) : 1;
      std::string repeated;
      for (; times > 0 && repeated.size() + input.size() < kLongest; --times) repeated += piece;
      input.insert(at, repeated);
      break;
    }
    case 5:
      ChangeDigits(input);
      break;
    case 6:
      ChangeBinary(input);
      break;
    case 7:
      if (!words_.empty()) input.insert(at, words_[Below(words_.size())]);
      break;
    case 8: {
      const std::string& other = corpus[Below(corpus.size())];
      const size_t from = Below(other.size() + 1);
      input.replace(at, length, other, from, Below(other.size() - from + 1));
      break;
    }
    default:
      input.resize(at);
  }
}

void Mutator::ChangeDigits(std::string& input) {
  const auto is_digit = [](unsigned char c) { return std::isdigit(c) != 0; };
  const auto start = input.begin() + static_cast<std::ptrdiff_t>(Below(input.size() + 1));
  const auto begin = std::find_if(start, input.end(), is_digit);
  const auto end = std::find_if_not(begin, input.end(), is_digit);
  if (begin != end) input.replace(begin, end, kNumbers[Below(kNumbers.size())]);
}

void Mutator::ChangeBinary(std::string& input) {
  const size_t width = size_t{1} << Below(4);
  if (input.size() < width) return;
  char* const place = &input[Below(input.size() - width + 1)];
  uint64_t value = 0;
  std::memcpy(&value, place, width);
  switch (Below(3)) {
    case 0:
      value = kBits[Below(kBits.size())];
      break;
    case 1:
      value += 1 + Below(16);
      break;
    default:
      value -= 1 + Below(16);
  }
  std::memcpy(place, &value, width);
}

}  // namespace shardlab::fuzz
