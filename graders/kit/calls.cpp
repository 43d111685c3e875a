#include "kit/calls.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "kit/result_flaw.hpp"
#include "kit/words.hpp"

namespace shardlab::grade {

Calls::Calls(const std::string& body, bool point_to_point_only) {
  spec.body = body;
  spec.params["calls"] = nlohmann::json::array();
  spec.point_to_point_only = point_to_point_only;
}

void Calls::Add(Call call) {
  nlohmann::json params = call.params;
  params["what"] = call.what;
  spec.params["calls"].push_back(std::move(params));
  spec.inputs[fmt::format("x{}", calls_.size())] = call.inputs;
  calls_.push_back(std::move(call));
}

Run Calls::LaunchAndExpect(CaseContext& t) const {
  Run run = t.Launch(spec);
  for (size_t i = 0; i < calls_.size(); ++i) {
    if (!calls_[i].expected.empty()) Expect(t, run, i);
  }
  return run;
}

void Calls::Expect(CaseContext& t, const Run& run, size_t i) const {
  const auto& [what, inputs, expected, params, mistakes] = calls_[i];
  const std::string output = fmt::format("y{}", i);
  const auto defined = [](const at::Tensor& tensor) { return tensor.defined(); };
  const auto root = static_cast<int>(std::find_if(expected.begin(), expected.end(), defined) - expected.begin());
  if (expected.size() > 1 && std::count_if(expected.begin(), expected.end(), defined) == 1) {
    const at::Tensor& right = expected[static_cast<size_t>(root)];
    for (int rank = 0; rank < static_cast<int>(expected.size()); ++rank) {
      const at::Tensor got = run.Output(rank, output);
      const bool in_its_place = rank != root && got.defined() && got.sizes() == right.sizes() &&
                                got.scalar_type() == right.scalar_type() && got.equal(right);
      t.Expect(!in_its_place || run.Output(root, output).defined(),
               fmt::format("with {}: rank {} returns what the root should, and rank {} nothing\n  this is what you get "
                           "when the root is ignored",
                           what, rank, root));
    }
  }
  for (int rank = 0; rank < static_cast<int>(expected.size()); ++rank) ExpectOnRank(t, run, i, rank);
}

void Calls::ExpectOnRank(CaseContext& t, const Run& run, size_t i, int rank) const {
  const auto& [what, inputs, all, params, mistakes] = calls_[i];
  const at::Tensor& expected = all[static_cast<size_t>(rank)];
  const std::string here = fmt::format("rank {}, with {}", rank, what);
  const std::string output = fmt::format("y{}", i);
  if (expected.defined()) {
    Label label = mistakes ? mistakes(rank) : Label{};
    label.what = "the result with " + what;
    const bool same_everywhere = all.size() > 1 && all[0].is_same(all[1]);
    if (label.of_ranks.empty() && !same_everywhere) label.of_ranks = all;
    t.ExpectEqual(run, rank, output, expected, label);
    const double flaw = run.Number(rank, fmt::format("flaw{}", i));
    t.Expect(flaw != kChangedLater, here +
                                        ": the result was right, and changed when the function was called again; "
                                        "every call returns a tensor of its own (none that is static)");
    t.Expect(flaw != kNotContiguous, here + ": the result is not contiguous; .contiguous() makes it so");
    t.Expect(flaw != kSharesInput,
             here +
                 ": the result shares memory with the input; it must be a new tensor, so that whoever changes one of "
                 "them does not change the other");
  } else {
    t.Expect(!run.Output(rank, output).defined(),
             here + ": this rank is not the root and returns an undefined tensor, at::Tensor()");
  }
  t.Expect(run.Number(rank, fmt::format("flaw{}", i)) != kInputAltered,
           here +
               ": the caller's input has another shape, other strides, other memory or another requires_grad after "
               "the call; it must be left as it is");
  Label untouched{"the input after the call (it must be left as it is) with " + what};
  untouched.hypotheses = {{"the result is written into the input", [&] { return run.Output(rank, output); }}};
  t.ExpectEqual(run, rank, fmt::format("after{}", i), inputs[static_cast<size_t>(rank)], untouched);
}

Call InGroup(const Call& call, const std::vector<int>& members, int ranks) {
  Call moved{call.what + ", in the group of ranks " + ListName({members.begin(), members.end()}),
             std::vector<at::Tensor>(static_cast<size_t>(ranks), at::zeros({1})),
             std::vector<at::Tensor>(static_cast<size_t>(ranks)), call.params};
  moved.params["group"] = members;
  for (size_t i = 0; i < members.size(); ++i) {
    const auto rank = static_cast<size_t>(members[i]);
    moved.inputs[rank] = call.inputs[i];
    moved.expected[rank] = call.expected[i];
  }
  if (call.mistakes) {
    moved.mistakes = [members, of_group = call.mistakes](int rank) {
      const auto found = std::find(members.begin(), members.end(), rank);
      return found == members.end() ? Label{} : of_group(static_cast<int>(found - members.begin()));
    };
  }
  return moved;
}

std::vector<std::vector<int>> GroupsInTurn() { return {{0, 1, 2}, {2, 0}, {2, 0}, {2, 1, 0}, {0, 1, 2}}; }

void ExpectCommErrors(CaseContext& t, const std::string& body, const std::vector<std::string>& functions) {
  RunSpec spec;
  spec.body = body;
  spec.params["functions"] = functions;
  const Run run = t.Launch(spec);
  for (const std::string& name : functions) {
    for (int rank = 0; rank < 3; ++rank) {
      const double end = run.Number(0, fmt::format("{} {}", name, rank));
      t.Expect(end == kCommError,
               fmt::format("{} {} on rank {} of 3 although what it waited for failed; the CommError must come out",
                           name, end == kReturned ? "returned" : "threw something else than CommError", rank));
    }
  }
}

}  // namespace shardlab::grade
