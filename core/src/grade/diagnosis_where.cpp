// Where the wrong elements of a tensor cluster. An observation, not a diagnosis: the simplest shape that covers all of
// them and nothing else, from lines over chunks to blocks.

#include <algorithm>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "diagnosis.hpp"
#include "shardlab/base/split.hpp"

namespace shardlab::grade {

namespace {

using Indices = std::vector<int64_t>;

/// The wrong elements, seen along each dimension.
struct Picture {
  const std::vector<bool>& wrong;
  Indices shape;
  std::vector<Indices> touched;  ///< a dimension: the indices along it at which something is wrong, ascending
  int64_t count = 0;

  Picture(const std::vector<bool>& cells, const Indices& size) : wrong(cells), shape(size) {
    std::vector<std::set<int64_t>> seen(shape.size());
    for (size_t i = 0; i < wrong.size(); ++i) {
      if (!wrong[i]) continue;
      ++count;
      const Indices index = IndexOf(static_cast<int64_t>(i));
      for (size_t dim = 0; dim < shape.size(); ++dim) seen[dim].insert(index[dim]);
    }
    for (const auto& indices : seen) touched.emplace_back(indices.begin(), indices.end());
  }

  Indices IndexOf(int64_t flat) const {
    Indices index(shape.size());
    for (size_t dim = shape.size(); dim-- > 0;) {
      index[dim] = flat % shape[dim];
      flat /= shape[dim];
    }
    return index;
  }

