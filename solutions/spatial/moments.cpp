#include "shardlab/spatial/moments.hpp"

#include <memory>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/base/errors.hpp"

// Statistics of an image that nobody has as a whole
// =================================================
// Rank r has n_r of the N pixels. Their mean m_r and their squared differences from it, q_r, say all that the others need:
//
//     mean = sum n_r m_r / N                       var = sum ( q_r + n_r (m_r - mean)^2 ) / N                      (1)
//
// Within a tile no large numbers are subtracted, and between tiles only means are. (E[x^2] - mean^2 would subtract two
// numbers of a million to get 1.) How many pixels each rank has is geometry: nobody has to send it.
//
// Backward: a pixel x of this rank moves the mean by 1/N and the variance by 2 (x - mean) / N. Every rank's results were
// made of it, so the gradients of all ranks' results are added up first.                                         (2)
//
// Only the pixels that a rank owns count: a halo is another's.

namespace shardlab {

at::Tensor TiledMoments(const TiledImage& x, bool over_images, std::shared_ptr<Communicator> comm) {
  const Tiling tiling = x.tiling;
  const int64_t images = over_images ? x.values.size(0) : 1;
  const int64_t all = images * tiling.height() * tiling.width();
  if (all == 0) throw ContractError("an image without a pixel has no mean");
  const std::vector<int64_t> over = over_images ? std::vector<int64_t>{0, 2, 3} : std::vector<int64_t>{2, 3};
  // A statistic beside the pixels: [C] or [B, C] as [1 or B, C, 1, 1].
  const auto beside = [=](const at::Tensor& statistic) {
    return (over_images ? statistic.unsqueeze(0) : statistic).unsqueeze(-1).unsqueeze(-1);
  };
  struct Saved {
    at::Tensor pixels, mean;
  };
  const auto saved = std::make_shared<Saved>();

  const auto forward = [=](const at::Tensor& pixels) {
    const int64_t mine = tiling.TileOf(comm->rank()).volume() * images;
    const at::Tensor sum = pixels.sum(over);
    const at::Tensor mean = mine > 0 ? sum / mine : sum;
    const at::Tensor squares = (pixels - beside(mean)).square().sum(over);
    std::vector<at::Tensor> parts;
    for (int rank = 0; rank < comm->size(); ++rank) parts.push_back(at::empty_like(at::stack({mean, squares})));
    comm->AllGather(parts, at::stack({mean, squares}));
    at::Tensor total = at::zeros_like(mean), spread = at::zeros_like(mean);  // (1)
    for (int rank = 0; rank < comm->size(); ++rank) {
      total += parts[static_cast<size_t>(rank)][0] * (tiling.TileOf(rank).volume() * images);
    }
    total /= all;
    for (int rank = 0; rank < comm->size(); ++rank) {
      const at::Tensor& part = parts[static_cast<size_t>(rank)];
      spread += part[1] + (part[0] - total).square() * (tiling.TileOf(rank).volume() * images);
    }
    *saved = {pixels, total};
    return at::stack({total, spread / all});
  };
  const auto backward = [=](const at::Tensor& gradient) {  // (2)
    comm->AllReduce(gradient);
    const at::Tensor centred = saved->pixels - beside(saved->mean);
    return (beside(gradient[0]) + beside(gradient[1]) * 2 * centred) / all;
  };
  return Apply({"moments of an image on tiles", forward, backward}, Cropped(x, x.tiling, comm->rank()));
}

at::Tensor TiledSum(const TiledImage& x, std::shared_ptr<Communicator> comm) {
  const auto pixels = Cropped(x, x.tiling, comm->rank());
  const std::vector<int64_t> sizes = pixels.sizes().vec();
  return Apply({"sum of an image on tiles",
                [=](const at::Tensor& own) {
                  const at::Tensor sum = own.sum(at::IntArrayRef{2, 3});
                  comm->AllReduce(sum);
                  return sum;
                },
                [=](const at::Tensor& gradient) {
                  comm->AllReduce(gradient);
                  return gradient.unsqueeze(-1).unsqueeze(-1).expand(sizes).clone();
                }},
               pixels);
}

}  // namespace shardlab
