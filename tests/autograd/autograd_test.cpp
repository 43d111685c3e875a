// The bridge from forward/backward pairs to autograd, gradient hooks, and the dropout that every mesh agrees on.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include "../texts.hpp"
#include "shardlab/autograd/conjugate_op.hpp"
#include "shardlab/autograd/dropout.hpp"
#include "shardlab/autograd/on_gradient_ready.hpp"
#include "shardlab/base/errors.hpp"

namespace shardlab {
namespace {

at::Tensor Leaf(std::vector<double> values) { return at::tensor(values, at::kDouble).set_requires_grad(true); }

void Backward(const at::Tensor& y) { torch::autograd::backward({y.sum()}, {}); }

const ConjugateOp kDouble{"Double", [](const at::Tensor& x) { return x * 2; },
                          [](const at::Tensor& dy) { return dy * 2; }};

TEST(ConjugateOp, ForwardAndBackwardAreThePair) {
  const at::Tensor x = Leaf({1, 2, 3});
  const at::Tensor y = Apply(kDouble, x);
  EXPECT_TRUE(at::equal(y, x.detach() * 2));
  Backward(y * y);
  EXPECT_TRUE(at::equal(x.grad(), 8 * x.detach()));
}

// y = x + Copy(x): the sum hands one gradient tensor to both branches. A backward that reduces in place must not
// reach the other branch.
TEST(ConjugateOp, ABackwardThatWorksInPlaceHarmsNobody) {
  const ConjugateOp in_place{"Copy", [](const at::Tensor& x) { return x.clone(); },
                             [](const at::Tensor& dy) { return dy.mul_(2); }};
  const at::Tensor x = Leaf({1, 1});
  const at::Tensor h = x * 1;
  torch::autograd::backward({h + Apply(in_place, h)}, {at::ones({2}, at::kDouble)});
  EXPECT_TRUE(at::equal(x.grad(), at::full({2}, 3, at::kDouble)));
}

TEST(ConjugateOp, BackwardGetsAContiguousGradientOfItsOwn) {
  bool contiguous = false;
  const ConjugateOp op{"Op", [](const at::Tensor& x) { return x.clone(); },
                       [&](const at::Tensor& dy) {
                         contiguous = dy.is_contiguous();
                         return dy;
                       }};
  const at::Tensor x = at::ones({3, 4}, at::kDouble).set_requires_grad(true);
  Backward(Apply(op, x));  // sum's gradient has stride 0
  EXPECT_TRUE(contiguous);
}

TEST(ConjugateOp, NamesAnInputChangedInPlace) {
  const ConjugateOp op{"Reduce", [](const at::Tensor& x) { return x.mul_(2).clone(); }, kDouble.backward};
  EXPECT_THAT(MessageOf([&] { Apply(op, Leaf({1}) * 1); }),
              testing::AllOf(testing::HasSubstr("Reduce: forward changed its input"), testing::HasSubstr("clone")));
}

TEST(ConjugateOp, NamesAnInputOrAViewReturned) {
  const ConjugateOp itself{"Copy", [](const at::Tensor& x) { return x; }, kDouble.backward};
  EXPECT_THAT(MessageOf([&] { Apply(itself, Leaf({1})); }), testing::HasSubstr("Copy: forward returned its input"));
  const ConjugateOp view{"Slice", [](const at::Tensor& x) { return x.narrow(0, 0, 1); }, kDouble.backward};
  EXPECT_THAT(MessageOf([&] { Apply(view, Leaf({1, 2})); }), testing::HasSubstr("a view of it"));
}

TEST(ConjugateOp, NamesAGradientOfTheWrongShapeOrDtype) {
  const ConjugateOp op{"Gather",
                       [](const at::Tensor& x) {
                         return at::cat({x, x});
                       },
                       [](const at::Tensor& dy) { return dy; }};
  EXPECT_THAT(
      MessageOf([&] {
        Backward(Apply(op, Leaf({1, 2})));
      }),
      testing::HasSubstr("Gather: backward returned float64 [4] as the gradient of an input that is float64 [2]"));
}

TEST(ConjugateOp, RunsBackwardOnlyWhereAGradientIsNeededOrAlways) {
  int calls = 0;
  ConjugateOp op{"Op", [](const at::Tensor& x) { return x * 1; },
                 [&](const at::Tensor& dy) {
                   ++calls;
                   return dy;
                 }};
  const at::Tensor data = at::ones({2}, at::kDouble), weight = Leaf({1, 1});
  EXPECT_FALSE(Apply(op, data).requires_grad());
  Backward(Apply(op, data) * weight);
  EXPECT_EQ(calls, 0);
  op.always = true;
  Backward(Apply(op, data) * weight);
  EXPECT_EQ(calls, 1);
  const c10::NoGradGuard no_grad;
  EXPECT_FALSE(Apply(op, data).requires_grad());
}

TEST(ConjugateOp, SeveralInputsAndOutputs) {
  const MultiConjugateOp swap{"Swap",
                              [](const std::vector<at::Tensor>& x) {
                                return std::vector<at::Tensor>{x[1] * 1, x[0] * 2};
                              },
                              [](const std::vector<at::Tensor>& dy) {
                                return std::vector<at::Tensor>{dy[1] * 2, dy[0]};
                              }};
  const at::Tensor a = Leaf({1, 2}), b = Leaf({3});
  const auto y = Apply(swap, {a, b});
  EXPECT_TRUE(at::equal(y[0], b) && at::equal(y[1], a * 2));
  Backward(y[1] * 5);  // y[0] is not used: its gradient is zero, not missing
  EXPECT_TRUE(at::equal(a.grad(), at::full({2}, 10, at::kDouble)));
  EXPECT_TRUE(at::equal(b.grad(), at::zeros({1}, at::kDouble)));
}

TEST(OnGradientReady, IsCalledOnceABackwardWithTheWholeGradient) {
  const at::Tensor w = Leaf({1, 2});
  std::vector<double> sums;
  {
    const GradientHook hook =
        OnGradientReady(w, [&](const at::Tensor& gradient) { sums.push_back(gradient.sum().item<double>()); });
    Backward(w * 2 + w * 3);  // used twice
    Backward(w);              // accumulates
    EXPECT_EQ(sums, (std::vector<double>{10, 12}));
  }
  Backward(w);
  EXPECT_EQ(sums.size(), 2u) << "without its hook the callback is called no more";
}

TEST(OnGradientReady, SomeGradientsComeBeforeOthers) {
  const at::Tensor first = Leaf({2}), second = Leaf({3});
  std::string order;
  const GradientHook a = OnGradientReady(first, [&](const at::Tensor&) { order += '1'; });
  const GradientHook b = OnGradientReady(second, [&](const at::Tensor&) {
    order += '2';
    EXPECT_FALSE(first.grad().defined()) << "the last layer's gradient is ready before the first layer's";
  });
  Backward((first * 2).tanh() * second);
  EXPECT_EQ(order, "21");
}

TEST(OnGradientReady, WantsALeaf) {
  EXPECT_THROW((void)OnGradientReady(Leaf({1}) * 2, [](const at::Tensor&) {}), ContractError);
  EXPECT_THROW((void)OnGradientReady(at::ones({1}), [](const at::Tensor&) {}), ContractError);
}

TEST(Dropout, APartGetsItsSliceOfTheWholeMask) {
  const DropoutKey key{1, 2, 3};
  const at::Tensor whole = DropoutMask({5, 6, 7}, 0.4, key, {}, at::kDouble);
  for (int64_t i = 0; i < 5; ++i) {
    for (int64_t j = 0; j < 6; j += 2) {
      const at::Tensor part = DropoutMask({1, 2, 3}, 0.4, key, {{5, 6, 7}, {i, j, 4}, 0}, at::kDouble);
      const at::Tensor slice = whole.narrow(0, i, 1).narrow(1, j, 2).narrow(2, 4, 3);
      ASSERT_TRUE(at::equal(part, slice)) << i << ' ' << j;
    }
  }
  // A later sample of a larger batch, and samples in another dimension.
  EXPECT_TRUE(
      at::equal(DropoutMask({2, 6, 7}, 0.4, key, {{9, 6, 7}, {3, 0, 0}, 0}, at::kDouble), whole.narrow(0, 3, 2)));
  EXPECT_TRUE(at::equal(DropoutMask({6, 5, 7}, 0.4, key, {{}, {}, 1}, at::kDouble), whole.transpose(0, 1)));
}

TEST(Dropout, DropsAShareOfPAndKeepsTheMean) {
  const at::Tensor mask = DropoutMask({200, 500}, 0.3, {7, 0, 0});
  const double dropped = (mask == 0).to(at::kDouble).mean().item<double>();
  EXPECT_NEAR(dropped, 0.3, 5 * std::sqrt(0.3 * 0.7 / 1e5));
  EXPECT_FLOAT_EQ(mask.max().item<float>(), 1 / 0.7f);
  // Seed, step and layer each draw another mask, as independent ones would: about 0.3^2 + 0.7^2 of the cells agree.
  for (const DropoutKey& other : {DropoutKey{8, 0, 0}, DropoutKey{7, 1, 0}, DropoutKey{7, 0, 1}}) {
    EXPECT_NEAR((mask == DropoutMask({200, 500}, 0.3, other)).to(at::kDouble).mean().item<double>(), 0.58, 0.01);
  }
}

TEST(Dropout, TheGradientMeetsTheSameMask) {
  const at::Tensor x = at::ones({4, 4}, at::kDouble).set_requires_grad(true);
  const at::Tensor y = Dropout(x, 0.5, {1, 1, 1});
  Backward(y);
  EXPECT_TRUE(at::equal(x.grad(), y.detach()));
  EXPECT_THROW(Dropout(x, 1.0, {}), ContractError);
  EXPECT_THROW(Dropout(x, 0.5, {}, {{4, 4}, {1, 0}, 0}), ContractError);
}

}  // namespace
}  // namespace shardlab
