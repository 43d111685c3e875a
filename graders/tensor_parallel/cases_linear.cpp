#include <fmt/format.h>

#include "layer_calls.hpp"
#include "shardlab/base/split.hpp"

// Part linear: the doors, the column-parallel and the row-parallel layer. Everything is integers: any order of
// summation gives the same bits, so equality is exact.

namespace shardlab::grade {
namespace {

struct Sizes {
  int64_t out;
  int64_t in;
  int64_t rows;
};

// Divisible, odd, more ranks than features on either side, one row.
const std::vector<Sizes> kSizes = {{4, 4, 2}, {5, 7, 3}, {1, 6, 2}, {6, 1, 1}};

std::string Describe(const char* function, const Sizes& sizes, const std::string& more = "") {
  return fmt::format("{} (weight [{}, {}], {} row{}{})", function, sizes.out, sizes.in, sizes.rows,
                     sizes.rows == 1 ? "" : "s", more);
}

at::Tensor Linear(const Weights& weights, const at::Tensor& x) {
  return at::linear(x, weights.at("weight"), weights.count("bias") ? weights.at("bias") : at::Tensor());
}

LayerCall Column(CaseContext& t, const Sizes& sizes, bool whole, bool bias = true) {
  LayerCall call;
  call.what = Describe("MakeColumnLinear", sizes, std::string(whole ? ", gathered" : "") + (bias ? "" : ", no bias"));
  call.params = {{"layer", "column"}, {"whole", whole}};
  const at::Tensor weight_OI = t.Integers({sizes.out, sizes.in}, at::kDouble);
  const at::Tensor bias_O = bias ? t.Integers({sizes.out}, at::kDouble) : at::Tensor();
  call.weights = {{"weight", weight_OI, {0}}, {"bias", bias_O, {0}}};
  if (!whole) call.output = {-1};
  call.x = {t.Integers({sizes.rows, sizes.in}, at::kDouble)};
  call.dy = {t.Integers({sizes.rows, sizes.out}, at::kDouble)};
  call.oracle = Linear;

  const int ranks = t.ranks();
  const at::Tensor dy = call.dy[0];
  call.dx_mistakes = [=](size_t, int rank) {
    Label label;
    const auto of = [=](int r) {
      return Placement{-1}.PartOf(dy, ranks, r).mm(Placement{0}.PartOf(weight_OI, ranks, r));
    };
    for (int r = 0; r < ranks; ++r) label.summands.push_back(of(r));
    label.hypotheses = {
        {"it is only what this rank's output features say about the input; the ranks' gradients must be added "
         "up (an all-reduce in backward)",
         [=] { return of(rank); }}};
    return label;
  };
  return call;
}

LayerCall Row(CaseContext& t, const Sizes& sizes, bool bias = true) {
  LayerCall call;
  call.what = Describe("MakeRowLinear", sizes, bias ? "" : ", no bias");
  call.params = {{"layer", "row"}};
  const at::Tensor weight_OI = t.Integers({sizes.out, sizes.in}, at::kDouble);
  // Never 0: a bias that is added T times must show.
  const at::Tensor bias_O = bias ? t.Integers({sizes.out}, at::kDouble).abs() + 1 : at::Tensor();
  call.weights = {{"weight", weight_OI, {1}}, {"bias", bias_O, {}}};
  call.input = {-1};
  call.x = {t.Integers({sizes.rows, sizes.in}, at::kDouble)};
  call.dy = {t.Integers({sizes.rows, sizes.out}, at::kDouble)};
  call.oracle = Linear;

  const int ranks = t.ranks();
  const at::Tensor x = call.x[0];
  const at::Tensor dy = call.dy[0];
  call.y_mistakes = [=](size_t, int rank) {
    const auto partial = [=](int r) {
      return Placement{-1}.PartOf(x, ranks, r).mm(Placement{1}.PartOf(weight_OI, ranks, r).t());
    };
    const auto whole = [=] { return x.mm(weight_OI.t()); };
    Label label;
    // With the bias among the first rank's: their sum is the output.
    for (int r = 0; r < ranks; ++r) label.summands.push_back(bias && r == 0 ? partial(r) + bias_O : partial(r));
    const std::string alone = "it is only this rank's summand; the ranks' must be added up";
    const std::string averaged = "the ranks' summands were averaged; the product is their sum";
    if (!bias) {
      label.hypotheses = {{alone, [=] { return partial(rank); }}, {averaged, [=] { return whole() / ranks; }}};
      return label;
    }
    label.hypotheses = {
        {alone + ", and the bias too", [=] { return partial(rank); }},
        {alone + " (an all-reduce)", [=] { return partial(rank) + bias_O; }},
        {"the bias is missing", whole},
        {fmt::format("the bias was added {} times, once by every rank before the sum; it belongs behind the sum",
                     ranks),
         [=] { return whole() + bias_O * ranks; }},
        {"the bias was added before the sum and behind it", [=] { return whole() + bias_O * (ranks + 1); }},
        {averaged, [=] { return whole() / ranks + bias_O; }}};
    return label;
  };
  call.dx_mistakes = [=](size_t, int rank) {
    Label label;
    label.hypotheses = {
        {fmt::format("it is {} times as large: the backward of the sum is the identity, since every rank holds "
                     "the whole gradient already",
                     ranks),
         [=] { return Placement{-1}.PartOf(dy.mm(weight_OI), ranks, rank) * ranks; }}};
    return label;
  };
  return call;
}

// One use of a door.
struct Door {
  std::string door;
  std::string mode;
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
    const std::string what = fmt::format("{} ({}{}{}{})", door.door, ShapeName(door.shape),
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
    if (mode == "shared") return "the gradient shared with another branch";
    return "the input needs no gradient";
  }

