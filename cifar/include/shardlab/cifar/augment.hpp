#pragma once

#include <array>
#include <cstdint>

#include "shardlab/cifar/dataset.hpp"

/// \file
/// From stored bytes to a network's input: augmentation and normalisation in one pass. No LibTorch.

namespace shardlab::cifar {

/// What is subtracted from, and what divides, a channel's values in 0..1.
struct Normalization {
  std::array<double, kChannels> mean = {0.0, 0.0, 0.0};       ///< Per channel, of values in 0..1.
  std::array<double, kChannels> deviation = {1.0, 1.0, 1.0};  ///< Standard deviation per channel, above 0.
};

/// The mean and the standard deviation of every channel over a whole set, normally the training set.
///
/// Sums are integers, so the result is the same whatever the number of threads. A channel of one colour gets 1 as its
/// deviation. Cost: one pass over the images.
/// \throws ContractError for an empty set.
Normalization Measure(const Dataset& data);

/// How one image is changed before it is seen.
struct Augmentation {
  int32_t shift_y = 0;  ///< The image moves down by this many pixels, -4..4; what it uncovers is black.
  int32_t shift_x = 0;  ///< The image moves right by this many pixels, -4..4.
  bool flip = false;    ///< Mirrored left to right (before it moves).
};

/// The usual augmentation of CIFAR, a random crop after padding with 4 black pixels and a fair flip, as a function of
/// (seed, epoch, sample): the same for every rank, thread and order.
/// \param sample the image's index in the whole set, not in a shard.
Augmentation DrawAugmentation(uint64_t seed, uint64_t epoch, uint64_t sample);

/// Writes images as numbers: out[k] = (augmented image samples[k] / 255 - mean) / deviation.
///
/// OpenMP's threads share the images; the bits do not depend on how many there are.
/// \tparam T float or double; a float is the double rounded once.
/// \param samples `count` indices into `data`, in any order, repetitions allowed.
/// \param augment whether DrawAugmentation(seed, epoch, samples[k]) is applied; `seed` and `epoch` are unused
/// otherwise.
/// \param out room for count * 3072 numbers, [count, 3, 32, 32].
/// \throws ContractError for an index that does not exist.
template <typename T>
void Prepare(const Dataset& data, const Normalization& normalization, const int64_t* samples, int64_t count,
             bool augment, uint64_t seed, uint64_t epoch, T* out);

}  // namespace shardlab::cifar
