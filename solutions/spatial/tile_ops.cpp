#include "shardlab/spatial/tile_ops.hpp"

#include <utility>

#include "shardlab/spatial/conv.hpp"
#include "shardlab/spatial/halo_exchange.hpp"
#include "shardlab/spatial/moments.hpp"
#include "shardlab/spatial/pooling.hpp"
#include "shardlab/spatial/window.hpp"

// One table from an operation to what does it on tiles: whatever a model is made of, this is all that it needs.

namespace shardlab {

namespace {

class Table final : public TileOps {
 public:
  explicit Table(std::shared_ptr<Communicator> comm) : comm_(std::move(comm)) {}

  Tiling Outputs(const ImageWindow& window, const Tiling& tiling) override {
    return {OutputsOf(window.rows, tiling.rows), OutputsOf(window.columns, tiling.columns)};
  }
  at::Tensor Conv2d(const TiledImage& x, const at::Tensor& weight, const at::Tensor& bias, const ImageWindow& window,
                    int64_t groups, const Tiling& outputs) override {
    return TiledConv2d(x, weight, bias, window, groups, outputs, comm_);
  }
  at::Tensor MaxPool2d(const TiledImage& x, const ImageWindow& window, const Tiling& outputs) override {
    return TiledMaxPool2d(x, window, outputs, comm_);
  }
  at::Tensor AveragePool2d(const TiledImage& x, const ImageWindow& window, bool count_include_pad, int64_t divisor,
                           const Tiling& outputs) override {
    return TiledAveragePool2d(x, window, count_include_pad, divisor, outputs, comm_);
  }
  at::Tensor Moments(const TiledImage& x, bool over_images) override { return TiledMoments(x, over_images, comm_); }
  at::Tensor SumOfPixels(const TiledImage& x) override { return TiledSum(x, comm_); }
  at::Tensor Retile(const TiledImage& x, const Tiling& to) override {
    return ExchangePixels(x.values, x.held.Boxes(), to.Boxes(), comm_);
  }
  int rank() const override { return comm_->rank(); }

 private:
  std::shared_ptr<Communicator> comm_;
};

}  // namespace

std::shared_ptr<TileOps> MakeTileOps(std::shared_ptr<Communicator> comm) {
  return std::make_shared<Table>(std::move(comm));
}

}  // namespace shardlab
