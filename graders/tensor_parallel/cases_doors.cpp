#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "kit/hypotheses.hpp"
#include "kit/parts.hpp"
#include "kit/words.hpp"
#include "layer_calls.hpp"

// Part linear: the doors, on integers, so that any order of summation gives the same bits.

namespace shardlab::grade {
namespace {

// One use of a door.
struct Door {
  std::string door;
  std::string mode;            // see body `doors`
  std::vector<int64_t> shape;  // of the full tensor
  at::ScalarType dtype = at::kDouble;
  int64_t dim = 0;  // GatherFromShards
  bool strided = false;
  bool transposed = false;  // non-contiguous as well, but dense: a plain clone keeps its order in memory
};

// Several doors in one run, each held against what the words of the contract say.
class Doors {
 public:
  explicit Doors(CaseContext& t) : t_(t) { spec.body = "doors"; }

  void Add(const Door& door) {
    const std::string i = std::to_string(doors_.size());
    const bool gather = door.door == "GatherFromShards";
    const Placement input = gather ? Placement{door.dim} : Placement{};
    const at::Tensor full = t_.Integers(door.shape, door.dtype);
    const at::Tensor same = t_.Integers(door.shape, door.dtype);
    Values values;
    values.x = t_.PerRank([&](int rank) {
      return door.door == "ReduceFromShards" ? t_.Integers(door.shape, door.dtype)
                                             : input.PartOf(full, t_.ranks(), rank).contiguous();
    });
    // Behind Copy every rank goes its own way and so has its own gradient; behind the others the same.
    values.dy = t_.PerRank([&](int) {
      if (door.mode == "expanded") return at::ones(door.shape, same.options());
      return door.door == "CopyToShards" ? t_.Integers(door.shape, door.dtype) : same;
    });
    doors_.push_back(door);
    values_.push_back(values);
    const std::string size = door.shape.empty() ? "a number" : ShapeName(door.shape);
    const std::string what =
        fmt::format("{} ({}{}{}{}{})", door.door, size, door.dtype == at::kDouble ? "" : ", " + DtypeName(door.dtype),
                    gather ? fmt::format(" along dimension {}", door.dim) : "",
                    door.strided      ? ", non-contiguous"
                    : door.transposed ? ", transposed"
                                      : "",
                    door.mode == "plain" ? "" : ", " + Words(door.mode));
    what_.push_back(what);
    spec.params["calls"].push_back({{"what", what},
                                    {"door", door.door},
                                    {"mode", door.mode},
                                    {"dim", door.dim},
                                    {"strided", door.strided},
                                    {"transposed", door.transposed},
                                    {"size", gather ? full.size(door.dim) : int64_t{0}}});
    spec.inputs[i + ".x"] = values.x;
    spec.inputs[i + ".dy"] = values.dy;
  }

  Run Launch() { return t_.Launch(spec); }

  void ExpectForward(const Run& run) const {
    for (size_t d = 0; d < doors_.size(); ++d) {
      for (int rank = 0; rank < t_.ranks(); ++rank) {
        const std::string i = std::to_string(d);
        t_.Expect(
            run.Number(rank, i + ".input_changed") == 0,
            fmt::format("{}: forward changed its input on rank {}; an all-reduce writes into its tensor, so give it "
                        "a copy",
                        what_[d], rank));
        t_.ExpectEqual(run, rank, i + ".y", Forward(d, rank), ForwardLabel(d, rank));
        t_.Expect(run.Number(rank, i + ".shares_input") == 0,
                  fmt::format("{}: the result on rank {} shares memory with the input; return a copy", what_[d], rank));
      }
    }
  }

  void ExpectBackward(const Run& run) const {
    for (size_t d = 0; d < doors_.size(); ++d) {
      if (doors_[d].mode == "no gradient") continue;
      for (int rank = 0; rank < t_.ranks(); ++rank) {
        const std::string i = std::to_string(d);
        t_.Expect(
            run.Number(rank, i + ".gradient_changed") == 0,
            fmt::format("{}: backward changed the incoming gradient on rank {}, which others may hold too; work on a "
                        "copy",
                        what_[d], rank));
        t_.ExpectEqual(run, rank, i + ".dx", Backward(d, rank), BackwardLabel(d, rank));
      }
    }
  }

