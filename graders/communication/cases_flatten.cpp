#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "kit/words.hpp"
#include "shardlab/grade/referee.hpp"

// Flattening: the values, and the threads.

namespace shardlab::grade {
namespace {

using Tensors = std::vector<at::Tensor>;
using Shapes = std::vector<std::vector<int64_t>>;

/// The pieces of `flat` that belong to each shape.
Tensors PiecesOf(const at::Tensor& flat, const Shapes& shapes) {
  std::vector<int64_t> sizes;
  for (const auto& shape : shapes) sizes.push_back(c10::multiply_integers(shape));
  return flat.split_with_sizes(sizes);
}

/// Of every three tensors the body makes the third one non-contiguous: every second element of a larger one.
std::vector<Hypothesis> FlattenMistakes(const at::Tensor& flat, const Shapes& shapes, bool packing) {
  const auto of_the_strided = [=](const std::function<at::Tensor(const at::Tensor&)>& change) {
    return [=] {
      Tensors pieces = PiecesOf(flat, shapes);
      for (size_t i = 2; i < pieces.size(); i += 3) pieces[i] = change(pieces[i]);
      return at::cat(pieces);
    };
  };
  const auto spread = [](const at::Tensor& piece) { return at::stack({piece, at::zeros_like(piece)}, 1).flatten(); };
  const auto turned = [=] {
    Tensors pieces = PiecesOf(flat, shapes);
    std::reverse(pieces.begin(), pieces.end());
    return at::cat(pieces);
  };
  if (packing) {
    return {{"the memory of a non-contiguous tensor is copied as it lies: its strides are ignored",
             of_the_strided([=](const at::Tensor& piece) { return spread(piece).narrow(0, 0, piece.numel()); })},
            {"the tensors are packed from the last one to the first", turned}};
  }
  return {{"a non-contiguous tensor is written as if it were contiguous: its strides are ignored",
           of_the_strided([](const at::Tensor& piece) {
             // The view sees every second of the elements that were written one behind the other.
             const at::Tensor wide = at::cat({piece, at::zeros_like(piece)});
             return wide.slice(0, 0, 2 * piece.numel(), 2).contiguous();
           })},
          {"what belongs into a non-contiguous tensor is written into a copy of it, which is another tensor",
           of_the_strided([](const at::Tensor& piece) { return at::zeros_like(piece); })},
          {"the tensors are unpacked from the last one to the first", turned}};
}

void ExpectFlattened(CaseContext& t, const Shapes& shapes, at::ScalarType dtype, int threads, int repeats) {
  int64_t total = 0;
  for (const auto& shape : shapes) total += c10::multiply_integers(shape);
  const at::Tensor flat = t.Integers({total}, dtype);
  RunSpec spec;
  spec.body = "flatten";
  spec.threads = threads;
  spec.params = {{"shapes", shapes}, {"repeats", repeats}};
  spec.inputs["flat"] = {flat};
  const Run run = t.Launch(spec);
  const std::string which =
      fmt::format("{} tensors of {}, {} thread{}", shapes.size(), DtypeName(dtype), threads, threads == 1 ? "" : "s");
  Label packed{"what Flatten packed from " + which};
  packed.hypotheses = FlattenMistakes(flat, shapes, /*packing=*/true);
  t.ExpectEqual(run, 0, "packed", flat, packed);
  Label unpacked{"what Unflatten unpacked into " + which};
  unpacked.hypotheses = FlattenMistakes(flat, shapes, /*packing=*/false);
  t.ExpectEqual(run, 0, "unpacked", flat, unpacked);
  t.Expect(run.Number(0, "kept") == 1,
           "what Flatten returned changed when Flatten was called again; every call returns a tensor of its own (" +
               which + ")");
  t.Expect(run.Number(0, "alias") == 0, "what Flatten returned shares memory with one of the tensors (" + which + ")");
  t.Expect(
      run.Number(0, "needs_gradient") == 0,
      "what Flatten returned requires a gradient, because the tensors do: read them without the graph (" + which + ")");
  t.Expect(run.Number(0, "unchanged") == 1,
           "Flatten or Unflatten changed the tensors that it reads; they must be left as they are (" + which + ")");
  t.Expect(run.Number(0, "different") == 0,
           fmt::format("{} of {} repetitions gave other bits than the first ({}): the threads write into each other's "
                       "elements, or share a running offset",
                       run.Number(0, "different"), repeats, which));
}

/// Many tensors of very different sizes, some without elements.
Shapes ManyShapes(CaseContext& t) {
  Shapes shapes = {{3, 4, 5}, {}, {0, 7}, {100, 31}};
  for (int i = 0; i < 200; ++i) shapes.push_back({t.Integer(0, 9), t.Integer(1, 40)});
  shapes.push_back({20000});
  shapes.push_back({0});
  return shapes;
}

}  // namespace

SHARDLAB_CASE(autograd, flatten, kValue, {1}) {
  ExpectFlattened(t, {{2, 3}, {}, {4}}, at::kDouble, 1, 2);
  ExpectFlattened(t, {{0}, {5, 0}, {2, 2, 2}, {0}}, at::kLong, 1, 2);
  ExpectFlattened(t, ManyShapes(t), at::kFloat, 1, 2);
  ExpectFlattened(t, {{7}}, at::kDouble, 1, 1);
  for (const at::ScalarType dtype : {at::kBool, at::kByte, at::kHalf}) {
    ExpectFlattened(t, {{3}, {2, 2, 3}, {5}, {}}, dtype, 1, 1);
  }
}

SHARDLAB_CASE(autograd, flatten_on_two_threads, kValue, {1}) {
  ExpectFlattened(t, {{1}}, at::kFloat, 2, 12);
  ExpectFlattened(t, ManyShapes(t), at::kFloat, 2, 12);
}

// Who copies, not how long: see WatchedMemory. Division of the result gives the second thread 50 %, whatever else the
// machine does, and pieces that the threads take as they come at least 43 %, since nobody gets further ahead. A thread
// that is held up in one of the tensors that are not contiguous shows what depends on the order of the threads.
SHARDLAB_CASE(autograd, flatten_uses_its_threads, kCost, {1}) {
  RunSpec spec;
  spec.body = "flatten_threads";
  spec.limit_s = 20;
  spec.threads = 2;
  const Run run = t.Launch(spec);
  const std::string tensors = "one number of each of 256 tensors of float64, 2 threads: tensor i holds i";
  t.ExpectEqual(run, 0, "packed", at::arange(256, at::kDouble), Label{"what Flatten packed, " + tensors});
  for (const std::string what : {"flatten", "unflatten"}) {
    t.Expect(run.Number(0, what) >= 0.2,
             fmt::format("{} has two threads, but the second one did {:.0f} % of the work on 256 tensors of 128 KiB; "
                         "divide the result evenly among the threads (#pragma omp parallel)",
                         what == "flatten" ? "Flatten" : "Unflatten", 100 * run.Number(0, what)));
  }
  t.ExpectEqual(run, 0, "unpacked", at::arange(256, at::kDouble), Label{"what Unflatten unpacked, " + tensors});
}

}  // namespace shardlab::grade
