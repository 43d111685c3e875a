#include "operators_on_ranks.hpp"

#include <ATen/ATen.h>

#include <utility>

#include "kit/hypotheses.hpp"
#include "kit/parts.hpp"
#include "shardlab/base/split.hpp"

namespace shardlab::grade {
namespace {

Label With(std::vector<Hypothesis> hypotheses) {
  Label label;
  label.hypotheses = std::move(hypotheses);
  return label;
}

Label SumOfAll(const Tensors& summands, std::vector<Hypothesis> hypotheses) {
  Label label = With(std::move(hypotheses));
  label.summands = summands;
  return label;
}

Label JoinedFrom(const Tensors& pieces, int64_t dim, std::vector<Hypothesis> hypotheses = {}) {
  Label label = With(std::move(hypotheses));
  label.pieces = pieces;
  label.dim = dim;
  return label;
}

/// `slice` in its place, and zeros elsewhere.
at::Tensor AmongZeros(const Tensors& slices, int64_t dim, int rank) {
  Tensors parts;
  for (const at::Tensor& slice : slices) parts.push_back(at::zeros_like(slice));
  parts[rank] = slices[rank];
  return at::cat(parts, dim);
}

Tensors Slices(const at::Tensor& whole, int64_t dim, int ranks) {
  Tensors slices;
  for (int rank = 0; rank < ranks; ++rank) {
    const Range mine = SplitRange(whole.size(dim), ranks, rank);
    slices.push_back(whole.narrow(dim, mine.begin, mine.size()).contiguous());
  }
  return slices;
}

Tensors OwnSlices(const Tensors& wholes, int64_t dim) {
  Tensors slices;
  for (size_t rank = 0; rank < wholes.size(); ++rank) {
    slices.push_back(Slices(wholes[rank], dim, static_cast<int>(wholes.size()))[rank]);
  }
  return slices;
}

std::vector<std::vector<int64_t>> SliceShapes(int ranks, std::vector<int64_t> whole, int64_t dim) {
  std::vector<std::vector<int64_t>> shapes;
  for (int64_t size : SplitSizes(whole[dim], ranks)) {
    shapes.push_back(whole);
    shapes.back()[dim] = size;
  }
  return shapes;
}

Tensors Exchange(const Tensors& inputs, const Matrix& rows) {
  Tensors results;
  for (size_t to = 0; to < inputs.size(); ++to) {
    Tensors parts;
    for (size_t from = 0; from < inputs.size(); ++from) {
      parts.push_back(RowsOf(inputs[from], rows[from], static_cast<int>(to)));
    }
    results.push_back(at::cat(parts));
  }
  return results;
}

}  // namespace

Operator CopyOnRanks(int ranks, const Shape& shape) {
  const std::vector<Shape> shapes(ranks, shape);
  return {{{"op", "Copy"}},
          shapes,
          shapes,
          [](const Tensors& x) { return x; },
          [=](const Tensors& g) { return Everywhere(ranks, SumOf(g)); },
          true,
          false,
          [](const Tensors& x, int) {
            return With({{kSumInForward, [=] { return SumOf(x); }}});
          },
          [=](const Tensors& g, int rank) {
            return SumOfAll(
                g, {{"backward is the identity: every rank keeps its own gradient, and the ranks' must be added "
                     "up (an all-reduce)",
                     [=] { return g[rank]; }},
                    {"backward takes the mean of the ranks' gradients: it must take their sum",
                     [=] { return SumOf(g) / ranks; }}});
          }};
}

Operator ReduceOnRanks(int ranks, const Shape& shape) {
  const std::vector<Shape> shapes(ranks, shape);
  return {{{"op", "Reduce"}},
          shapes,
          shapes,
          [=](const Tensors& x) { return Everywhere(ranks, SumOf(x)); },
          [](const Tensors& g) { return g; },
          false,
          true,
          [](const Tensors& x, int) { return SumOfAll(x, {}); },
          [](const Tensors& g, int) {
            return With(
                {{"backward adds the gradients up as forward does: every rank holds the whole gradient already, and "
                  "the backward of Reduce is the identity",
                  [=] { return SumOf(g); }}});
          }};
}

Operator ScatterOnRanks(int ranks, const std::vector<int64_t>& whole, int64_t dim) {
  return {{{"op", "Scatter"}, {"dim", dim}, {"size", whole[dim]}},
          std::vector<std::vector<int64_t>>(ranks, whole),
          SliceShapes(ranks, whole, dim),
          [=](const Tensors& x) { return OwnSlices(x, dim); },
          [=](const Tensors& g) { return Everywhere(ranks, at::cat(g, dim)); },
          true,
          false,
          nullptr,
          [=](const Tensors& g, int rank) {
            return JoinedFrom(g, dim,
                              {{"backward fills in this rank's slice alone: the other ranks' slices must be gathered",
                                [=] { return AmongZeros(g, dim, rank); }}});
          }};
}

Operator GatherOnRanks(int ranks, const std::vector<int64_t>& whole, int64_t dim) {
  return {
      {{"op", "Gather"}, {"dim", dim}, {"size", whole[dim]}},
      SliceShapes(ranks, whole, dim),
      std::vector<std::vector<int64_t>>(ranks, whole),
      [=](const Tensors& x) { return Everywhere(ranks, at::cat(x, dim)); },
      [=](const Tensors& g) { return OwnSlices(g, dim); },
      false,
      true,
      [=](const Tensors& x, int rank) {
        return JoinedFrom(x, dim, {{"only this rank's slice is there, among zeros: the others' must be gathered", [=] {
                                      return AmongZeros(x, dim, rank);
                                    }}});
      },
      [=](const Tensors& g, int rank) {
        return With(
            {{"backward adds the ranks' gradients up before it takes the slice: every rank holds the whole gradient "
              "already, and keeps its slice of it",
              [=] { return Slices(SumOf(g), dim, ranks)[rank]; }},
             {"backward does not take the slice", [=] { return g[rank]; }}});
      }};
}

Operator ShiftOnRanks(int ranks, bool circle, const Shape& shape) {
  std::vector<int> to, from;
  for (int rank = 0; rank < ranks; ++rank) {
    to.push_back(rank + 1 < ranks ? rank + 1 : circle && ranks > 1 ? 0 : -1);
    from.push_back(rank > 0 ? rank - 1 : circle && ranks > 1 ? ranks - 1 : -1);
  }
  const auto arriving = [](const Tensors& values, const std::vector<int>& sources) {
    Tensors result;
    for (size_t rank = 0; rank < values.size(); ++rank) {
      result.push_back(sources[rank] < 0 ? at::zeros_like(values[rank]) : values[sources[rank]]);
    }
    return result;
  };
  const std::vector<Shape> shapes(ranks, shape);
  return {{{"op", "SendReceive"}, {"to", to}, {"from", from}},
          shapes,
          shapes,
          [=](const Tensors& x) { return arriving(x, from); },
          [=](const Tensors& g) { return arriving(g, to); },
          false,
          false,
          [=](const Tensors& x, int rank) {
            return With({{"the tensors travel the wrong way round: `to` and `from` have changed places",
                          [=] { return arriving(x, to)[rank]; }},
                         {"nothing travels: it is the rank's own tensor", [=] { return x[rank]; }}});
          },
          [=](const Tensors& g, int rank) {
            return With(
                {{"backward sends the gradients on in the direction of forward: they must go back to where the tensors "
                  "came from",
                  [=] { return arriving(g, from)[rank]; }},
                 {"backward is the identity: the gradient must travel back", [=] { return g[rank]; }}});
          }};
}

Operator AllToAllOnRanks(const Matrix& rows, const Shape& row) {
  Matrix back = rows;
  std::vector<std::vector<int64_t>> input, output;
  for (size_t a = 0; a < rows.size(); ++a) {
    int64_t sent = 0, received = 0;
    for (size_t b = 0; b < rows.size(); ++b) {
      sent += rows[a][b];
      received += rows[b][a];
      back[a][b] = rows[b][a];
    }
    input.push_back(row);
    input.back().insert(input.back().begin(), sent);
    output.push_back(row);
    output.back().insert(output.back().begin(), received);
  }
  return {{{"op", "AllToAll"}, {"rows", rows}},
          input,
          output,
          [=](const Tensors& x) { return Exchange(x, rows); },
          [=](const Tensors& g) { return Exchange(g, back); },
          false,
          false,
          [=](const Tensors& x, int rank) {
            return With({{"nothing is exchanged: the rank returns its own input", [=] { return x[rank]; }}});
          },
          [=](const Tensors& g, int rank) {
            return With({{"backward is the identity: the gradients must go back to the ranks that the rows came from",
                          [=] { return g[rank]; }}});
          }};
}

}  // namespace shardlab::grade