  /// How many elements the touched indices of these dimensions span.
  int64_t Spanned(const std::vector<size_t>& dims) const {
    int64_t elements = static_cast<int64_t>(wrong.size());
    for (const size_t dim : dims) elements = elements / shape[dim] * static_cast<int64_t>(touched[dim].size());
    return elements;
  }
  bool Partial(size_t dim) const { return static_cast<int64_t>(touched[dim].size()) < shape[dim]; }
};

/// "row", "column", "element": what one index along a dimension is called.
std::string Noun(size_t dim, size_t dims) {
  if (dims == 1) return "element";
  if (dims == 2) return dim == 0 ? "row" : "column";
  return "index";
}

/// "row 3", "rows 2 to 5", "columns 0 and 7", "index 2 of dimension 1".
std::string Named(const Indices& indices, size_t dim, size_t dims) {
  const std::string noun = Noun(dim, dims);
  const std::string many = noun == "index" ? "indices" : noun + "s";
  const std::string of = dims > 2 ? fmt::format(" of dimension {}", dim) : "";
  if (indices.size() == 1) return fmt::format("{} {}{}", noun, indices[0], of);
  if (indices.size() == 2) return fmt::format("{} {} and {}{}", many, indices[0], indices[1], of);
  return fmt::format("{} {} to {}{}", many, indices.front(), indices.back(), of);
}

bool InARow(const Indices& indices) {
  return !indices.empty() && indices.back() - indices.front() + 1 == static_cast<int64_t>(indices.size());
}

/// 2 for 1, 3, 5, 7 of 8: the step with which they go through all n; 0 if there is none.
int64_t StepThrough(const Indices& indices, int64_t n) {
  if (indices.size() < 2) return 0;
  const int64_t step = indices[1] - indices[0];
  if (step < 2 || indices.front() >= step || indices.back() + step < n || n < 4) return 0;
  for (size_t i = 1; i < indices.size(); ++i) {
    if (indices[i] - indices[i - 1] != step) return 0;
  }
  return step;
}

std::string Ordinal(int64_t n) {
  static const char* const kWords[] = {"first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"};
  return n < 8 ? kWords[n] : fmt::format("number {} (from 0)", n);
}

/// Which chunk of `ranks` covers exactly these indices of n.
std::optional<std::string> Chunk(const Indices& indices, int64_t n, int ranks) {
  if (ranks < 2 || n < ranks || !InARow(indices) || n < 4) return std::nullopt;
  for (int part = 0; part < ranks; ++part) {
    const Range range = SplitRange(n, ranks, part);
    if (range.begin != indices.front() || range.end != indices.back() + 1) continue;
    return fmt::format("the {} of {} chunks", part + 1 == ranks ? "last" : Ordinal(part), ranks);
  }
  return std::nullopt;
}

/// All but one chunk of the indices of n.
std::optional<std::string> AllChunksButOne(const Indices& indices, int64_t n, int ranks) {
  if (ranks < 3 || n < ranks) return std::nullopt;
  for (int part = 0; part < ranks; ++part) {
    const Range range = SplitRange(n, ranks, part);
    if (static_cast<int64_t>(indices.size()) != n - range.size()) continue;
    const bool none =
        std::none_of(indices.begin(), indices.end(), [&](int64_t i) { return i >= range.begin && i < range.end; });
    if (none)
      return fmt::format("everywhere but in the {} of {} chunks", part + 1 == ranks ? "last" : Ordinal(part), ranks);
  }
  return std::nullopt;
}

/// The indices next to where two of `ranks` chunks meet: what a halo between ranks that is missing makes wrong.
bool WhereChunksMeet(const Indices& indices, int64_t n, int ranks) {
  if (ranks < 2 || n < 3 * ranks) return false;
  std::set<int64_t> seams;
  for (int part = 1; part < ranks; ++part) {
    const int64_t begin = SplitRange(n, ranks, part).begin;
    seams.insert({begin - 1, begin});
  }
  return Indices(seams.begin(), seams.end()) == indices;
}

/// The wrong ones fill the touched indices of one dimension entirely.
std::optional<std::string> Slab(const Picture& picture, size_t dim, int ranks) {
  const size_t dims = picture.shape.size();
  const Indices& touched = picture.touched[dim];
  const int64_t n = picture.shape[dim];
  if (!picture.Partial(dim) || picture.Spanned({dim}) != picture.count) return std::nullopt;
  if (const auto chunk = Chunk(touched, n, ranks)) return fmt::format("{}, {}", *chunk, Named(touched, dim, dims));
  if (touched.size() == 1) return fmt::format("all of {}", Named(touched, dim, dims));
  if (touched.size() == 2 && touched[0] == 0 && touched[1] == n - 1 && n > 3) {
    return fmt::format("{}: the borders", Named(touched, dim, dims));
  }
  if (WhereChunksMeet(touched, n, ranks)) {
    return fmt::format("only in the {} where the {} chunks meet", Noun(dim, dims) == "row" ? "rows" : "places", ranks);
  }
  if (const int64_t step = StepThrough(touched, n)) {
    return fmt::format("every {} {}, from {} on", Ordinal(step - 1), Noun(dim, dims), Named({touched[0]}, dim, dims));
  }
  if (const auto chunks = AllChunksButOne(touched, n, ranks)) return chunks;
  if (InARow(touched)) return Named(touched, dim, dims);
  return std::nullopt;
}

/// The wrong ones lie within few indices of one dimension, without filling them.
std::optional<std::string> Within(const Picture& picture, size_t dim, int ranks) {
  const size_t dims = picture.shape.size();
  const Indices& touched = picture.touched[dim];
  const int64_t n = picture.shape[dim];
  if (touched.size() == 1 && n > 1) return fmt::format("all in {}", Named(touched, dim, dims));
  if (touched.size() == 2 && touched[0] == 0 && touched[1] == n - 1 && n > 3) {
    return fmt::format("only in {}: the borders", Named(touched, dim, dims));
  }
  for (int part = 0; ranks > 1 && n >= 2 * ranks && part < ranks; ++part) {
    const Range range = SplitRange(n, ranks, part);
    if (touched.front() < range.begin || touched.back() >= range.end) continue;
    return fmt::format("only in the {} of {} chunks", part + 1 == ranks ? "last" : Ordinal(part), ranks);
  }
  return std::nullopt;
}

/// The frame of the last two dimensions: what a halo that is missing makes wrong.
bool OnlyTheBorder(const Picture& picture) {
  const size_t dims = picture.shape.size();
  if (dims < 2 || picture.shape[dims - 2] < 4 || picture.shape[dims - 1] < 4) return false;
  for (size_t i = 0; i < picture.wrong.size(); ++i) {
    if (!picture.wrong[i]) continue;
    const Indices index = picture.IndexOf(static_cast<int64_t>(i));
    const int64_t row = index[dims - 2], column = index[dims - 1];
    const bool border =
        row == 0 || row + 1 == picture.shape[dims - 2] || column == 0 || column + 1 == picture.shape[dims - 1];
    if (!border) return false;
  }
  return true;
}

std::optional<std::string> Block(const Picture& picture) {
  std::vector<size_t> all;
  std::vector<std::string> words;
  for (size_t dim = 0; dim < picture.shape.size(); ++dim) {
    if (!InARow(picture.touched[dim])) return std::nullopt;
    all.push_back(dim);
    if (picture.Partial(dim)) words.push_back(Named(picture.touched[dim], dim, picture.shape.size()));
  }
  if (words.size() < 2 || picture.Spanned(all) != picture.count) return std::nullopt;
  return fmt::format("one block: {}", fmt::join(words, ", "));
}

/// A run of elements in row-major order: what a flat buffer shows.
std::optional<std::string> FlatRun(const Picture& picture, int ranks) {
  const auto n = static_cast<int64_t>(picture.wrong.size());
  Indices flat;
  for (int64_t i = 0; i < n; ++i) {
    if (picture.wrong[static_cast<size_t>(i)]) flat.push_back(i);
  }
  if (const int64_t step = StepThrough(flat, n)) {
    return fmt::format("every {} element, from element {} on, in row-major order", Ordinal(step - 1), flat[0]);
  }
  if (!InARow(flat)) return std::nullopt;
  const std::string range = fmt::format("elements {} to {} in row-major order", flat.front(), flat.back());
  if (const auto chunk = Chunk(flat, n, ranks)) return fmt::format("{}, {}", *chunk, range);
  return range;
}

std::optional<std::string> Diagonal(const Picture& picture) {
  if (picture.shape.size() != 2 || picture.shape[0] != picture.shape[1] || picture.shape[0] < 3) return std::nullopt;
  int64_t on = 0, above = 0, below = 0;
  for (size_t i = 0; i < picture.wrong.size(); ++i) {
    if (!picture.wrong[i]) continue;
    const Indices index = picture.IndexOf(static_cast<int64_t>(i));
    ++(index[0] == index[1] ? on : index[0] < index[1] ? above : below);
  }
  const int64_t n = picture.shape[0];
  if (on == n && above + below == 0) return "the diagonal";
  if (on == 0 && above + below == n * (n - 1)) return "everywhere but on the diagonal";
  return std::nullopt;
}

}  // namespace

std::string WhereWrong(const std::vector<bool>& wrong, const std::vector<int64_t>& shape, int ranks) {
  const Picture picture(wrong, shape);
  const auto total = static_cast<int64_t>(wrong.size());
  if (shape.empty() || picture.count < 2 || picture.count == total) return "";
  for (size_t dim = 0; dim < shape.size(); ++dim) {
    if (const auto slab = Slab(picture, dim, ranks)) return *slab;
  }
  if (const auto diagonal = Diagonal(picture)) return *diagonal;
  if (const auto block = Block(picture)) return *block;
  if (const auto run = FlatRun(picture, ranks)) return *run;
  if (picture.count < 3) return "";
  for (size_t dim = 0; dim < shape.size(); ++dim) {
    if (const auto within = Within(picture, dim, ranks)) return *within;
  }
  if (OnlyTheBorder(picture)) return "only on the border of the last two dimensions";
  return "";
}

}  // namespace shardlab::grade
