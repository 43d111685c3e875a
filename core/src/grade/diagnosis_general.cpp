// The mistakes that can happen to any tensor. From what needs most knowledge to what needs least: a hypothesis that
// names a rank is worth more than one that names a factor.

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "diagnosis.hpp"
#include "shardlab/base/split.hpp"

namespace shardlab::grade {

namespace {

using Tensors = std::vector<at::Tensor>;
using Numbers = std::vector<double>;

Hypothesis Known(const std::string& meaning, const at::Tensor& value) {
  return {meaning, [value] { return value; }};
}

bool AllDefined(const Tensors& tensors) {
  return std::all_of(tensors.begin(), tensors.end(), [](const at::Tensor& tensor) { return tensor.defined(); });
}

/// "rank 2's summand is", "the summands of ranks 0 and 2 are".
std::string Of(const std::vector<int>& ranks, int own, const std::string& thing) {
  if (ranks.size() == 1) return fmt::format("rank {}'s {}{} is", ranks[0], ranks[0] == own ? "own " : "", thing);
  std::vector<int> first(ranks.begin(), ranks.end() - 1);
  return fmt::format("the {}s of ranks {} and {} are", thing, fmt::join(first, ", "), ranks.back());
}

// ---------------------------------------------------------------------------------------------- a sum over the ranks

/// In the dtype in which sums of any order are exact.
at::Tensor Exact(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.detach().to(at::kCPU);
  return plain.to(at::isIntegralType(plain.scalar_type(), /*includeBool=*/true) ? at::kLong : at::kDouble);
}

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
  if (!missing.empty()) text = Of(missing, rank, "summand") + " missing from the sum";
  if (!twice.empty()) text += (text.empty() ? "" : " and ") + Of(twice, rank, "summand") + " counted twice";
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

// -------------------------------------------------------------------------------------------- parts, one behind
// another

constexpr int kZero = -1;

/// "the ranks' parts lie in reverse order". `order[place]` is the rank whose part lies there, or kZero.
std::string InWords(const std::vector<int>& order) {
  const int n = static_cast<int>(order.size());
  std::vector<int> empty, strange;
  for (int place = 0; place < n; ++place) {
    if (order[place] == kZero) empty.push_back(place);
    if (order[place] != kZero && order[place] != place) strange.push_back(place);
  }
  std::vector<int> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  const bool each_once = std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end() && empty.empty();
  if (each_once) {
    if (strange.size() == 2) {
      return fmt::format("the parts of ranks {} and {} have changed places", strange[0], strange[1]);
    }
    bool reversed = true;
    bool turned = true;
    const int by = (n - order[0]) % n;  // rank 0's part lies at this place
    for (int place = 0; place < n; ++place) {
      reversed = reversed && order[place] == n - 1 - place;
      turned = turned && order[place] == (place - by + n) % n;
    }
    if (reversed) return "the ranks' parts lie in reverse order";
    if (turned && by == 1) return "every rank's part lies one place too far back (an index that is off by one)";
    if (turned && by == n - 1) return "every rank's part lies one place too far in front (an index that is off by one)";
    if (turned) return fmt::format("the ranks' parts are turned by {} places", by);
    return fmt::format("the ranks' parts lie in the order {}", fmt::join(order, ", "));
  }
  if (strange.empty()) return Of(empty, -1, "part") + " missing: there are zeros in the place";
  if (n > 2 && empty.empty() && std::count(order.begin(), order.end(), order[0]) == n) {
    return fmt::format("every place is given the same part, rank {}'s", order[0]);
  }
  std::vector<std::string> words;
  for (const int place : strange) {
    words.push_back(fmt::format("rank {}'s part lies in rank {}'s place", order[place], place));
  }
  if (!empty.empty()) words.push_back(Of(empty, -1, "part") + " missing");
  if (words.size() > 3) return fmt::format("the places of the parts hold those of ranks {}", fmt::join(order, ", "));
  return fmt::format("{}", fmt::join(words, " and "));
}

at::Tensor Joined(const Tensors& pieces, const std::vector<int>& order, int64_t dim) {
  Tensors parts;
  for (size_t place = 0; place < order.size(); ++place) {
    parts.push_back(order[place] == kZero ? at::zeros_like(pieces[place]) : pieces[static_cast<size_t>(order[place])]);
  }
  return at::cat(parts, dim);
}

/// Which rank's part lies in each place of `got`; nothing where some place holds none of them.
std::optional<std::vector<int>> OrderIn(const at::Tensor& got, const Tensors& pieces, int64_t dim) {
  std::vector<int> order;
  int64_t begin = 0;
  for (size_t place = 0; place < pieces.size(); ++place) {
    const at::Tensor here = got.narrow(dim, begin, pieces[place].size(dim));
    begin += pieces[place].size(dim);
    std::optional<int> found;
    for (size_t shift = 0; shift < pieces.size() && !found; ++shift) {  // its own first
      const size_t of = (place + shift) % pieces.size();
      if (pieces[of].sizes() == here.sizes() && at::equal(pieces[of], here)) found = static_cast<int>(of);
    }
    if (!found && here.count_nonzero().item<int64_t>() == 0) found = kZero;
    if (!found) return std::nullopt;
    order.push_back(*found);
  }
  return order;
}

void AddOrders(std::vector<Hypothesis>& all, const at::Tensor& whole, const Label& label) {
  const Tensors& pieces = label.pieces;
  if (pieces.size() < 2 || !AllDefined(pieces) || pieces[0].dim() == 0) return;
  // Pieces without a shape are chunks of the flattened tensor.
  const bool flat = pieces[0].dim() == 1;
  const at::Tensor got = flat ? whole.reshape({-1}) : whole;
  const std::vector<int64_t> shape = whole.sizes().vec();
  const int64_t dim = label.dim < 0 ? label.dim + pieces[0].dim() : label.dim;
  int64_t total = 0;
  bool even = true;
  for (const at::Tensor& piece : pieces) {
    total += piece.size(dim);
    even = even && piece.sizes() == pieces[0].sizes() && piece.scalar_type() == got.scalar_type();
  }
  std::vector<int> right(pieces.size());
  std::iota(right.begin(), right.end(), 0);
  const auto joined = [&](const std::vector<int>& order) {
    return Hypothesis{InWords(order), [=] {
                        const at::Tensor value = Joined(pieces, order, dim);
                        return flat ? value.reshape(shape) : value;
                      }};
  };
  if (got.dim() == pieces[0].dim() && got.size(dim) == total && got.scalar_type() == pieces[0].scalar_type()) {
    const auto order = OrderIn(got, pieces, dim);
    if (order && *order != right) all.push_back(joined(*order));
  }
  if (!even && pieces.size() <= 5) {
    std::vector<int> order = right;
    while (std::next_permutation(order.begin(), order.end())) all.push_back(joined(order));
  }
  if (even && !flat) {
    all.push_back({"the ranks' parts are interleaved, element by element, instead of one behind the other",
                   [pieces, dim] { return at::stack(pieces, dim + 1).flatten(dim, dim + 1); }});
  }
  for (int64_t other = 0; even && other < pieces[0].dim(); ++other) {
    if (other == dim) continue;
    all.push_back({fmt::format("the ranks' parts are joined along dimension {} instead of dimension {}", other, dim),
                   [pieces, other] { return at::cat(pieces, other); }});
  }
}

// ------------------------------------------------------------------------------------------------ another rank's

void AddOthers(std::vector<Hypothesis>& all, const at::Tensor& got, const at::Tensor& expected, const Label& label,
               int rank) {
  const Tensors& of_ranks = label.of_ranks;
  const int ranks = static_cast<int>(of_ranks.size());
  for (int other = 0; other < ranks; ++other) {
    if (other == rank || !of_ranks[static_cast<size_t>(other)].defined()) continue;
    std::string which = fmt::format("it is rank {}'s part, and not rank {}'s own", other, rank);
    if (ranks > 2 && other == (rank + 1) % ranks) which += ": the right neighbour's, an index that is off by one";
    if (ranks > 2 && other == (rank + ranks - 1) % ranks)
      which += ": the left neighbour's, an index that is off by one";
    all.push_back(Known(which, of_ranks[static_cast<size_t>(other)]));
  }
  if (ranks < 2 || !AllDefined(of_ranks)) return;
  for (int64_t dim = 0; dim < expected.dim() && dim < got.dim(); ++dim) {
    const bool fit = std::all_of(of_ranks.begin(), of_ranks.end(), [&](const at::Tensor& part) {
      if (part.dim() != expected.dim()) return false;
      for (int64_t d = 0; d < part.dim(); ++d) {
        if (d != dim && part.size(d) != expected.size(d)) return false;
      }
      return true;
    });
    if (!fit) continue;
    all.push_back({fmt::format("it is the whole, and not rank {}'s part of it", rank),
                   [of_ranks, dim] { return at::cat(of_ranks, dim); }});
    all.push_back(
        {"it is cut as LibTorch's chunk cuts: SplitRange gives the first n % T ranks one more, and LibTorch's "
         "chunk divides differently",
         [of_ranks, dim, ranks, rank] {
           const Tensors chunks = at::cat(of_ranks, dim).chunk(ranks, dim);
           return rank < static_cast<int>(chunks.size()) ? chunks[static_cast<size_t>(rank)] : at::Tensor();
         }});
    all.push_back({"the last rank is given the whole remainder: SplitRange gives the first n % T ranks one more",
                   [of_ranks, dim, ranks, rank] {
                     const at::Tensor whole = at::cat(of_ranks, dim);
                     const int64_t size = whole.size(dim) / ranks;
                     const int64_t begin = rank * size;
                     return whole.narrow(dim, begin, rank + 1 == ranks ? whole.size(dim) - begin : size);
                   }});
  }
}

// ------------------------------------------------------------------------------------------------ factors and places

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
    const std::string of_these = fmt::format("{}", fmt::join(of, " or of "));
    const int64_t factor = value;
    all.push_back(
        {fmt::format("it is {} times as large, the number of {}: something that every one has whole is summed, or "
                     "a division is missing",
                     value, of_these),
         [wide, factor] { return wide * factor; }});
    if (!expected.is_floating_point()) continue;
    all.push_back(
        {fmt::format("it is divided by {}, the number of {}: a mean over the {} where the sum belongs, or a division "
                     "too many",
                     value, of_these, of[0]),
         [wide, factor] { return wide / static_cast<double>(factor); }});
  }
}

std::string Along(int64_t dim, int64_t dims) {
  if (dims == 1) return "";
  if (dims == 2) return dim == 0 ? " (by rows)" : " (by columns)";
  return fmt::format(" along dimension {}", dim);
}

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
    all.push_back(Known(fmt::format("it is transposed: {} swapped", what), turned));
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

}  // namespace

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
