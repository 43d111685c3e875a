#include "tile_tensor.hpp"

#include <algorithm>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <fmt/format.h>
#include <torch/library.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

namespace {

const TileTensorImpl* ImplOf(const at::Tensor& tensor) {
  return IsTileTensor(tensor) ? static_cast<const TileTensorImpl*>(tensor.unsafeGetTensorImpl()) : nullptr;
}

// The pixels `held` of a tensor that has those of the whole image: a mask, say. Sides of 1 stand for all pixels alike.
at::Tensor PartOfWhole(const at::Tensor& whole, const Box& held, int64_t height, int64_t width) {
  at::Tensor part = whole;
  const Range rows = held.ranges[0], columns = held.ranges[1];
  if (part.dim() >= 1 && part.size(-1) == width && width > 1) part = part.slice(-1, columns.begin, columns.end);
  if (part.dim() >= 2 && part.size(-2) == height && height > 1) part = part.slice(-2, rows.begin, rows.end);
  return part;
}

void AskTiles(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  TileCall call(op, stack);
  const TileRule rule = FindTileRule(call.name());
  if (rule == nullptr) call.Refuse("");
  const c10::impl::ExcludeDispatchKeyGuard inside(kTileKey);
  rule(call);
}

}  // namespace

TORCH_LIBRARY_IMPL(_, TESTING_ONLY_GenericWrapper, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&AskTiles>());
}

TileTensorImpl::TileTensorImpl(TiledImage its_image, std::shared_ptr<TileOps> its_ops)
    : c10::TensorImpl(c10::DispatchKeySet(kTileKey), its_image.values.dtype(), its_image.values.device()),
      image(std::move(its_image)),
      ops(std::move(its_ops)) {
  const int64_t channels = image.values.size(1), height = image.tiling.height(), width = image.tiling.width();
  const std::vector<int64_t> sizes{image.values.size(0), channels, height, width};
  const std::vector<int64_t> strides{channels * height * width, height * width, width, 1};
  set_sizes_and_strides(at::IntArrayRef(sizes), at::IntArrayRef(strides));
}

at::Tensor ViewOfPixels(const at::Tensor& x, const Box& box) {
  return x.slice(2, box.ranges[0].begin, box.ranges[0].end).slice(3, box.ranges[1].begin, box.ranges[1].end);
}

at::Tensor Cropped(const TiledImage& image, const Tiling& to, int rank) {
  const Box box = to.TileOf(rank);
  // An empty box may lie anywhere, also where the rank has nothing.
  if (box.empty()) return ViewOfPixels(image.values, {{{0, box.ranges[0].size()}, {0, box.ranges[1].size()}}});
  return ViewOfPixels(image.values, Relative(box, image.held.TileOf(rank)));
}

const TileTensorImpl& TileOf(const at::Tensor& tensor) {
  const TileTensorImpl* impl = ImplOf(tensor);
  if (impl == nullptr) throw ContractError("this is no tile tensor");
  return *impl;
}

at::Tensor MakeTileTensor(TiledImage image, std::shared_ptr<TileOps> ops) {
  return at::detail::make_tensor<TileTensorImpl>(std::move(image), std::move(ops));
}

bool IsTileTensor(const at::Tensor& tensor) {
  return tensor.defined() && tensor.unsafeGetTensorImpl()->key_set().has(kTileKey);
}

const TiledImage& TilesOf(const at::Tensor& tensor) { return TileOf(tensor).image; }

TileCall::TileCall(const c10::OperatorHandle& op, torch::jit::Stack* stack)
    : op_(op), stack_(stack), base_(stack->size() - op.schema().arguments().size()) {
  for (size_t i = base_; i < stack_->size() && first_ == nullptr; ++i) {
    const c10::IValue& value = (*stack_)[i];
    if (value.isTensor()) first_ = ImplOf(value.toTensor());
    if (!value.isTensorList()) continue;
    for (const at::Tensor& tensor : value.toTensorVector()) {
      if (first_ == nullptr) first_ = ImplOf(tensor);
    }
  }
  if (first_ == nullptr) throw ContractError(fmt::format("{}: no tile tensor among the arguments", full_name()));
}

std::string TileCall::name() const {
  const std::string& name = op_.schema().name();
  return name.substr(name.find("::") + 2);
}

std::string TileCall::full_name() const {
  const std::string& overload = op_.schema().overload_name();
  return overload.empty() ? op_.schema().name() : op_.schema().name() + "." + overload;
}

const c10::IValue& TileCall::arg(size_t i) const { return stack_->at(base_ + i); }

