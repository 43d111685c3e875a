#include "shardlab/grade/frame.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/comm/record.hpp"

namespace shardlab::grade {

namespace {

constexpr uint32_t kFrameMagic = 0x4d415246;  // "FRAM"

struct Header {
  uint32_t magic = kFrameMagic;
  uint16_t name_length = 0;
  uint8_t dtype = 0;
  uint8_t dims = 0;
  uint64_t bytes = 0;
  int64_t shape[kMaxFrameDims] = {};
};
static_assert(sizeof(Header) % 8 == 0);

size_t Aligned(size_t size) { return (size + 7) / 8 * 8; }

/// In the order of c10::ScalarType; quantized types do not travel.
constexpr int64_t kElementSizes[] = {1, 1, 2, 4, 8, 2, 4, 8, 4, 8, 16, 1, 0, 0, 0, 2};

}  // namespace

int64_t ElementSize(uint8_t dtype) { return dtype < std::size(kElementSizes) ? kElementSizes[dtype] : 0; }

std::string ShapeText(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

size_t EncodedSize(const std::string& name, size_t bytes) {
  return sizeof(Header) + Aligned(name.size()) + Aligned(bytes);
}

size_t EncodeFrame(const std::string& name, uint8_t dtype, const std::vector<int64_t>& shape, const void* data,
                   size_t bytes, uint8_t* to, size_t room) {
  if (name.empty() || name.size() > kMaxFrameName) {
    throw ContractError(fmt::format("a tensor's name has 1 to {} characters, not {}", kMaxFrameName, name.size()));
  }
  if (shape.size() > kMaxFrameDims) {
    throw ContractError(
        fmt::format("'{}' has {} dimensions; at most {} can be handed over", name, shape.size(), kMaxFrameDims));
  }
  if (ElementSize(dtype) == 0)
    throw ContractError(fmt::format("'{}' is of {}, which cannot be handed over", name, DtypeName(dtype)));
  const size_t size = EncodedSize(name, bytes);
  if (size > room) {
    throw ContractError(fmt::format(
        "'{}' of {} bytes does not fit: what a rank hands over is limited, and {} bytes are left", name, bytes, room));
  }
  Header header;
  header.name_length = static_cast<uint16_t>(name.size());
  header.dtype = dtype;
  header.dims = static_cast<uint8_t>(shape.size());
  header.bytes = bytes;
  std::copy(shape.begin(), shape.end(), header.shape);
  std::memcpy(to, &header, sizeof header);
  std::memcpy(to + sizeof header, name.data(), name.size());
  if (bytes > 0) std::memcpy(to + sizeof header + Aligned(name.size()), data, bytes);
  return size;
}

std::string EncodeFrames(const Frames& frames) {
  size_t size = 0;
  for (const auto& [name, frame] : frames) size += EncodedSize(name, frame.bytes.size());
  std::string text(size, '\0');
  auto* to = reinterpret_cast<uint8_t*>(text.data());
  for (const auto& [name, frame] : frames) {
    const size_t used = EncodeFrame(name, frame.dtype, frame.shape, frame.bytes.data(), frame.bytes.size(), to, size);
    to += used;
    size -= used;
  }
  return text;
}

Frames DecodeFrames(const void* data, size_t size) {
  Frames frames;
  const auto* from = static_cast<const uint8_t*>(data);
  while (size > 0) {
    Header header;
    if (size < sizeof header) throw FrameError("the last tensor is cut off");
    std::memcpy(&header, from, sizeof header);
    from += sizeof header;
    size -= sizeof header;
    if (header.magic != kFrameMagic) throw FrameError("there is something else where a tensor should begin");
    if (header.name_length == 0 || header.name_length > kMaxFrameName || Aligned(header.name_length) > size) {
      throw FrameError(fmt::format("a tensor's name has {} characters", header.name_length));
    }
    const std::string name(reinterpret_cast<const char*>(from), header.name_length);
    from += Aligned(header.name_length);
    size -= Aligned(header.name_length);
    const auto element = static_cast<uint64_t>(ElementSize(header.dtype));
    if (element == 0)
      throw FrameError(fmt::format("a tensor is of {}, which does not travel", DtypeName(header.dtype)));
    if (header.dims > kMaxFrameDims) throw FrameError(fmt::format("a tensor has {} dimensions", header.dims));
    uint64_t expected = element;
    for (int dim = 0; dim < header.dims; ++dim) {
      if (header.shape[dim] < 0 ||
          __builtin_mul_overflow(expected, static_cast<uint64_t>(header.shape[dim]), &expected)) {
        throw FrameError("a tensor has an impossible shape");
      }
    }
    // The second comparison keeps Aligned() from wrapping around.
    if (header.bytes != expected || header.bytes > size || Aligned(header.bytes) > size) {
      throw FrameError(
          fmt::format("a tensor of {} bytes claims to have {}, and {} are there", expected, header.bytes, size));
    }
    Frame frame;
    frame.dtype = header.dtype;
    frame.shape.assign(header.shape, header.shape + header.dims);
    frame.bytes.assign(from, from + header.bytes);
    if (!frames.emplace(name, std::move(frame)).second) throw FrameError("a tensor was handed over twice");
    from += Aligned(header.bytes);
    size -= Aligned(header.bytes);
  }
  return frames;
}

}  // namespace shardlab::grade
