// Frames are read from memory that a student's code may have written.

#include <cstring>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/grade/frame.hpp"

namespace shardlab::grade {
namespace {

Frames Example() {
  Frames frames;
  frames["empty"] = {6, {0, 3}, {}};
  frames["scalar"] = {7, {}, std::vector<uint8_t>(8, 1)};
  frames["odd"] = {1, {5}, {1, 2, 3, 4, 5}};
  return frames;
}

TEST(Frame, ComesBackAsItWas) {
  const std::string bytes = EncodeFrames(Example());
  const Frames back = DecodeFrames(bytes.data(), bytes.size());
  ASSERT_EQ(back.size(), 3u);
  for (const auto& [name, frame] : Example()) {
    EXPECT_EQ(back.at(name).dtype, frame.dtype);
    EXPECT_EQ(back.at(name).shape, frame.shape);
    EXPECT_EQ(back.at(name).bytes, frame.bytes);
  }
}

TEST(Frame, IsRefusedWhenCutOff) {
  const std::string bytes = EncodeFrames(Example());
  size_t refused = 0;
  for (size_t size = 1; size < bytes.size(); ++size) {
    // Exactly between two frames, what is there is whole.
    try {
      EXPECT_LT(DecodeFrames(bytes.data(), size).size(), 3u);
    } catch (const FrameError&) {
      ++refused;
    }
  }
  EXPECT_EQ(refused, bytes.size() - 1 - 2);
}

TEST(Frame, IsRefusedWhenTheShapeOverflows) {
  Frames frames;
  frames["x"] = {7, {2, 1}, std::vector<uint8_t>(16)};
  std::string bytes = EncodeFrames(frames);
  const int64_t huge = int64_t{1} << 62;
  std::memcpy(bytes.data() + 16, &huge, sizeof huge);  // 2^62 doubles are 2^65 bytes, which is 0 in 64 bits
  EXPECT_THROW(DecodeFrames(bytes.data(), bytes.size()), FrameError);
}

TEST(Frame, AnyDamageIsAnErrorOrHarmless) {
  std::mt19937 random(7);
  const std::string good = EncodeFrames(Example());
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = good;
    for (int flips = 0; flips < 3; ++flips) bytes[random() % bytes.size()] = static_cast<char>(random());
    try {
      for (const auto& [name, frame] : DecodeFrames(bytes.data(), bytes.size())) {
        int64_t expected = ElementSize(frame.dtype);
        for (const int64_t size : frame.shape) expected *= size;
        EXPECT_EQ(static_cast<int64_t>(frame.bytes.size()), expected);
      }
    } catch (const FrameError&) {
    }
  }
}

TEST(Frame, RefusesWhatCannotTravel) {
  uint8_t room[256];
  const double value = 1;
  EXPECT_THROW(EncodeFrame("", 7, {}, &value, 8, room, sizeof room), ContractError);
  EXPECT_THROW(EncodeFrame("x", 12, {}, &value, 8, room, sizeof room), ContractError);
  EXPECT_THROW(EncodeFrame("x", 7, std::vector<int64_t>(9, 1), &value, 8, room, sizeof room), ContractError);
  EXPECT_THROW(EncodeFrame("x", 7, {}, &value, 8, room, 64), ContractError);
  EXPECT_THROW(EncodeFrame(std::string(256, 'x'), 7, {}, &value, 8, room, sizeof room), ContractError);
}

}  // namespace
}  // namespace shardlab::grade