  Label ForwardLabel(size_t d, int rank) const {
    const Values& values = values_[d];
    const at::Tensor own = values.x[static_cast<size_t>(rank)];
    Label label{"the output of " + what_[d]};
    if (doors_[d].door == "CopyToShards") {
      label.hypotheses = {{"the ranks' tensors are added up: forward does nothing, and the sum belongs into backward",
                           [=] { return at::stack(values.x).sum(0); }}};
    } else if (doors_[d].door == "GatherFromShards") {
      label.pieces = values.x;
      label.dim = doors_[d].dim;
      label.hypotheses = {{"it is this rank's part: the parts must be gathered", [=] { return own; }}};
    } else {
      label.summands = values.x;
      label.hypotheses = {{"it is only this rank's summand; the ranks' must be added up", [=] { return own; }}};
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
      label.hypotheses.push_back(
          {"backward changes the incoming gradient, which another branch holds too: work on a copy",
           [=] { return (right - own) * 2; }});
    }
    return label;
  }

  at::Tensor Forward(size_t d, int rank) const {
    const Values& values = values_[d];
    if (doors_[d].door == "CopyToShards") return values.x[static_cast<size_t>(rank)];
    if (doors_[d].door == "GatherFromShards") return at::cat(values.x, doors_[d].dim);
    return at::stack(values.x).sum(0);
  }

  at::Tensor Backward(size_t d, int rank) const {
    const Values& values = values_[d];
    const at::Tensor own = values.dy[static_cast<size_t>(rank)];
    at::Tensor through = own;
    if (doors_[d].door == "CopyToShards") through = at::stack(values.dy).sum(0);
    if (doors_[d].door == "GatherFromShards") through = Placement{doors_[d].dim}.PartOf(own, t_.ranks(), rank);
    return doors_[d].mode == "shared" ? through + own : through;
  }

