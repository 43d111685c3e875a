// A sum over the ranks that is not the sum: how often each rank's summand is in it.

#include <algorithm>
#include <cmath>
#include <optional>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "diagnosis_general.hpp"
#include "shardlab/base/split.hpp"

namespace shardlab::grade {

namespace {

using Tensors = std::vector<at::Tensor>;
using Numbers = std::vector<double>;

at::Tensor Combined(const Tensors& summands, const std::vector<int>& times) {
  at::Tensor sum = at::zeros_like(Exact(summands[0]));
  for (size_t i = 0; i < summands.size(); ++i) {
    if (times[i] != 0) sum.add_(Exact(summands[i]), times[i]);
  }
  return sum;
}

std::string InWords(const std::vector<int>& times, int rank) {
  std::vector<int> missing, once, twice;
  for (size_t i = 0; i < times.size(); ++i) {
    (times[i] == 0 ? missing : times[i] == 1 ? once : twice).push_back(static_cast<int>(i));
  }
  if (twice.size() == times.size()) return "every rank's summand is counted twice";
  if (once.size() == 1 && twice.empty()) {
    if (once[0] == rank) return fmt::format("nothing is added up: it is rank {}'s own summand alone", rank);
    return fmt::format("rank {}'s summand overwrites the sum instead of being added to it", once[0]);
  }
  std::string text;
  if (!missing.empty()) text = OfRanks(missing, rank, "summand") + " missing from the sum";
  if (!twice.empty()) text += (text.empty() ? "" : " and ") + OfRanks(twice, rank, "summand") + " counted twice";
  return text;
}

/// How often each rank's summand is in `got`: 0, 1 or 2 times; of several that fit, the one with the fewest mistakes.
std::optional<std::vector<int>> TimesCounted(const at::Tensor& got, const Tensors& summands) {
  constexpr size_t kMost = 8;  // 3^8 combinations
  const size_t n = summands.size();
  if (n < 2 || n > kMost || !AllDefined(summands) || got.numel() == 0) return std::nullopt;
  std::vector<Numbers> columns;
  for (const at::Tensor& summand : summands) {
    if (summand.sizes() != got.sizes() || summand.is_complex()) return std::nullopt;
    const at::Tensor flat = summand.detach().to(at::kCPU, at::kDouble).contiguous();
    columns.emplace_back(flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel());
  }
  const at::Tensor flat = got.detach().to(at::kCPU, at::kDouble).contiguous();
  const auto* wanted = flat.data_ptr<double>();
  double largest = 0;
  for (const Numbers& column : columns) {
    for (const double value : column) largest = std::max(largest, std::abs(value));
  }
  // Rounding, of a sum in the tensor's own dtype; Diagnose looks closer.
  const double close = largest * (got.scalar_type() == at::kHalf || got.scalar_type() == at::kBFloat16 ? 1e-2 : 1e-5);

  std::optional<std::vector<int>> best;
  int fewest = static_cast<int>(n) + 1;
  std::vector<int> times(n, 0);
  for (bool more = true; more;) {
    const int mistakes = static_cast<int>(n - static_cast<size_t>(std::count(times.begin(), times.end(), 1)));
    bool same = mistakes > 0 && mistakes < fewest && std::any_of(times.begin(), times.end(), [](int t) { return t; });
    for (int64_t i = 0; same && i < flat.numel(); ++i) {
      double sum = 0;
      for (size_t r = 0; r < n; ++r) sum += times[r] * columns[r][static_cast<size_t>(i)];
      same = std::abs(sum - wanted[i]) <= close;
    }
    if (same) {
      best = times;
      fewest = mistakes;
    }
    size_t digit = 0;
    while (digit < n && ++times[digit] == 3) times[digit++] = 0;
    more = digit < n;
  }
  return best;
}

/// As TimesCounted, in every chunk of a ring by itself.
void AddChunkwiseSums(std::vector<Hypothesis>& all, const at::Tensor& got, const Tensors& summands, int rank) {
  constexpr int64_t kFewest = 4;  // smaller chunks are explained by too many combinations
  const auto n = static_cast<int64_t>(summands.size());
  if (n > 5 || got.numel() < kFewest * n || got.sizes() != summands[0].sizes()) return;
  std::vector<std::vector<int>> times_in;
  std::vector<std::string> words;
  Tensors values;
  bool one_each = true;
  int off = -1;  // in a chunk with one mistake: 0 where a summand is missing, 2 where it is counted twice
  for (int64_t chunk = 0; chunk < n; ++chunk) {
    const Range range = SplitRange(got.numel(), n, chunk);
    const auto cut = [&](const at::Tensor& whole) { return whole.reshape({-1}).narrow(0, range.begin, range.size()); };
    Tensors parts;
    for (const at::Tensor& summand : summands) parts.push_back(cut(summand));
    std::vector<int> right(summands.size(), 1);
    const bool is_right = at::equal(Combined(parts, right).to(got.scalar_type()), cut(got));
    const std::optional<std::vector<int>> times = is_right ? right : TimesCounted(cut(got), parts);
    if (!times) return;
    const auto wrong = n - std::count(times->begin(), times->end(), 1);
    if (wrong == 1) {
      const int how = *std::find_if(times->begin(), times->end(), [](int t) { return t != 1; });
      one_each = one_each && (off == -1 || off == how);
      off = how;
    }
    one_each = one_each && wrong == 1;
    if (wrong > 0) words.push_back(fmt::format("in chunk {} {}", chunk, InWords(*times, rank)));
    values.push_back(Combined(parts, *times));
  }
  std::string meaning = fmt::format("{}", fmt::join(words, "; "));
  if (one_each) {
    meaning = off == 0 ? "in every chunk one rank's summand is missing: there is one round too few"
                       : "in every chunk one rank's summand is counted twice: there is one round too many";
  } else if (words.size() > 3) {
    return;
  }
  const std::vector<int64_t> shape = got.sizes().vec();
  all.push_back({meaning, [values, shape] { return at::cat(values).reshape(shape); }});
}

}  // namespace

void AddSums(std::vector<Hypothesis>& all, const at::Tensor& got, const Label& label, int rank) {
  const Tensors& summands = label.summands;
  if (summands.size() < 2 || !AllDefined(summands)) return;
  if (const auto times = TimesCounted(got, summands)) {
    all.push_back({InWords(*times, rank), [summands, times] { return Combined(summands, *times); }});
  } else {
    AddChunkwiseSums(all, got, summands, rank);
  }
  if (got.is_floating_point()) {
    all.push_back(
        {fmt::format("the ranks' summands are averaged: it is their sum divided by {}", summands.size()), [summands] {
           return Combined(summands, std::vector<int>(summands.size(), 1)) / static_cast<double>(summands.size());
         }});
  }
}

}  // namespace shardlab::grade