  RunSpec spec;

 private:
  struct Values {
    std::vector<at::Tensor> x;
    std::vector<at::Tensor> dy;
  };

  static std::string Words(const std::string& mode) {
    if (mode == "expanded") return "y.sum().backward()";
    if (mode == "transposed") return "a gradient with other strides";
    if (mode == "shared") return "the gradient shared with another branch";
    return "the input needs no gradient";
  }

  Label ForwardLabel(size_t d, int rank) const {
    const Values& values = values_[d];
    const at::Tensor own = values.x[static_cast<size_t>(rank)];
    Label label{"the output of " + what_[d]};
    if (doors_[d].door == "CopyToShards") {
      label.hypotheses = {{kSumInForward, [=] { return SumOf(values.x); }}};
    } else if (doors_[d].door == "GatherFromShards") {
      label.pieces = values.x;
      label.dim = doors_[d].dim;
      label.hypotheses = {{"it is this rank's part: the parts must be gathered", [=] { return own; }}};
    } else {
      label.summands = values.x;
      label.hypotheses = {{"it is only this rank's summand; the ranks' must be added up", [=] { return own; }}};
    }
    for (size_t later = d + 1; later < doors_.size(); ++later) {
      if (doors_[later].door != doors_[d].door) continue;
      label.hypotheses.push_back(
          {"the result of a later call was written into the same memory: each result is a tensor of its own",
           [=] { return Forward(later, rank); }});
    }
    return label;
  }

  Label BackwardLabel(size_t d, int rank) const {
    const Values& values = values_[d];
    const bool copy = doors_[d].door == "CopyToShards";
    const bool shared = doors_[d].mode == "shared";
    const at::Tensor own = values.dy[static_cast<size_t>(rank)];
    // The other branch hands its gradient on whatever the door does.
    const at::Tensor beside = shared ? own : at::zeros_like(own);
    const at::Tensor right = Backward(d, rank);
    const int ranks = t_.ranks();
    Label label{"the gradient of the input of " + what_[d]};
    if (copy) {
      if (!shared) label.summands = values.dy;
      label.hypotheses = {{"it is this rank's own; the ranks' must be added up", [=] { return own + beside; }},
                          {"the ranks' gradients are averaged: a mean over the ranks where the sum belongs",
                           [=] { return at::stack(values.dy).mean(0) + beside; }}};
    } else {
      label.hypotheses = {
          {fmt::format("it is {} times as large; what follows is one loss, computed by every rank alike, so its "
                       "gradients are not added up",
                       ranks),
           [=] { return shared ? (right - own) * ranks + own : right * ranks; }},
          {"it is the whole gradient, and not this rank's part of it", [=] { return own; }}};
    }
    if (shared) {
      label.hypotheses.push_back({kSharedGradientChanged, [=] { return (right - own) * 2; }});
    }
    return label;
  }

  at::Tensor Forward(size_t d, int rank) const {
    const Values& values = values_[d];
    if (doors_[d].door == "CopyToShards") return values.x[static_cast<size_t>(rank)];
    if (doors_[d].door == "GatherFromShards") return at::cat(values.x, doors_[d].dim);
    return SumOf(values.x);
  }

  at::Tensor Backward(size_t d, int rank) const {
    const Values& values = values_[d];
    const at::Tensor own = values.dy[static_cast<size_t>(rank)];
    at::Tensor through = own;
    if (doors_[d].door == "CopyToShards") through = SumOf(values.dy);
    if (doors_[d].door == "GatherFromShards") through = Placement{doors_[d].dim}.PartOf(own, t_.ranks(), rank);
    return doors_[d].mode == "shared" ? through + own : through;
  }

