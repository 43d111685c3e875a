#include "tensor_frame.hpp"

#include <cstring>

#include <ATen/ATen.h>

namespace shardlab::grade {

at::Tensor TensorFrom(const Frame& frame) {
  at::Tensor tensor = at::empty(frame.shape, at::TensorOptions().dtype(static_cast<at::ScalarType>(frame.dtype)));
  if (!frame.bytes.empty()) std::memcpy(tensor.data_ptr(), frame.bytes.data(), frame.bytes.size());
  return tensor;
}

Frame FrameFrom(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.detach().to(at::kCPU).resolve_conj().resolve_neg().contiguous();
  Frame frame;
  frame.dtype = static_cast<uint8_t>(flat.scalar_type());
  frame.shape = flat.sizes().vec();
  frame.bytes.resize(static_cast<size_t>(flat.numel()) * flat.element_size());
  if (!frame.bytes.empty()) std::memcpy(frame.bytes.data(), flat.data_ptr(), frame.bytes.size());
  return frame;
}

}  // namespace shardlab::grade
