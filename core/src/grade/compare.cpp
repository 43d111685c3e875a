#include "compare.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "diagnosis.hpp"
#include "shardlab/comm/record.hpp"
#include "shardlab/grade/frame.hpp"

namespace shardlab::grade {

namespace {

constexpr int64_t kShownWhole = 64;

std::string ShapeOf(const at::Tensor& tensor) { return ShapeText(tensor.sizes().vec()); }

std::string DtypeOf(const at::Tensor& tensor) {
  return shardlab::DtypeName(static_cast<uint8_t>(tensor.scalar_type()));
}

std::string Title(const Subject& subject) { return fmt::format("{} on rank {}", subject.label.what, subject.rank); }

Difference FormDifference(const at::Tensor& got, const at::Tensor& expected, const Subject& subject) {
  Difference difference;
  if (got.sizes() != expected.sizes()) {
    difference.message = fmt::format("{} has shape {}; expected {}", Title(subject), ShapeOf(got), ShapeOf(expected));
    difference.diagnosis = Diagnose(got, expected, subject.label, subject.rank, subject.ranks);
    if (!difference.diagnosis.empty()) difference.message += "\n  " + difference.diagnosis;
  } else if (got.scalar_type() != expected.scalar_type()) {
    difference.message = fmt::format("{} is {}; expected {}", Title(subject), DtypeOf(got), DtypeOf(expected));
  }
  return difference;
}

/// The elements in row-major order, as numbers that can be printed; complex ones by their absolute value.
std::vector<double> Numbers(const at::Tensor& tensor) {
  at::Tensor flat = tensor.detach().to(at::kCPU).contiguous();
  if (flat.is_complex()) flat = flat.abs();
  flat = flat.to(at::kDouble).contiguous();
  const double* from = flat.data_ptr<double>();
  return std::vector<double>(from, from + flat.numel());
}

std::string NumberText(double value) { return fmt::format("{:.7g}", value); }

std::vector<int64_t> Index(int64_t flat, at::IntArrayRef shape) {
  std::vector<int64_t> index(shape.size());
  for (size_t dim = shape.size(); dim-- > 0;) {
    index[dim] = flat % shape[dim];
    flat /= shape[dim];
  }
  return index;
}

std::vector<int64_t> FullIndex(std::vector<int64_t> index, const Subject& subject) {
  for (size_t dim = 0; dim < index.size() && dim < subject.label.offset.size(); ++dim) {
    index[dim] += subject.label.offset[dim];
  }
  return index;
}

std::string Place(int64_t flat, at::IntArrayRef shape, const Subject& subject) {
  if (shape.empty()) return "";
  std::vector<int64_t> index = Index(flat, shape);
  std::string text = fmt::format("at [{}]", fmt::join(index, ", "));
  if (subject.label.offset.size() == index.size()) {
    index = FullIndex(index, subject);
    text += fmt::format(" of the shard, [{}] of the full tensor", fmt::join(index, ", "));
  }
  return text;
}

/// How many times as much as `expected` came; NaN where that is no number.
double Ratio(double got, double expected) {
  return expected != 0 && std::isfinite(got) ? got / expected : std::numeric_limits<double>::quiet_NaN();
}

/// The ratio as it is printed; empty where that says nothing: 0 is seen, and of 1 the difference is too small to be seen.
std::string RatioText(double ratio) {
  const std::string text = std::isnan(ratio) ? "" : fmt::format("{:.4g}", ratio);
  return text == "1" || text == "0" || text == "-0" ? "" : text;
}

/// The tensor in rows, each wrong cell between asterisks.
std::string Grid(const std::vector<double>& values, const std::vector<bool>& wrong, at::IntArrayRef shape) {
  std::vector<std::string> cells;
  size_t width = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const std::string number = NumberText(values[i]);
    cells.push_back(wrong[i] ? "*" + number + "*" : " " + number + " ");
    width = std::max(width, cells.back().size());
  }
  const auto columns = shape.empty() ? size_t{1} : static_cast<size_t>(shape.back());
  const size_t rows_a_block = shape.size() < 2 ? 1 : static_cast<size_t>(shape[shape.size() - 2]);
  std::string text;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (i % columns == 0) {
      const size_t row = i / columns;
      if (shape.size() > 2 && row % rows_a_block == 0) {
        const auto index = Index(static_cast<int64_t>(i), shape);
        text += fmt::format("\n  [{}, :, :]", fmt::join(index.begin(), index.end() - 2, ", "));
      }
      text += "\n    ";
    }
    text += fmt::format("{:>{}}", cells[i], width + 1);
  }
  return text;
}

