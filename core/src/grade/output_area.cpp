#include "output_area.hpp"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"

namespace shardlab::grade {

OutputArea::OutputArea(const launch::Fd& memory) {
  struct stat about;
  if (fstat(memory.get(), &about) != 0) _exit(1);
  size_ = static_cast<size_t>(about.st_size);
  void* base = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
  if (base == MAP_FAILED) _exit(1);
  base_ = static_cast<uint8_t*>(base);
}

void OutputArea::Set(RankStage stage, const std::string& message) {
  const size_t length = std::min(message.size(), sizeof(header().message));
  std::memcpy(header().message, message.data(), length);
  header().message_length = static_cast<uint32_t>(length);
  if (stage != RankStage::kNotStarted && stage != RankStage::kRunning) header().ended_ns = launch::MonotonicNs();
  header().state = static_cast<uint32_t>(stage);
}

void OutputArea::Put(const std::string& name, uint8_t dtype, const std::vector<int64_t>& shape, const void* data,
                     size_t bytes) {
  if (!names_.insert(name).second) throw ContractError(fmt::format("the output '{}' was handed back twice", name));
  uint8_t* const frames = base_ + kOutputHeaderBytes;
  used_ += EncodeFrame(name, dtype, shape, data, bytes, frames + used_, size_ - kOutputHeaderBytes - used_);
  header().used = used_;
}

}  // namespace shardlab::grade
