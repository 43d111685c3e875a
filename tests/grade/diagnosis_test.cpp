// What is said about a wrong tensor: every hypothesis when it holds, and nothing when none does.

#include <functional>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../../core/src/grade/compare.hpp"
#include "../../core/src/grade/diagnosis.hpp"
#include "shardlab/measure/memory.hpp"

namespace shardlab::grade {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Tensors = std::vector<at::Tensor>;

constexpr int kRank = 1;
constexpr int kRanks = 4;

at::Tensor Numbers(const std::vector<int64_t>& shape, int seed) {
  at::manual_seed(seed);
  return at::randn(shape, at::kDouble);
}

at::Tensor Integers(const std::vector<int64_t>& shape, int seed) {
  at::manual_seed(seed);
  return at::randint(-8, 9, shape, at::kDouble);
}

Tensors FourOf(const std::vector<int64_t>& shape) {
  return {Numbers(shape, 1), Numbers(shape, 2), Numbers(shape, 3), Numbers(shape, 4)};
}

std::string Said(const at::Tensor& got, const at::Tensor& expected, const Label& label = {}) {
  const std::string said = Diagnose(got, expected, label, kRank, kRanks);
  EXPECT_TRUE(said.empty() || said.rfind("this is what you get when ", 0) == 0) << said;
  return said;
}

TEST(Diagnosis, SaysNothingOfATensorThatIsWrongAtRandom) {
  Label label;
  label.summands = label.pieces = label.of_ranks = FourOf({6});
  label.factors = {{"micro-batches", 3}};
  for (const at::Tensor& other : FourOf({6, 4}))
    label.hypotheses.push_back({"another is there", [=] { return other; }});
  for (int seed = 10; seed < 30; ++seed) {
    EXPECT_THAT(Said(Numbers({6, 4}, seed), Numbers({6, 4}, seed + 100), label), IsEmpty());
    EXPECT_THAT(Said(Integers({6, 4}, seed), Integers({6, 4}, seed + 100), label), IsEmpty());
  }
}

TEST(Diagnosis, SaysNothingOfWhatIsOnlyNearlySo) {
  const at::Tensor expected = Numbers({5, 3}, 1);
  EXPECT_THAT(Said(expected * 4, expected), HasSubstr("it is added up over the 4 ranks"));
  EXPECT_THAT(Said(expected * (4 + 1e-7), expected), IsEmpty());
  at::Tensor one_off = expected * 4;
  one_off[2][1] += 1e-6;
  EXPECT_THAT(Said(one_off, expected), IsEmpty());
}

TEST(Diagnosis, SaysNothingOfFewSmallIntegersThatAgreeByAccident) {
  const at::Tensor expected = at::tensor({3.0, 2.0});
  EXPECT_THAT(Said(at::tensor({12.0, 8.0}), expected), IsEmpty());
  const at::Tensor more = at::tensor({3.0, 2.0, -5.0});
  EXPECT_THAT(Said(more * 4, more), HasSubstr("it is added up over the 4 ranks"));
}

TEST(Diagnosis, AHypothesisThatIsTheRightValueExplainsNothing) {
  const at::Tensor expected = Numbers({4}, 1);
  Label label;
  label.hypotheses = {{"nothing is wrong", [&] { return expected.clone(); }},
                      {"nearly nothing is wrong", [&] { return expected * (1 + 1e-12); }}};
  EXPECT_THAT(Said(expected * (1 + 2e-10), expected, label), IsEmpty());
}

TEST(Diagnosis, TheFirstThatFitsIsSaidAndTheLabelsComeFirst) {
  const at::Tensor expected = Numbers({4}, 1);
  Label label;
  label.hypotheses = {{"the moon is full", [&] { return expected * 3; }},
                      {"every rank adds its copy", [&] { return expected * 4; }},
                      {"it is all the same", [&] { return expected * 4; }}};
  EXPECT_EQ(Said(expected * 4, expected, label), "this is what you get when every rank adds its copy");
}

TEST(Diagnosis, AHypothesisMayHaveAnotherShape) {
  const at::Tensor whole = Numbers({8, 2}, 1);
  Label label;
  label.of_ranks = {whole.narrow(0, 0, 2), whole.narrow(0, 2, 2), whole.narrow(0, 4, 2), whole.narrow(0, 6, 2)};
  EXPECT_THAT(Said(whole, label.of_ranks[kRank], label), HasSubstr("it is the whole, and not rank 1's part"));
  const at::Tensor seven = Numbers({7}, 1);
  label.of_ranks = {seven.narrow(0, 0, 3), seven.narrow(0, 3, 2), seven.narrow(0, 5, 2)};
  EXPECT_THAT(Diagnose(seven.narrow(0, 3, 3), label.of_ranks[1], label, 1, 3), HasSubstr("LibTorch's chunk"));
  EXPECT_THAT(Diagnose(seven.narrow(0, 4, 3), label.of_ranks[2], label, 2, 3), HasSubstr("the whole remainder"));
}

TEST(Diagnosis, FactorsAreNamed) {
  const at::Tensor expected = Numbers({4}, 1);
  Label label;
  label.factors = {{"micro-batches", 3}, {"tiles", 4}};
  EXPECT_THAT(
      Said(expected / 3, expected, label),
      HasSubstr("it is averaged over the 3 micro-batches where the sum belongs, or divided by 3 once too often"));
  EXPECT_THAT(
      Said(expected * 4, expected, label),
      HasSubstr("it is added up over the 4 ranks or tiles: each of them has it whole, or a division by 4 is missing"));
  EXPECT_THAT(Said(expected * 5, expected, label), IsEmpty());
}

TEST(Diagnosis, Zero) {
  EXPECT_THAT(Said(at::zeros({4}, at::kDouble), Numbers({4}, 1)), HasSubstr("every element is 0"));
}

TEST(Diagnosis, SumsOverTheRanks) {
  Label label;
  label.summands = {Integers({6}, 1), Integers({6}, 2), Integers({6}, 3), Integers({6}, 4)};
  const Tensors& x = label.summands;
  const at::Tensor sum = x[0] + x[1] + x[2] + x[3];
  EXPECT_THAT(Said(x[1], sum, label), HasSubstr("nothing is added up: it is rank 1's own summand alone"));
  EXPECT_THAT(Said(x[3], sum, label), HasSubstr("rank 3's summand overwrites the sum"));
  EXPECT_THAT(Said(sum - x[1], sum, label), HasSubstr("rank 1's own summand is missing from the sum"));
  EXPECT_THAT(Said(sum - x[2] - x[0], sum, label), HasSubstr("the summands of ranks 0 and 2 are missing from the sum"));
  EXPECT_THAT(Said(sum + x[2], sum, label), HasSubstr("rank 2's summand is counted twice"));
  EXPECT_THAT(Said(sum + x[2] - x[0], sum, label),
              HasSubstr("rank 0's summand is missing from the sum and rank 2's summand is counted twice"));
  EXPECT_THAT(Said(sum / 4, sum, label), HasSubstr("the ranks' summands are averaged: it is their sum divided by 4"));
  EXPECT_THAT(Said(sum * 4, sum, label), HasSubstr("it is added up over the 4 ranks"));
}

TEST(Diagnosis, SumsInEveryDtype) {
  for (const at::ScalarType dtype : {at::kLong, at::kInt, at::kFloat, at::kHalf}) {
    Label label;
    for (int rank = 0; rank < 3; ++rank) label.summands.push_back(Integers({7}, rank).to(dtype));
    const at::Tensor sum = label.summands[0] + label.summands[1] + label.summands[2];
    EXPECT_THAT(Diagnose(sum - label.summands[0], sum, label, 1, 3), HasSubstr("rank 0's summand is missing")) << dtype;
  }
}

TEST(Diagnosis, PartsInTheWrongOrder) {
  Label label;
  label.pieces = FourOf({2, 3});
  const Tensors& p = label.pieces;
  const at::Tensor right = at::cat(p);
  const auto with = [&](const std::vector<int>& order) {
    Tensors parts;
    for (const int of : order) parts.push_back(of < 0 ? at::zeros_like(p[0]) : p[static_cast<size_t>(of)]);
    return Said(at::cat(parts), right, label);
  };
  EXPECT_THAT(with({3, 2, 1, 0}), HasSubstr("the ranks' parts lie in reverse order"));
  EXPECT_THAT(with({3, 0, 1, 2}), HasSubstr("one place too far back"));
  EXPECT_THAT(with({1, 2, 3, 0}), HasSubstr("one place too far in front"));
  EXPECT_THAT(with({2, 3, 0, 1}), HasSubstr("turned by 2 places"));
  EXPECT_THAT(with({0, 2, 1, 3}), HasSubstr("the parts of ranks 1 and 2 have changed places"));
  EXPECT_THAT(with({1, 2, 0, 3}), HasSubstr("in the order 1, 2, 0, 3"));
  EXPECT_THAT(with({0, 1, -1, 3}), HasSubstr("rank 2's part is missing: there are zeros in the place"));
  EXPECT_THAT(with({1, 1, 1, 1}), HasSubstr("every place is given the same part, rank 1's"));
  EXPECT_THAT(with({0, 1, 1, 3}), HasSubstr("rank 1's part lies in rank 2's place"));
  EXPECT_THAT(Said(at::stack(p, 1).flatten(0, 1), right, label), HasSubstr("interleaved"));
  EXPECT_THAT(Said(at::cat(p, 1), right, label), HasSubstr("joined along dimension 1 instead of dimension 0"));
}

TEST(Diagnosis, ChunksOfARing) {
  Label label;
  label.summands = {Integers({3, 7}, 1), Integers({3, 7}, 2), Integers({3, 7}, 3)};
  const Tensors& x = label.summands;
  const at::Tensor sum = x[0] + x[1] + x[2];
  const auto said = [&](const std::function<void(at::Tensor & flat)>& spoil) {
    const at::Tensor got = sum.clone();
    at::Tensor flat = got.view({-1});
    spoil(flat);
    return Diagnose(got, sum, label, 1, 3);
  };
  const auto add = [&](at::Tensor& flat, int chunk, int of, int sign) {
    flat.narrow(0, 7 * chunk, 7).add_(x[static_cast<size_t>(of)].view({-1}).narrow(0, 7 * chunk, 7), sign);
  };
  EXPECT_THAT(said([&](at::Tensor& flat) {
                for (int chunk = 0; chunk < 3; ++chunk) add(flat, chunk, (chunk + 1) % 3, -1);
              }),
              HasSubstr("in every chunk one rank's summand is missing: there is one round too few"));
  EXPECT_THAT(said([&](at::Tensor& flat) {
                for (int chunk = 0; chunk < 3; ++chunk) add(flat, chunk, chunk, 1);
              }),
              HasSubstr("in every chunk one rank's summand is counted twice: there is one round too many"));
  EXPECT_THAT(said([&](at::Tensor& flat) { add(flat, 2, 0, -1); }),
              HasSubstr("in chunk 2 rank 0's summand is missing from the sum"));
  label.pieces = {sum.view({-1}).narrow(0, 0, 7), sum.view({-1}).narrow(0, 7, 7), sum.view({-1}).narrow(0, 14, 7)};
  EXPECT_THAT(said([&](at::Tensor& flat) { flat.copy_(flat.roll({7})); }), HasSubstr("one place too far back"));
  EXPECT_THAT(Diagnose(sum.view({-1}), sum, label, 1, 3), HasSubstr("only the shape is lost"));
}

TEST(Diagnosis, UnevenPartsInTheWrongOrder) {
  Label label;
  label.pieces = {Numbers({3}, 1), Numbers({2}, 2), Numbers({2}, 3)};
  const Tensors& p = label.pieces;
  EXPECT_THAT(Diagnose(at::cat({p[2], p[1], p[0]}), at::cat(p), label, 0, 3), HasSubstr("the parts of ranks 0 and 2"));
  EXPECT_THAT(Diagnose(at::cat({p[2], p[0], p[1]}), at::cat(p), label, 0, 3), HasSubstr("one place too far back"));
}

TEST(Diagnosis, AnotherRanksValue) {
  Label label;
  label.of_ranks = FourOf({5});
  EXPECT_THAT(Said(label.of_ranks[2], label.of_ranks[kRank], label),
              HasSubstr("it is rank 2's part, and not rank 1's own: the right neighbour"));
  EXPECT_THAT(Said(label.of_ranks[0], label.of_ranks[kRank], label), HasSubstr("the left neighbour"));
  EXPECT_THAT(Said(label.of_ranks[3], label.of_ranks[kRank], label),
              AllOf(HasSubstr("it is rank 3's part"), Not(HasSubstr("neighbour"))));
}

TEST(Diagnosis, PlacesWithinATensor) {
  const at::Tensor expected = Numbers({4, 4}, 1);
  EXPECT_THAT(Said(expected.t().contiguous(), expected), HasSubstr("it is transposed: rows and columns are swapped"));
  const at::Tensor oblong = Numbers({3, 5}, 1);
  EXPECT_THAT(Said(oblong.t().contiguous(), oblong), HasSubstr("it is transposed"));
  EXPECT_THAT(Said(oblong.t().reshape({3, 5}), oblong), HasSubstr("filled by columns instead of by rows"));
  EXPECT_THAT(Said(oblong.roll({1}, {0}), oblong), HasSubstr("one place too far back (by rows)"));
  EXPECT_THAT(Said(oblong.roll({-1}, {1}), oblong), HasSubstr("one place too far in front (by columns)"));
  EXPECT_THAT(Said(oblong.flip({1}), oblong), HasSubstr("reverse order (by columns)"));
  EXPECT_THAT(Said(-oblong, oblong), HasSubstr("its sign is turned"));
}

TEST(Diagnosis, NaNsAndEmptyTensorsAreNoHypothesis) {
  EXPECT_THAT(Said(Numbers({4}, 1) / 0.0 * 0.0, Numbers({4}, 2)), IsEmpty());
  EXPECT_THAT(Said(at::zeros({0, 3}, at::kDouble), at::zeros({3, 0}, at::kDouble)), IsEmpty());
}

// ---------------------------------------------------------------------------------------------------------- where

std::string Where(const at::Tensor& wrong, int ranks = 1) {
  const at::Tensor flat = wrong.to(at::kBool).contiguous();
  std::vector<bool> cells;
  for (int64_t i = 0; i < flat.numel(); ++i) cells.push_back(flat.data_ptr<bool>()[i]);
  return WhereWrong(cells, wrong.sizes().vec(), ranks);
}

at::Tensor None(const std::vector<int64_t>& shape) { return at::zeros(shape); }

TEST(Where, NamesTheSimplestShapeThatCoversThemAll) {
  at::Tensor w = None({8, 5});
  w.select(1, 0).fill_(1);
  EXPECT_EQ(Where(w), "all of column 0");
  w[3][0] = 0;
  EXPECT_EQ(Where(w), "all in column 0");

  w = None({8, 5});
  w[0].fill_(1);
  w[7].fill_(1);
  EXPECT_EQ(Where(w), "rows 0 and 7: the borders");

  w = None({8, 5});
  w.slice(0, 1, 8, 2).fill_(1);
  EXPECT_EQ(Where(w), "every second row, from row 1 on");

  w = None({7});
  w.slice(0, 5, 7).fill_(1);
  EXPECT_EQ(Where(w, 3), "the last of 3 chunks, elements 5 and 6");
  EXPECT_EQ(Where(1 - w, 3), "everywhere but in the last of 3 chunks");
  EXPECT_EQ(Where(w), "elements 5 and 6");

  w = None({4, 4});
  w.slice(0, 2, 4).slice(1, 0, 2).fill_(1);
  EXPECT_EQ(Where(w), "one block: rows 2 and 3, columns 0 and 1");
  EXPECT_EQ(Where(1 - at::eye(4)), "everywhere but on the diagonal");

  w = None({12, 3});
  w.slice(0, 5, 7).fill_(1);
  EXPECT_EQ(Where(w, 2), "only in the rows where the 2 chunks meet");

  w = None({3, 4, 5});
  w.select(1, 2).fill_(1);
  EXPECT_EQ(Where(w), "all of index 2 of dimension 1");

  w = None({4, 6});
  w.view({-1}).slice(0, 9, 17).fill_(1);
  EXPECT_EQ(Where(w), "elements 9 to 16 in row-major order");

  w = at::ones({5, 6});
  w.slice(0, 1, 4).slice(1, 1, 5).fill_(0);
  w[0][0] = 0;
  EXPECT_EQ(Where(w), "only on the border of the last two dimensions");
}

TEST(Where, SaysNothingOfFewOfAllAndOfNoShape) {
  at::Tensor w = None({6, 6});
  EXPECT_EQ(Where(w), "");
  w[2][3] = 1;
  EXPECT_EQ(Where(w), "");
  EXPECT_EQ(Where(at::ones({6, 6})), "");
  w[1][1] = w[4][5] = w[3][2] = 1;
  EXPECT_EQ(Where(w), "");
}

// -------------------------------------------------------------------------------------------------------- messages

TEST(Compare, LeadsWithTheFactThenTheDiagnosisThenThePlace) {
  Subject subject{{"the gradient of the weight", {4, 0}}, 1, 2};
  const at::Tensor expected = at::arange(1, 7, at::kDouble).reshape({2, 3});
  const Difference difference = EqualDifference(expected * 2, expected, subject);
  EXPECT_THAT(
      difference.message,
      HasSubstr("the gradient of the weight on rank 1 is wrong in 6 of 6 elements: at [0, 0] of the shard, [4, 0] "
                "of the full tensor expected 1, got 2, 2 times as much, as is every wrong element\n"
                "  this is what you get when it is added up over the 2 ranks: "));
  EXPECT_THAT(difference.diagnosis, HasSubstr("added up over the 2 ranks"));
  const nlohmann::json& tensor = difference.tensor;
  EXPECT_EQ(tensor["full_index"], (std::vector<int64_t>{4, 0}));
  EXPECT_EQ(tensor["wrong"], 6);
  EXPECT_EQ(tensor["of"], 6);
  EXPECT_EQ(tensor["ratio"], 2.0);
  EXPECT_EQ(tensor["cells"]["got"][5], 12.0);
  EXPECT_EQ(tensor["cells"]["wrong"][0], true);

  at::Tensor got = expected.clone();
  got.select(1, 2) += 10;
  EXPECT_THAT(EqualDifference(got, expected, subject).message,
              HasSubstr("\n  the wrong ones: all of column 2; each of them is 10 too large\n"));
  EXPECT_EQ(EqualDifference(expected, expected, subject).message, "");
  EXPECT_THAT(EqualDifference(at::zeros({9, 9}), at::ones({9, 9}), subject).tensor, Not(testing::Contains("cells")));
}

TEST(Compare, NamesWhatWasNeverWritten) {
  FillNewMemory();
  const at::Tensor got = at::empty({3, 4}, at::kDouble);
  got[0].fill_(1);
  got[1].fill_(1);
  const Difference difference = CloseDifference(got, at::ones({3, 4}, at::kDouble), 1e-9, {{"the sum", {}}, 0, 1});
  EXPECT_THAT(difference.message, HasSubstr("the wrong ones: all of row 2; they were never written"));
  for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kLong, at::kByte}) {
    const std::vector<bool> never = NeverWritten(at::empty({9}, dtype));
    EXPECT_EQ(std::count(never.begin(), never.end(), true), 9) << dtype;
    const std::vector<bool> written = NeverWritten(at::ones({9}, dtype));
    EXPECT_EQ(std::count(written.begin(), written.end(), true), 0) << dtype;
  }
}