/// "3 of them were", "they were", "it was".
std::string OfThem(int64_t some, int64_t all) {
  if (some < all) return fmt::format("{} of them {}", some, some == 1 ? "was" : "were");
  return all == 1 ? "it was" : "they were";
}

/// What the wrong elements have in common, besides their place.
std::string InCommon(const at::Tensor& got, const std::vector<double>& mine, const std::vector<double>& theirs,
                     const std::vector<bool>& wrong) {
  const std::vector<bool> never = NeverWritten(got), early = NotReceived(got);
  int64_t count = 0, too_early = 0, never_written = 0, not_a_number = 0, zero = 0;
  double first = 0;
  bool one_distance = true;
  for (size_t i = 0; i < wrong.size(); ++i) {
    if (!wrong[i]) continue;
    const double off = mine[i] - theirs[i];
    if (count++ == 0) first = off;
    too_early += early[i] ? 1 : 0;
    never_written += never[i] ? 1 : 0;
    not_a_number += std::isnan(mine[i]) ? 1 : 0;
    zero += mine[i] == 0 ? 1 : 0;
    one_distance = one_distance && std::abs(off - first) <= 1e-9 * std::abs(first);
  }
  if (too_early > 0) {
    return OfThem(too_early, count) + " read from a receive buffer before its Wait: until then it holds nothing";
  }
  if (never_written > 0) {
    return OfThem(never_written, count) +
           " never written, or computed from what was not: at::empty leaves what the memory holds";
  }
  if (not_a_number > 0 && count > 1) {
    return not_a_number == count ? "they are all NaN" : fmt::format("{} of them are NaN", not_a_number);
  }
  if (count < 2) return "";
  if (zero == count) return "they are all 0";
  if (one_distance && std::isfinite(first)) {
    return fmt::format("each of them is {} too {}", NumberText(std::abs(first)), first > 0 ? "large" : "small");
  }
  return "";
}

Difference Details(const at::Tensor& got, const at::Tensor& expected, const std::vector<bool>& wrong, size_t worst,
                   const Subject& subject) {
  const std::vector<double> mine = Numbers(got);
  const std::vector<double> theirs = Numbers(expected);
  const auto count = std::count(wrong.begin(), wrong.end(), true);
  Difference difference;
  std::string& text = difference.message;
  text = fmt::format("{} is wrong in {} of {} element{}: ", Title(subject), count, wrong.size(),
                     wrong.size() == 1 ? "" : "s");
  const std::string place = Place(static_cast<int64_t>(worst), got.sizes(), subject);
  text += fmt::format("{}{}expected {}, got {}", place, place.empty() ? "" : " ", NumberText(theirs[worst]),
                      NumberText(mine[worst]));
  const double ratio = Ratio(mine[worst], theirs[worst]);
  if (!RatioText(ratio).empty()) {
    bool everywhere = count > 1;
    for (size_t i = 0; i < wrong.size() && everywhere; ++i) {
      if (wrong[i]) everywhere = std::abs(Ratio(mine[i], theirs[i]) - ratio) <= 1e-6 * std::abs(ratio);
    }
    text += fmt::format(", {} times as much{}", RatioText(ratio), everywhere ? ", as is every wrong element" : "");
  }

  difference.diagnosis = Diagnose(got, expected, subject.label, subject.rank, subject.ranks);
  if (!difference.diagnosis.empty()) text += "\n  " + difference.diagnosis;
  const std::string where = WhereWrong(wrong, got.sizes().vec(), subject.ranks);
  const std::string common = InCommon(got, mine, theirs, wrong);
  if (!where.empty()) text += "\n  the wrong ones: " + where + (common.empty() ? "" : "; " + common);
  if (where.empty() && !common.empty()) text += "\n  the wrong ones: " + common;

  const bool shown_whole = static_cast<int64_t>(wrong.size()) <= kShownWhole;
  if (shown_whole && wrong.size() > 1) {
    text += "\n  got (wrong ones between asterisks):" + Grid(mine, wrong, got.sizes());
    text += "\n  expected:" + Grid(theirs, std::vector<bool>(wrong.size(), false), got.sizes());
  }

  const std::vector<int64_t> index = Index(static_cast<int64_t>(worst), got.sizes());
  difference.tensor = {{"what", subject.label.what},
                       {"rank", subject.rank},
                       {"shape", got.sizes().vec()},
                       {"offset", subject.label.offset},
                       {"index", index},
                       {"full_index", FullIndex(index, subject)},
                       {"expected", theirs[worst]},
                       {"got", mine[worst]},
                       {"ratio", nullptr},
                       {"wrong", count},
                       {"of", wrong.size()},
                       {"where", where}};
  if (!RatioText(ratio).empty()) difference.tensor["ratio"] = ratio;
  if (shown_whole) difference.tensor["cells"] = {{"got", mine}, {"expected", theirs}, {"wrong", wrong}};
  return difference;
}

}  // namespace

