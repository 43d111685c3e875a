#include "diagnosis.hpp"

#include <algorithm>
#include <cstring>

#include <ATen/ATen.h>

#include "shardlab/comm/announcing.hpp"
#include "shardlab/measure/memory.hpp"

namespace shardlab::grade {

namespace {

constexpr double kTolerance = 1e-9;

// How many wrong elements a hypothesis must explain where all values are whole numbers: those agree by accident.
constexpr int64_t kOfOwn = 2;
constexpr int64_t kOfGeneral = 3;

/// `never`: elements that hold no value; they become 0, and are compared by themselves.
at::Tensor Wide(const at::Tensor& tensor, const std::vector<bool>& never) {
  at::Tensor plain = tensor.detach().to(at::kCPU);
  if (std::find(never.begin(), never.end(), true) != never.end()) {
    plain = plain.clone(at::MemoryFormat::Contiguous);
    const at::Tensor flat = plain.view({-1});
    for (size_t i = 0; i < never.size(); ++i) {
      if (never[i]) flat[static_cast<int64_t>(i)].zero_();
    }
  }
  return plain.to(plain.is_complex() ? at::kComplexDouble : at::kDouble);
}

double Norm(const at::Tensor& tensor) { return tensor.numel() == 0 ? 0 : tensor.abs().norm().item<double>(); }

bool WholeNumbers(const at::Tensor& wide) { return !wide.is_complex() && at::equal(wide, wide.round()); }

/// The tensors that hypotheses are held against, made once.
class Wrong {
 public:
  Wrong(const at::Tensor& got, const at::Tensor& expected)
      : dtype_(got.scalar_type()),
        never_(NeverWritten(got)),
        got_(Wide(got, never_)),
        expected_(Wide(expected, {})),
        comparable_(got.sizes() == expected.sizes()),
        off_(comparable_ ? Norm(got_ - expected_) : 0),
        whole_numbers_(WholeNumbers(got_)) {}

  bool ExplainedBy(const at::Tensor& guess, int64_t least_wrong) const {
    if (!guess.defined() || guess.sizes() != got_.sizes() || guess.is_complex() != got_.is_complex()) return false;
    const at::Tensor rounded = guess.detach().to(at::kCPU, dtype_);
    const std::vector<bool> never = NeverWritten(rounded);
    if (never != never_) return false;
    const at::Tensor value = Wide(rounded, never);
    const double size = std::max(Norm(value), comparable_ ? 1e-3 * Norm(expected_) : 0);
    const double left = Norm(got_ - value);
    if (!(left <= kTolerance * size)) return false;  // also where it is NaN
    if (!comparable_) return true;
    // What is right, or nearly, explains nothing.
    if (!(left <= 1e-3 * off_) || off_ == 0) return false;
    return !whole_numbers_ || at::ne(value, expected_).sum().item<int64_t>() >= least_wrong;
  }

  bool empty() const { return got_.numel() == 0; }

 private:
  at::ScalarType dtype_;
  std::vector<bool> never_;
  at::Tensor got_;
  at::Tensor expected_;
  bool comparable_;
  double off_;
  bool whole_numbers_;
};

std::string FirstThatFits(const std::vector<Hypothesis>& hypotheses, const Wrong& wrong, int64_t least_wrong) {
  for (const Hypothesis& hypothesis : hypotheses) {
    if (wrong.ExplainedBy(hypothesis.value(), least_wrong)) return "this is what you get when " + hypothesis.meaning;
  }
  return "";
}

}  // namespace

std::string Diagnose(const at::Tensor& got, const at::Tensor& expected, const Label& label, int rank, int ranks) {
  const Wrong wrong(got, expected);
  if (wrong.empty()) return "";
  const std::string own = FirstThatFits(label.hypotheses, wrong, kOfOwn);
  if (!own.empty()) return own;
  return FirstThatFits(GeneralHypotheses(got, expected, label, rank, ranks), wrong, kOfGeneral);
}

std::string DiagnoseAmong(const at::Tensor& got, const at::Tensor& expected,
                          const std::vector<Hypothesis>& hypotheses) {
  return FirstThatFits(hypotheses, Wrong(got, expected), kOfOwn);
}

namespace {

/// Which elements hold nothing but `filling`.
std::vector<bool> Holds(const at::Tensor& got, uint16_t filling) {
  const at::Tensor flat = got.detach().to(at::kCPU).contiguous();
  const size_t size = flat.element_size();
  const auto* bytes = static_cast<const unsigned char*>(flat.data_ptr());
  unsigned char word[2];
  std::memcpy(word, &filling, sizeof word);
  std::vector<bool> never(static_cast<size_t>(flat.numel()), true);
  for (size_t i = 0; i < never.size() * size; ++i) {
    if (bytes[i] != word[i % 2]) never[i / size] = false;
  }
  // One byte alone may well be what it should be.
  if (size == 1 && std::count(never.begin(), never.end(), true) < 4) never.assign(never.size(), false);
  return never;
}

}  // namespace

std::vector<bool> NeverWritten(const at::Tensor& got) { return Holds(got, kNewMemoryWord); }

std::vector<bool> NotReceived(const at::Tensor& got) { return Holds(got, kNotReceivedWord); }

}  // namespace shardlab::grade
