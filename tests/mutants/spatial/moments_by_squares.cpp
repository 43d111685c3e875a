#include "shardlab/spatial/moments.hpp"

#include <vector>

#include <ATen/ATen.h>

#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/base/errors.hpp"

namespace shardlab {

namespace {

at::Tensor SumOver(const at::Tensor& own, const std::vector<int64_t>& over, const std::shared_ptr<Communicator>& comm) {
  const std::vector<int64_t> sizes = own.sizes().vec();
  return Apply({"sum over tiles",
                [=](const at::Tensor& pixels) {
                  const at::Tensor sum = at::stack({pixels.sum(over), pixels.square().sum(over)});
                  comm->AllReduce(sum);
                  return sum;
                },
                [=](const at::Tensor& gradient) {
                  comm->AllReduce(gradient);
                  const auto beside = [&](const at::Tensor& g) {
                    return (over.size() == 3 ? g.unsqueeze(0) : g).unsqueeze(-1).unsqueeze(-1);
                  };
                  return (beside(gradient[0]) + beside(gradient[1]) * 2 * own).contiguous();
                }},
               own);
}

}  // namespace

at::Tensor TiledMoments(const TiledImage& x, bool over_images, std::shared_ptr<Communicator> comm) {
  const int64_t all = (over_images ? x.values.size(0) : 1) * x.tiling.height() * x.tiling.width();
  if (all == 0) throw ContractError("an image without a pixel has no mean");
  const std::vector<int64_t> over = over_images ? std::vector<int64_t>{0, 2, 3} : std::vector<int64_t>{2, 3};
  const at::Tensor sums = SumOver(Cropped(x, x.tiling, comm->rank()), over, comm) / all;
  return at::stack({sums[0], sums[1] - sums[0].square()});
}

at::Tensor TiledSum(const TiledImage& x, std::shared_ptr<Communicator> comm) {
  const at::Tensor own = Cropped(x, x.tiling, comm->rank());
  const std::vector<int64_t> sizes = own.sizes().vec();
  return Apply({"sum",
                [=](const at::Tensor& pixels) {
                  const at::Tensor sum = pixels.sum(at::IntArrayRef{2, 3});
                  comm->AllReduce(sum);
                  return sum;
                },
                [=](const at::Tensor& gradient) {
                  comm->AllReduce(gradient);
                  return gradient.unsqueeze(-1).unsqueeze(-1).expand(sizes).clone();
                }},
               own);
}

}  // namespace shardlab
