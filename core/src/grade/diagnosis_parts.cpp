// Parts of ranks that lie in the wrong place: in a tensor that is made of all ranks' parts, and on a rank that should
// have its own.

#include <algorithm>
#include <numeric>
#include <optional>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "diagnosis_general.hpp"

namespace shardlab::grade {

namespace {

using Tensors = std::vector<at::Tensor>;

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
  if (strange.empty()) return OfRanks(empty, -1, "part") + " missing: there are zeros in the place";
  if (n > 2 && empty.empty() && std::count(order.begin(), order.end(), order[0]) == n) {
    return fmt::format("every place is given the same part, rank {}'s", order[0]);
  }
  std::vector<std::string> words;
  for (const int place : strange) {
    words.push_back(fmt::format("rank {}'s part lies in rank {}'s place", order[place], place));
  }
  if (!empty.empty()) words.push_back(OfRanks(empty, -1, "part") + " missing");
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

}  // namespace

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
    all.push_back({which, [value = of_ranks[static_cast<size_t>(other)]] { return value; }});
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

}  // namespace shardlab::grade