Difference EqualDifference(const at::Tensor& got, const at::Tensor& expected, const Subject& subject) {
  const Difference form = FormDifference(got, expected, subject);
  if (!form.message.empty() || got.numel() == 0) return form;
  at::Tensor same = at::eq(got, expected);
  if (got.is_floating_point() || got.is_complex()) same = same.logical_or(got.isnan().logical_and(expected.isnan()));
  if (same.all().item<bool>()) return {};
  const at::Tensor flat = same.contiguous();
  const bool* from = flat.data_ptr<bool>();
  std::vector<bool> wrong(static_cast<size_t>(flat.numel()));
  for (size_t i = 0; i < wrong.size(); ++i) wrong[i] = !from[i];
  const auto first = static_cast<size_t>(std::find(wrong.begin(), wrong.end(), true) - wrong.begin());
  return Details(got, expected, wrong, first, subject);
}

Difference CloseDifference(const at::Tensor& got, const at::Tensor& expected, double tolerance,
                           const Subject& subject) {
  const Difference form = FormDifference(got, expected, subject);
  if (!form.message.empty() || got.numel() == 0) return form;
  const auto wide = got.is_complex() ? at::kComplexDouble : at::kDouble;
  const at::Tensor distance = (got.to(wide) - expected.to(wide)).abs();
  const double norm = distance.norm().item<double>();
  if (norm <= tolerance) return {};
  const std::vector<double> off = Numbers(distance);
  // An element counts as wrong when it is off by more than its share of what the whole tensor may be off by.
  const double share = tolerance / std::sqrt(static_cast<double>(off.size()));
  std::vector<bool> wrong(off.size());
  size_t worst = 0;
  for (size_t i = 0; i < off.size(); ++i) {
    wrong[i] = !(off[i] <= share);
    if (std::isnan(off[worst])) continue;
    if (std::isnan(off[i]) || off[i] > off[worst]) worst = i;
  }
  Difference difference = Details(got, expected, wrong, worst, subject);
  difference.message += fmt::format("\n  in norm it is off by {:.3g}; up to {:.3g} is allowed", norm, tolerance);
  return difference;
}

Difference CurveDifference(const std::string& name, const std::vector<double>& run,
                           const std::vector<double>& reference, const std::vector<double>& tolerance,
                           const std::vector<Hypothesis>& hypotheses) {
  Difference difference;
  size_t step = 0;
  while (step < run.size() && std::abs(run[step] - reference[step]) <= tolerance[step]) ++step;
  if (step == run.size()) return difference;
  const auto tensor = [](const std::vector<double>& losses) { return at::tensor(losses, at::kDouble); };
  difference.message =
      fmt::format("{}: the loss of step {} is {:.9g}, and {:.9g} in one process ({:.1e} apart, {:.1e} allowed)", name,
                  step + 1, run[step], reference[step], std::abs(run[step] - reference[step]), tolerance[step]);
  difference.diagnosis = DiagnoseAmong(tensor(run), tensor(reference), hypotheses);
  if (!difference.diagnosis.empty()) difference.message += "\n  " + difference.diagnosis;
  difference.message +=
      step == 0
          ? "\n  it is wrong from the first step on, before anything is learnt: look at forward and at the weights"
          : fmt::format(
                "\n  the {} step{} before it agree{}: forward is right, and the updates are not: look at the "
                "gradients",
                step == 1 ? "first" : std::to_string(step), step == 1 ? "" : "s", step == 1 ? "s" : "");
  return difference;
}

}  // namespace shardlab::grade