TEST(Compare, LeavesOutRatiosThatSayNothing) {
  const auto said = [](double got, double expected) {
    const at::Tensor tensor = at::tensor({got, expected}, at::kDouble), right = at::full({2}, expected, at::kDouble);
    return EqualDifference(tensor, right, {{"the sum", {}}, 0, 1}).message;
  };
  EXPECT_THAT(said(1.00001, 1), AllOf(HasSubstr("got 1.00001"), Not(HasSubstr("times as much"))));
  EXPECT_THAT(said(0, 3), Not(HasSubstr("times as much")));
  EXPECT_THAT(said(6, 3), HasSubstr(", 2 times as much"));
}

TEST(Compare, ACurveIsDiagnosedAsAWhole) {
  const std::vector<double> reference = {2, 1.5, 1.2}, tolerance = {1e-9, 1e-9, 1e-9};
  const std::vector<Hypothesis> mistakes = {{"gradients are never averaged", [] {
                                               return at::tensor({2.0, 1.3, 0.9}, at::kDouble);
                                             }}};
  EXPECT_EQ(CurveDifference("curve", reference, reference, tolerance, mistakes).message, "");
  EXPECT_THAT(CurveDifference("curve", {2, 1.3, 0.9}, reference, tolerance, mistakes).message,
              AllOf(HasSubstr("curve: the loss of step 2 is 1.3, and 1.5 in one process"),
                    HasSubstr("\n  this is what you get when gradients are never averaged"),
                    HasSubstr("\n  the first step before it agrees")));
  EXPECT_THAT(CurveDifference("curve", {2, 1.3, 0.8}, reference, tolerance, mistakes).diagnosis, IsEmpty());
}

}  // namespace
}  // namespace shardlab::grade