  CaseContext& t_;
  std::vector<Door> doors_;
  std::vector<Values> values_;
  std::vector<std::string> what_;
};

}  // namespace

// ------------------------------------------------------------------------------------------------ values

SHARDLAB_CASE(linear, doors_values, kValue, {1, 2, 3, 4}) {
  Doors doors(t);
  for (const char* door : {"CopyToShards", "ReduceFromShards"}) {
    doors.Add({door, "plain", {3, 5}});
    doors.Add({door, "plain", {2, 2, 3}, at::kFloat});
  }
  doors.Add({"GatherFromShards", "plain", {3, 8}, at::kDouble, -1});
  doors.Add({"GatherFromShards", "plain", {3, 7}, at::kDouble, 1});
  doors.Add({"GatherFromShards", "plain", {2, 5, 3, 2}, at::kFloat, 1});
  doors.ExpectForward(doors.Launch());
}

SHARDLAB_CASE(linear, column_values, kValue, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  for (const Sizes& sizes : kSizes) {
    calls.Add(Column(t, sizes, /*whole=*/false));
    calls.Add(Column(t, sizes, /*whole=*/true));
  }
  calls.Add(Column(t, {4, 3, 2}, /*whole=*/false, /*bias=*/false));
  calls.ExpectShards(t);
  calls.ExpectOutputs(t, calls.Launch(t));
}

SHARDLAB_CASE(linear, row_values, kValue, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  for (const Sizes& sizes : kSizes) calls.Add(Row(t, sizes));
  calls.Add(Row(t, {3, 4, 2}, /*bias=*/false));
  calls.ExpectShards(t);
  calls.ExpectOutputs(t, calls.Launch(t));
}

// ------------------------------------------------------------------------------------------------ gradients

SHARDLAB_CASE(linear, doors_gradients, kGradient, {1, 2, 3, 4}) {
  Doors doors(t);
  for (const char* mode : {"plain", "expanded", "shared"}) {
    doors.Add({"CopyToShards", mode, {3, 5}});
    doors.Add({"ReduceFromShards", mode, {3, 5}});
  }
  doors.Add({"GatherFromShards", "plain", {3, 8}, at::kDouble, -1});
  doors.Add({"GatherFromShards", "plain", {2, 5, 3}, at::kDouble, 1});
  doors.Add({"GatherFromShards", "expanded", {3, 5}, at::kDouble, 1});
  doors.ExpectBackward(doors.Launch());
}

SHARDLAB_CASE(linear, column_gradients, kGradient, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  for (const Sizes& sizes : kSizes) {
    calls.Add(Column(t, sizes, /*whole=*/false));
    calls.Add(Column(t, sizes, /*whole=*/true));
  }
  calls.ExpectGradients(t, calls.Launch(t));
}

SHARDLAB_CASE(linear, row_gradients, kGradient, {1, 2, 3, 4}) {
  LayerCalls calls(t.ranks());
  for (const Sizes& sizes : kSizes) calls.Add(Row(t, sizes));
  calls.ExpectGradients(t, calls.Launch(t));
}

// ------------------------------------------------------------------------------------------------ costs

SHARDLAB_CASE(linear, column_cost, kCost, {2, 3, 4}) {
  const Sizes sizes{7, 5, 3};
  LayerCalls calls(t.ranks());
  calls.Add(Column(t, sizes, /*whole=*/false));
  calls.Add(Column(t, sizes, /*whole=*/true));
  const Run run = calls.Launch(t);
  const auto nothing = [](int) { return std::vector<Collective>{}; };
  const auto gather = [&](int rank) {
    return std::vector<Collective>{{OpKind::kAllGather, sizes.rows * SplitRange(sizes.out, t.ranks(), rank).size()}};
  };
  const auto reduce = [&](int) { return std::vector<Collective>{{OpKind::kAllReduce, sizes.rows * sizes.in}}; };
  ExpectTraffic(t, run, "backward of " + calls.call(0).what, "backward 0.0", "end 0.0", reduce);
  ExpectTraffic(t, run, "forward of " + calls.call(0).what, "forward 0.0", "backward 0.0", nothing);
  ExpectTraffic(t, run, "forward of " + calls.call(1).what, "forward 1.0", "backward 1.0", gather);
  ExpectTraffic(t, run, "backward of " + calls.call(1).what, "backward 1.0", "end 1.0", reduce);
}

SHARDLAB_CASE(linear, row_cost, kCost, {2, 3, 4}) {
  const Sizes sizes{7, 5, 3};
  LayerCalls calls(t.ranks());
  calls.Add(Row(t, sizes));
  const Run run = calls.Launch(t);
  ExpectTraffic(t, run, "forward of " + calls.call(0).what, "forward 0.0", "backward 0.0", [&](int) {
    return std::vector<Collective>{{OpKind::kAllReduce, sizes.rows * sizes.out}};
  });
  ExpectTraffic(t, run, "backward of " + calls.call(0).what, "backward 0.0", "end 0.0",
                [](int) { return std::vector<Collective>{}; });
}

// ------------------------------------------------------------------------------------------------ robustness

SHARDLAB_CASE(linear, input_without_gradient, kRobustness, {2, 3, 4}) {
  LayerCalls calls(t.ranks());
  LayerCall column = Column(t, {5, 3, 2}, /*whole=*/true);
  LayerCall row = Row(t, {3, 5, 2});
  column.what += ", the input needs no gradient";
  row.what += ", the input needs no gradient";
  column.params["input_needs_gradient"] = false;
  row.params["input_needs_gradient"] = false;
  calls.Add(column);
  calls.Add(row);
  const Run run = calls.Launch(t);
  calls.ExpectOutputs(t, run);
  calls.ExpectGradients(t, run);
  ExpectTraffic(t, run, "backward of " + column.what, "backward 0.0", "end 0.0",
                [](int) { return std::vector<Collective>{}; });
}

SHARDLAB_CASE(linear, evaluation_and_strides, kRobustness, {1, 3}) {
  LayerCalls calls(t.ranks());
  for (LayerCall call : {Column(t, {5, 4, 3}, /*whole=*/true), Row(t, {4, 5, 3})}) {
    LayerCall strided = call;
    strided.what += ", non-contiguous input";
    strided.params["strided"] = true;
    calls.Add(strided);
    call.what += ", without autograd";
    call.dy = {at::Tensor()};
    calls.Add(call);
  }
  const Run run = calls.Launch(t);
  calls.ExpectOutputs(t, run);
  calls.ExpectGradients(t, run);
}

SHARDLAB_CASE(linear, more_dimensions, kRobustness, {2, 3}) {
  LayerCalls calls(t.ranks());
  for (LayerCall call : {Column(t, {5, 4, 6}, /*whole=*/false), Row(t, {4, 5, 6})}) {
    call.what += ", as [2, 3, features]";
    call.x = {call.x[0].view({2, 3, -1})};
    call.dy = {call.dy[0].view({2, 3, -1})};
    call.y_mistakes = nullptr;
    call.dx_mistakes = nullptr;
    calls.Add(call);
  }
  const Run run = calls.Launch(t);
  calls.ExpectOutputs(t, run);
  calls.ExpectGradients(t, run);
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
  const Run run = doors.Launch();
  doors.ExpectForward(run);
  doors.ExpectBackward(run);
}

SHARDLAB_CASE(linear, late_messages, kRobustness, {3}) {
  LayerCalls calls(t.ranks());
  calls.Add(Column(t, {5, 7, 3}, /*whole=*/true));
  calls.Add(Row(t, {5, 7, 3}));
  calls.spec.faults.jitter_s = 0.005;
  calls.spec.faults.seed = t.seed();
  const Run run = calls.Launch(t);
  calls.ExpectOutputs(t, run);
  calls.ExpectGradients(t, run);
}

}  // namespace shardlab::grade
