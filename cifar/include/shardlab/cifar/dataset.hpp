#pragma once

#include <cstdint>
#include <string>
#include <vector>

/// \file
/// Labelled 32 x 32 colour images in memory, as CIFAR stores them. No LibTorch.

namespace shardlab::cifar {

constexpr int64_t kChannels = 3;                                      ///< Red, green, blue, in this order.
constexpr int64_t kImageSide = 32;                                    ///< Height and width in pixels.
constexpr int64_t kImageBytes = kChannels * kImageSide * kImageSide;  ///< 3072, one byte a channel and pixel.

/// N labelled images.
struct Dataset {
  std::string name;                         ///< For example "cifar10 test".
  std::vector<uint8_t> images;              ///< [N, 3, 32, 32], contiguous.
  std::vector<uint8_t> labels;              ///< [N], each below classes.size(); CIFAR-100's fine labels.
  std::vector<uint8_t> coarse_labels;       ///< [N] for CIFAR-100, each below coarse_classes.size(); otherwise empty.
  std::vector<std::string> classes;         ///< What label 0, 1, 2, ... mean.
  std::vector<std::string> coarse_classes;  ///< CIFAR-100's 20 super-classes; otherwise empty.

  /// The number N of images.
  int64_t size() const { return static_cast<int64_t>(labels.size()); }

  /// The 3072 bytes of image `i`.
  /// \throws ContractError unless 0 <= i < size().
  const uint8_t* image(int64_t i) const;
};

/// What a model is trained on and what it is tested on.
struct DataSplits {
  Dataset train;  ///< What the weights are fitted to.
  Dataset test;   ///< What the accuracy is measured on; no image of it is in `train`.
};

}  // namespace shardlab::cifar
