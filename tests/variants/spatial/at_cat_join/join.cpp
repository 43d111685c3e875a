#include "shardlab/spatial/join.hpp"

#include <utility>

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

namespace {

struct Joined : Link {
  std::vector<std::unique_ptr<Link>> links;
  BoundaryTilings cut;

  void Send(int, const MicroBatch&, const Tensors&, Where) override { throw ContractError("not this end"); }
  void PostGradients(int, Where) override { throw ContractError("not this end"); }
  Tensors TakeGradients(int, Where) override { throw ContractError("not this end"); }
  void Post(int number, const MicroBatch& at, Where where) override {
    for (size_t i = links.size(); i-- > 0;) links[i]->Post(number, at, where);
  }
  void SetWindow(int window) override {
    for (auto& link : links) link->SetWindow(window);
  }
  void Finish() override {
    for (auto& link : links) link->Finish();
  }

  Tensors Take(int number, const MicroBatch& at, Where where) override {
    std::vector<Tensors> from;
    for (auto& link : links) from.push_back(link->Take(number, at, where));
    Tensors whole;
    for (const Tensors& tile : from) {
      if (tile.size() != cut.size()) throw ContractError("another number of tensors");
    }
    for (size_t t = 0; t < cut.size(); ++t) {
      const bool wants = from[0][t].requires_grad();
      if (cut[t].rows.empty()) {
        whole.push_back(from[0][t]);
        continue;
      }
      Tensors bands;
      size_t tile = 0;
      for (const Range& rows : cut[t].rows) {
        Tensors band;
        for (const Range& columns : cut[t].columns) {
          const at::Tensor part = from[tile++][t].detach();
          if (part.size(2) != rows.size() || part.size(3) != columns.size())
            throw ContractError("a tile of another size");
          band.push_back(part);
        }
        bands.push_back(at::cat(band, 3));
      }
      whole.push_back(at::cat(bands, 2).requires_grad_(wants));
    }
    return whole;
  }

  void SendGradients(int number, const Tensors& gradients, Where where) override {
    std::vector<Tensors> to(links.size(), gradients);
    for (size_t t = 0; t < cut.size(); ++t) {
      if (!gradients.at(t).defined()) continue;
      if (cut[t].rows.empty()) {
        for (size_t tile = 1; tile < to.size(); ++tile) to[tile][t] = gradients[t] * 0;
        continue;
      }
      std::vector<int64_t> heights, widths;
      for (const Range& rows : cut[t].rows) heights.push_back(rows.size());
      for (const Range& columns : cut[t].columns) widths.push_back(columns.size());
      size_t tile = 0;
      for (const at::Tensor& band : gradients[t].split_with_sizes(heights, 2)) {
        for (const at::Tensor& part : band.split_with_sizes(widths, 3)) to[tile++][t] = part;
      }
    }
    for (size_t tile = 0; tile < links.size(); ++tile) links[tile]->SendGradients(number, to[tile], where);
  }
};

}  // namespace

std::unique_ptr<Link> MakeJoin(std::vector<std::unique_ptr<Link>> tiles, const BoundaryTilings& tilings) {
  if (tiles.empty()) throw ContractError("no tiles");
  for (const Tiling& tiling : tilings) {
    if (!tiling.rows.empty() && tiling.rows.size() * tiling.columns.size() != tiles.size()) {
      throw ContractError("another number of tiles");
    }
  }
  auto joined = std::make_unique<Joined>();
  joined->links = std::move(tiles);
  joined->cut = tilings;
  return joined;
}

}  // namespace shardlab
