#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace shardlab::grade {

/// A tensor as it travels between the referee and a rank: raw and bounded, never unpickled.
struct Frame {
  uint8_t dtype = 0;           ///< c10::ScalarType
  std::vector<int64_t> shape;  ///< at most 8 dimensions
  std::vector<uint8_t> bytes;  ///< row-major
};

/// Frames by name.
using Frames = std::map<std::string, Frame>;

/// More dimensions than this a frame does not have.
constexpr int kMaxFrameDims = 8;
/// A longer name a frame does not have.
constexpr size_t kMaxFrameName = 255;

/// The bytes of one element of a c10::ScalarType, or 0 where a frame cannot hold it.
int64_t ElementSize(uint8_t dtype);
/// "[2, 3]".
std::string ShapeText(const std::vector<int64_t>& shape);

/// Bytes that are not frames. The message says what is wrong with them.
class FrameError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// \name Encoding
/// A frame is a header of fixed size, its name and its bytes, each begun at a multiple of 8. Frames follow one another.
///@{

/// How much room a frame takes.
size_t EncodedSize(const std::string& name, size_t bytes);
/// Writes a frame of the `bytes` bytes at `data` to `to`. \throws ContractError for a name, a dtype or a number of
/// dimensions that a frame cannot have, or when the frame needs more than `room` bytes
size_t EncodeFrame(const std::string& name, uint8_t dtype, const std::vector<int64_t>& shape, const void* data,
                   size_t bytes, uint8_t* to, size_t room);
/// All of `frames`, one after the other.
std::string EncodeFrames(const Frames& frames);
/// What is in the `size` bytes at `data`, whoever wrote them: nothing in them is taken on trust. \throws FrameError
Frames DecodeFrames(const void* data, size_t size);
///@}

}  // namespace shardlab::grade
