#include "shardlab/spatial/moments.hpp"

#include <memory>
#include <vector>

#include <ATen/ATen.h>

#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/base/errors.hpp"

namespace shardlab {

namespace {

at::Tensor Mine(const TiledImage& x, int rank) {
  const Box own = x.tiling.TileOf(rank), held = x.held.TileOf(rank);
  const auto cut = [](const at::Tensor& t, int64_t dim, Range inner, Range outer) {
    return t.narrow(dim, inner.size() > 0 ? inner.begin - outer.begin : 0, inner.size());
  };
  return cut(cut(x.values, 2, own.ranges[0], held.ranges[0]), 3, own.ranges[1], held.ranges[1]);
}

}  // namespace

at::Tensor TiledMoments(const TiledImage& x, bool over_images, std::shared_ptr<Communicator> comm) {
  const Tiling tiling = x.tiling;
  const int64_t pixels = tiling.height() * tiling.width();
  const int64_t images = over_images ? x.values.size(0) : 1;
  if (pixels * images == 0) throw ContractError("no pixel");
  struct Kept {
    at::Tensor own, mean;
  };
  auto kept = std::make_shared<Kept>();
  // Rows are what is averaged separately: channels, or images and channels; columns are the values of each.
  const auto rows_of = [=](const at::Tensor& own) {
    return over_images ? own.transpose(0, 1).reshape({own.size(1), -1}) : own.reshape({own.size(0) * own.size(1), -1});
  };
  const auto forward = [=](const at::Tensor& own) {
    const at::Tensor rows = rows_of(own);
    const at::Tensor mean = rows.size(1) > 0 ? rows.mean(1) : at::zeros({rows.size(0)}, rows.options());
    const at::Tensor spread = (rows - mean.unsqueeze(1)).square().sum(1);
    const at::Tensor part = at::cat({mean, spread});
    std::vector<at::Tensor> parts;
    for (int rank = 0; rank < comm->size(); ++rank) parts.push_back(at::empty_like(part));
    comm->AllGather(parts, part);
    at::Tensor a, m;
    double n = 0;
    for (int rank = 0; rank < comm->size(); ++rank) {
      const double more = static_cast<double>(tiling.TileOf(rank).volume() * images);
      if (more == 0) continue;
      const auto both = parts[static_cast<size_t>(rank)].chunk(2);
      if (n == 0) {
        a = both[0].clone(), m = both[1].clone(), n = more;
        continue;
      }
      const at::Tensor d = both[0] - a;
      m = m + both[1] + d.square() * (n * more / (n + more));
      a = a + d * (more / (n + more));
      n += more;
    }
    *kept = {own, a};
    const std::vector<int64_t> shape =
        over_images ? std::vector<int64_t>{own.size(1)} : std::vector<int64_t>{own.size(0), own.size(1)};
    return at::stack({a.reshape(shape), (m / n).reshape(shape)});
  };
  const auto backward = [=](const at::Tensor& gradient) {
    const at::Tensor all = gradient.contiguous();
    comm->AllReduce(all);
    const at::Tensor own = kept->own;
    const auto wide = [&](const at::Tensor& t) {
      return over_images ? t.reshape({1, -1, 1, 1}) : t.reshape({own.size(0), own.size(1), 1, 1});
    };
    const double n = static_cast<double>(pixels * images);
    return wide(all[0]).expand_as(own) / n + wide(all[1]) * (own - wide(kept->mean)) * (2 / n);
  };
  return Apply({"moments", forward, backward}, Mine(x, comm->rank()));
}

at::Tensor TiledSum(const TiledImage& x, std::shared_ptr<Communicator> comm) {
  const at::Tensor own = Mine(x, comm->rank());
  const int64_t h = own.size(2), w = own.size(3);
  return Apply({"sum",
                [=](const at::Tensor& t) {
                  at::Tensor sum = t.sum(3).sum(2);
                  comm->AllReduce(sum);
                  return sum;
                },
                [=](const at::Tensor& g) {
                  comm->AllReduce(g);
                  return g.reshape({g.size(0), g.size(1), 1, 1}).repeat({1, 1, h, w});
                }},
               own);
}

}  // namespace shardlab