at::Tensor TileCall::TensorAt(size_t i) const { return arg(i).isTensor() ? arg(i).toTensor() : at::Tensor(); }

std::vector<int64_t> TileCall::IntsAt(size_t i) const {
  const c10::IValue& value = arg(i);
  if (value.isNone()) return {};
  if (value.isInt()) return {value.toInt()};
  std::vector<int64_t> ints;
  for (const c10::IValue& one : value.toList()) ints.push_back(one.toInt());
  return ints;
}

std::vector<int64_t> TileCall::PairAt(size_t i) const {
  std::vector<int64_t> pair = IntsAt(i);
  if (pair.size() == 1) pair.push_back(pair[0]);
  return pair;
}

int64_t TileCall::IntAt(size_t i, int64_t or_none) const { return arg(i).isNone() ? or_none : arg(i).toInt(); }

void TileCall::Return(at::Tensor result) {
  stack_->resize(base_);
  stack_->emplace_back(std::move(result));
}

at::Tensor TileCall::Tiles(at::Tensor values, const Tiling& tiling) const {
  return Tiles(std::move(values), tiling, tiling);
}

at::Tensor TileCall::Tiles(at::Tensor values, const Tiling& tiling, const Tiling& held) const {
  return MakeTileTensor({std::move(values), tiling, held}, first_->ops);
}

void TileCall::Refuse(const std::string& why) const {
  throw ContractError(fmt::format("{} has no form on tiles{}{}", full_name(), why.empty() ? "" : ": ", why));
}

// Within a group of fused halos two branches can have halos of different widths: what both have is enough.
void TileCall::FindCommonPixels() {
  common_ = first_->image.held;
  const auto look_at = [this](const at::Tensor& tensor) {
    const TileTensorImpl* tiles = ImplOf(tensor);
    if (tiles == nullptr || tiles->image.tiling != first_->image.tiling) return;
    const auto meet = [](std::vector<Range>& mine, const std::vector<Range>& theirs) {
      for (size_t i = 0; i < mine.size(); ++i) {
        mine[i].begin = std::max(mine[i].begin, theirs[i].begin);
        mine[i].end = std::max(mine[i].begin, std::min(mine[i].end, theirs[i].end));
      }
    };
    meet(common_.rows, tiles->image.held.rows);
    meet(common_.columns, tiles->image.held.columns);
  };
  for (size_t i = base_; i < stack_->size(); ++i) {
    const c10::IValue& value = (*stack_)[i];
    if (value.isTensor()) look_at(value.toTensor());
    if (!value.isTensorList()) continue;
    for (const at::Tensor& tensor : value.toTensorVector()) look_at(tensor);
  }
}

at::Tensor TileCall::PixelsOf(const at::Tensor& argument) const {
  const TileTensorImpl* tiles = ImplOf(argument);
  const Box mine = common_.TileOf(first_->ops->rank());
  if (tiles == nullptr) {
    return argument.defined() ? PartOfWhole(argument, mine, first_->image.tiling.height(), first_->image.tiling.width())
                              : argument;
  }
  if (tiles->image.held == common_) return tiles->image.values;
  if (tiles->image.tiling == first_->image.tiling) return Cropped(tiles->image, common_, first_->ops->rank());
  // Two images of one size can be cut differently, where odd sides were halved in two ways.
  return first_->ops->Retile(tiles->image, common_);
}

void TileCall::RunOnPixels() {
  const at::Tensor self = TensorAt(0);
  FindCommonPixels();
  const bool in_place = op_.schema().is_mutable();
  if (in_place && !IsTileTensor(self)) Refuse("it would change a tensor that is whole by an image that is not");
  if (in_place && common_ != first_->image.held) Refuse("in place, by an image with a narrower halo");
  for (size_t i = base_; i < stack_->size(); ++i) {
    c10::IValue& value = (*stack_)[i];
    if (value.isTensor()) {
      value = PixelsOf(value.toTensor());
    } else if (value.isTensorList()) {
      std::vector<at::Tensor> tensors = value.toTensorVector();
      for (at::Tensor& tensor : tensors) tensor = PixelsOf(tensor);
      value = c10::IValue(tensors);
    }
  }
  op_.callBoxed(stack_);
  for (size_t i = stack_->size() - op_.schema().returns().size(); i < stack_->size(); ++i) {
    c10::IValue& value = (*stack_)[i];
    if (value.isTensor()) value = in_place ? self : Tiles(value.toTensor(), first_->image.tiling, common_);
  }
}

}  // namespace shardlab