  CaseContext& t_;
  std::vector<Door> doors_;
  std::vector<Values> values_;
  std::vector<std::string> what_;
};

}  // namespace

SHARDLAB_CASE(linear, doors_values, kValue, {1, 2, 3, 4}) {
  Doors doors(t);
  // Twice with one shape: the first result is still held when the second is made.
  for (const char* door : {"CopyToShards", "ReduceFromShards"}) {
    doors.Add({door, "plain", {3, 5}});
    doors.Add({door, "plain", {3, 5}});
    doors.Add({door, "plain", {2, 2, 3}, at::kFloat});
  }
  doors.Add({"GatherFromShards", "plain", {3, 8}, at::kDouble, -1});
  doors.Add({"GatherFromShards", "plain", {3, 7}, at::kDouble, 1});
  doors.Add({"GatherFromShards", "plain", {3, 7}, at::kDouble, 1});
  doors.Add({"GatherFromShards", "plain", {2, 5, 3, 2}, at::kFloat, 1});
  doors.Add({"GatherFromShards", "plain", {2, 5, 3}, at::kDouble, -2});
  doors.Add({"GatherFromShards", "plain", {5, 2}, at::kDouble, 0});
  doors.ExpectForward(doors.Launch());
}

SHARDLAB_CASE(linear, doors_gradients, kGradient, {1, 2, 3, 4}) {
  Doors doors(t);
  for (const char* mode : {"plain", "expanded", "transposed", "shared"}) {
    doors.Add({"CopyToShards", mode, {3, 5}});
    doors.Add({"ReduceFromShards", mode, {3, 5}});
  }
  doors.Add({"GatherFromShards", "plain", {3, 8}, at::kDouble, -1});
  doors.Add({"GatherFromShards", "plain", {2, 5, 3}, at::kDouble, 1});
  doors.Add({"GatherFromShards", "expanded", {3, 5}, at::kDouble, 1});
  doors.Add({"GatherFromShards", "transposed", {3, 5}, at::kDouble, 1});
  doors.Add({"GatherFromShards", "plain", {5, 2}, at::kFloat, 0});
  doors.Add({"CopyToShards", "plain", {3, 5}, at::kFloat});
  doors.Add({"ReduceFromShards", "plain", {3, 5}, at::kFloat});
  doors.ExpectBackward(doors.Launch());
}

SHARDLAB_CASE(linear, doors_robust, kRobustness, {1, 3, 4}) {
  Doors doors(t);
  doors.Add({"CopyToShards", "no gradient", {2, 3}});
  doors.Add({"ReduceFromShards", "no gradient", {2, 3}});
  doors.Add({"GatherFromShards", "no gradient", {2, 3}, at::kDouble, 1});
  doors.Add({"GatherFromShards", "plain", {2, 1}, at::kDouble, 1});  // most shards are empty
  doors.Add({"GatherFromShards", "plain", {0, 5}, at::kDouble, 1});
  doors.Add({"GatherFromShards", "plain", {2, 5}, at::kDouble, 1, /*strided=*/true});
  doors.Add({"CopyToShards", "plain", {2, 3}, at::kDouble, 0, /*strided=*/true});
  doors.Add({"ReduceFromShards", "plain", {2, 3}, at::kDouble, 0, /*strided=*/true});
  for (const char* door : {"CopyToShards", "ReduceFromShards", "GatherFromShards"}) {
    doors.Add({door, "plain", {3, 4}, at::kDouble, 1, /*strided=*/false, /*transposed=*/true});
  }
  doors.Add({"ReduceFromShards", "plain", {0, 3}});
  for (const at::ScalarType dtype : {at::kHalf, at::kBFloat16}) {
    doors.Add({"CopyToShards", "plain", {3, 5}, dtype});
    doors.Add({"ReduceFromShards", "plain", {3, 5}, dtype});
    doors.Add({"GatherFromShards", "plain", {3, 5}, dtype, 1});
  }
  doors.Add({"CopyToShards", "plain", {}});
  doors.Add({"ReduceFromShards", "plain", {}});
  doors.Add({"GatherFromShards", "plain", {7}, at::kDouble, -1});
  const Run run = doors.Launch();
  doors.ExpectForward(run);
  doors.ExpectBackward(run);
}

}  // namespace shardlab::grade
