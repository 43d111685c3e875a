// The mistakes that can happen to any tensor. From what needs most knowledge to what needs least: a hypothesis that
// names a rank is worth more than one that names a factor.

#include "diagnosis_general.hpp"

#include <algorithm>
#include <map>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace shardlab::grade {

bool AllDefined(const std::vector<at::Tensor>& tensors) {
  return std::all_of(tensors.begin(), tensors.end(), [](const at::Tensor& tensor) { return tensor.defined(); });
}

at::Tensor Exact(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.detach().to(at::kCPU);
  return plain.to(at::isIntegralType(plain.scalar_type(), /*includeBool=*/true) ? at::kLong : at::kDouble);
}

std::string OfRanks(const std::vector<int>& ranks, int own, const std::string& thing) {
  if (ranks.size() == 1) return fmt::format("rank {}'s {}{} is", ranks[0], ranks[0] == own ? "own " : "", thing);
  std::vector<int> first(ranks.begin(), ranks.end() - 1);
  return fmt::format("the {}s of ranks {} and {} are", thing, fmt::join(first, ", "), ranks.back());
}

void AddFactors(std::vector<Hypothesis>& all, const at::Tensor& expected, const Label& label, int ranks) {
  if (expected.scalar_type() == at::kBool) return;
  std::map<int64_t, std::vector<std::string>> names;
  names[ranks].push_back("ranks");
  for (const Factor& factor : label.factors) {
    auto& of = names[factor.value];
    if (std::find(of.begin(), of.end(), factor.of) == of.end()) of.push_back(factor.of);
  }
  const at::Tensor wide = Exact(expected);
  for (const auto& [value, of] : names) {
    if (value < 2) continue;
    const std::string of_these = fmt::format("{}", fmt::join(of, " or "));
    const int64_t factor = value;
    all.push_back(
        {fmt::format("it is added up over the {} {}: each of them has it whole, or a division by {} is missing", value,
                     of_these, value),
         [wide, factor] { return wide * factor; }});
    if (!expected.is_floating_point()) continue;
    all.push_back({fmt::format("it is averaged over the {} {} where the sum belongs, or divided by {} once too often",
                               value, of_these, value),
                   [wide, factor] { return wide / static_cast<double>(factor); }});
  }
}

namespace {

std::string Along(int64_t dim, int64_t dims) {
  if (dims == 1) return "";
  if (dims == 2) return dim == 0 ? " (by rows)" : " (by columns)";
  return fmt::format(" along dimension {}", dim);
}

}  // namespace

void AddPlaces(std::vector<Hypothesis>& all, const at::Tensor& got, const at::Tensor& expected) {
  const int64_t dims = expected.dim();
  if (got.sizes() != expected.sizes() && got.numel() == expected.numel()) {
    const std::vector<int64_t> shape = got.sizes().vec();
    all.push_back(
        {"the values are right and in order, and only the shape is lost", [=] { return expected.reshape(shape); }});
  }
  if (dims >= 2) {
    const at::Tensor turned = expected.transpose(-1, -2);
    const std::string what = dims == 2 ? "rows and columns are" : "the last two dimensions are";
    all.push_back({fmt::format("it is transposed: {} swapped", what), [turned] { return turned; }});
    all.push_back({"it is filled by columns instead of by rows: a transposed tensor was taken for a contiguous one",
                   [turned, expected] { return turned.reshape(expected.sizes()); }});
  }
  for (int64_t dim = 0; dim < dims; ++dim) {
    if (expected.size(dim) < 2) continue;
    all.push_back({fmt::format("it lies in reverse order{}", Along(dim, dims)), [=] { return expected.flip({dim}); }});
    if (expected.size(dim) < 3) continue;
    for (const int64_t by : {1, -1}) {
      all.push_back({fmt::format("everything lies one place too far {}{} (an index that is off by one)",
                                 by == 1 ? "back" : "in front", Along(dim, dims)),
                     [=] { return at::roll(expected, {by}, {dim}); }});
    }
  }
  if (expected.is_floating_point()) {
    all.push_back({"its sign is turned", [expected] { return -expected; }});
  }
}

std::vector<Hypothesis> GeneralHypotheses(const at::Tensor& got, const at::Tensor& expected, const Label& label,
                                          int rank, int ranks) {
  std::vector<Hypothesis> all;
  all.push_back(
      {"nothing is written or added here: every element is 0", [expected] { return at::zeros_like(expected); }});
  AddSums(all, got, label, rank);
  AddOrders(all, got, label);
  AddOthers(all, got, expected, label, rank);
  if (expected.is_complex()) return all;
  AddFactors(all, expected, label, ranks);
  AddPlaces(all, got, expected);
  return all;
}

}  // namespace shardlab::grade
