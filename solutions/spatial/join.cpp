#include "shardlab/spatial/join.hpp"

#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "shardlab/base/errors.hpp"

// From tiles to a whole image and back
// ====================================
// To the tiles this is an ordinary link to one rank, and to the stage behind it an ordinary link from one: neither knows of
// the other side's form. All that a join adds is where each tile's pixels go.
//
//     Take            whole = empty;   for each tile:   whole[its box] = its pixels          (1)
//     SendGradients                    for each tile:   its gradient = gradient[its box]     (2)
//
// (2) is the transpose of (1): boxes do not overlap, so there is nothing to add.

namespace shardlab {

namespace {

class Join final : public Link {
 public:
  Join(std::vector<std::unique_ptr<Link>> tiles, BoundaryTilings tilings)
      : tiles_(std::move(tiles)), tilings_(std::move(tilings)) {
    if (tiles_.empty()) throw ContractError("a join has a link to each tile, and there is none");
    for (const Tiling& tiling : tilings_) {
      if (tiling.rows.empty() || tiling.size() == static_cast<int>(tiles_.size())) continue;
      throw ContractError(fmt::format("a join of {} links cannot put together {} tiles", tiles_.size(), tiling.size()));
    }
  }

  void Post(int number, const MicroBatch& at, Where where) override {
    for (const auto& tile : tiles_) tile->Post(number, at, where);
  }

  Tensors Take(int number, const MicroBatch& at, Where where) override {
    std::vector<Tensors> parts;
    for (const auto& tile : tiles_) parts.push_back(tile->Take(number, at, where));
    Tensors whole;
    for (size_t i = 0; i < parts[0].size(); ++i) {
      if (parts[0].size() != tilings_.size()) {
        throw ContractError(
            fmt::format("the tiles send {} tensors, and {} are expected", parts[0].size(), tilings_.size()));
      }
      whole.push_back(tilings_[i].rows.empty() ? parts[0][i] : PutTogether(parts, i));
    }
    return whole;
  }

  void SendGradients(int number, const Tensors& gradients, Where where) override {
    for (size_t tile = 0; tile < tiles_.size(); ++tile) {
      Tensors mine = gradients;
      for (size_t i = 0; i < tilings_.size(); ++i) {
        if (!mine.at(i).defined()) continue;
        if (!tilings_[i].rows.empty()) {
          mine[i] = ViewOfPixels(mine[i], tilings_[i].TileOf(static_cast<int>(tile)));  // (2)
        } else if (tile > 0) {
          mine[i] = at::zeros_like(mine[i]);
        }
      }
      tiles_[tile]->SendGradients(number, mine, where);
    }
  }

  void Send(int, const MicroBatch&, const Tensors&, Where) override { Refuse(); }
  void PostGradients(int, Where) override { Refuse(); }
  Tensors TakeGradients(int, Where) override { Refuse(); }

  void SetWindow(int window) override {
    for (const auto& tile : tiles_) tile->SetWindow(window);
  }
  void Finish() override {
    for (const auto& tile : tiles_) tile->Finish();
  }

 private:
  [[noreturn]] static void Refuse() {
    throw ContractError("a join is the later end of a link: tensors come out of it");
  }

  at::Tensor PutTogether(const std::vector<Tensors>& parts, size_t i) const {
    const Tiling& tiling = tilings_[i];
    const at::Tensor& first = parts[0].at(i);
    const at::Tensor whole = at::empty({first.size(0), first.size(1), tiling.height(), tiling.width()},
                                       first.options().requires_grad(false));
    for (size_t tile = 0; tile < parts.size(); ++tile) {
      const at::Tensor place = ViewOfPixels(whole, tiling.TileOf(static_cast<int>(tile)));
      const at::Tensor& part = parts[tile].at(i);
      if (part.sizes() != place.sizes()) {
        throw ContractError(fmt::format("tile {} has not the sizes of its box {}", tile,
                                        ToString(tiling.TileOf(static_cast<int>(tile)))));
      }
      at::Tensor(place).copy_(part.detach());  // (1)
    }
    whole.set_requires_grad(first.requires_grad());
    return whole;
  }

  std::vector<std::unique_ptr<Link>> tiles_;
  BoundaryTilings tilings_;
};

}  // namespace

std::unique_ptr<Link> MakeJoin(std::vector<std::unique_ptr<Link>> tiles, const BoundaryTilings& tilings) {
  return std::make_unique<Join>(std::move(tiles), tilings);
}

}  // namespace shardlab
