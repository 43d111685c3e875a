#include <algorithm>
#include <functional>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include "oracle.hpp"
#include "schedule_checks.hpp"

// Part skips: where skips go, what they cost, and where to cut.

namespace shardlab::grade {
namespace {

using Names = std::vector<std::string>;

struct SkipLayer {
  std::string name;
  Names stashes;
  Names pops;
};

struct AskedSkips {
  std::vector<SkipLayer> layers;
  std::vector<int> balance;
  std::string expected;  // the routes; or a word that the refusal must hold
  bool refused = false;
};

void ExpectSkips(CaseContext& t, const std::vector<AskedSkips>& asked) {
  RunSpec spec;
  spec.body = "skips";
  spec.params["asked"] = nlohmann::json::array();
  for (const AskedSkips& one : asked) {
    nlohmann::json layers = nlohmann::json::array();
    for (const SkipLayer& layer : one.layers) {
      layers.push_back({{"name", layer.name}, {"stashes", layer.stashes}, {"pops", layer.pops}});
    }
    spec.params["asked"].push_back({{"layers", layers}, {"balance", one.balance}});
  }
  const Run run = t.Launch(spec);
  for (size_t i = 0; i < asked.size(); ++i) {
    const at::Tensor bytes = run.Output(0, "routes " + std::to_string(i));
    const std::string text = bytes.numel() == 0 ? ""
                                                : std::string(reinterpret_cast<const char*>(bytes.data_ptr<uint8_t>()),
                                                              static_cast<size_t>(bytes.numel()));
    std::vector<std::string> words;
    for (const SkipLayer& layer : asked[i].layers) {
      words.push_back(fmt::format("{} (stashes [{}], pops [{}])", layer.name, fmt::join(layer.stashes, " "),
                                  fmt::join(layer.pops, " ")));
    }
    const std::string model = fmt::format("layers {} cut {}", fmt::join(words, ", "), fmt::join(asked[i].balance, ","));
    if (!asked[i].refused) {
      t.Expect(text == asked[i].expected,
               fmt::format("{}: the routes (name, from, to) are\n{}and must be\n{}", model,
                           text.empty() ? "none\n" : text, asked[i].expected.empty() ? "none" : asked[i].expected));
      continue;
    }
    t.Expect(text.rfind("error: ", 0) == 0, fmt::format("{}: must be refused with ContractError", model));
    t.Expect(text.find(asked[i].expected) != std::string::npos,
             fmt::format("{}: the message does not name '{}': {}", model, asked[i].expected, text.substr(7)));
  }
}

// All cuts into parts, the smallest largest part.
double BestLargest(const std::vector<double>& costs, int parts) {
  const std::function<double(size_t, int)> best = [&](size_t begin, int left) -> double {
    if (left == 1) return std::accumulate(costs.begin() + static_cast<std::ptrdiff_t>(begin), costs.end(), 0.0);
    double smallest = 1e300, first = 0;
    for (size_t end = begin + 1; end + static_cast<size_t>(left) - 1 <= costs.size(); ++end) {
      first += costs[end - 1];
      smallest = std::min(smallest, std::max(first, best(end, left - 1)));
    }
    return smallest;
  };
  return best(0, parts);
}

struct AskedBalance {
  std::vector<double> costs;
  int parts;
};

std::vector<std::vector<int64_t>> AskBalances(CaseContext& t, const std::vector<AskedBalance>& asked) {
  RunSpec spec;
  spec.body = "balance";
  spec.params["asked"] = nlohmann::json::array();
  for (const AskedBalance& one : asked) spec.params["asked"].push_back({{"costs", one.costs}, {"parts", one.parts}});
  const Run run = t.Launch(spec);
  std::vector<std::vector<int64_t>> answers;
  for (size_t i = 0; i < asked.size(); ++i) {
    const at::Tensor sizes = run.Output(0, "balance " + std::to_string(i));
    answers.emplace_back(sizes.data_ptr<int64_t>(), sizes.data_ptr<int64_t>() + sizes.numel());
  }
  return answers;
}

Plan UNetPlan(CaseContext& t, const std::vector<int64_t>& batches, int m) {
  Plan plan;
  plan.side = 16;
  plan.model = "unet-1-4";
  plan.model_seed = t.seed() % 1000000;
  plan.schedule = "gpipe";
  plan.ranks = t.ranks();
  plan.microbatches = m;
  plan.batches = batches;
  plan.BalanceEvenly();
  return plan;
}

}  // namespace

SHARDLAB_CASE(skips, routes, kValue, {1}) {
  const std::vector<SkipLayer> model = {
      {"a", {"x"}, {}}, {"b", {"y", "z"}, {}}, {"c", {}, {"z"}}, {"d", {"u"}, {"y"}}, {"e", {}, {"u", "x"}}};
  ExpectSkips(t, {{model, {5}, ""},
                  {model, {1, 1, 1, 1, 1}, "x 0 4\ny 1 3\nz 1 2\nu 3 4\n"},
                  {model, {2, 3}, "x 0 1\ny 0 1\nz 0 1\n"},
                  {model, {1, 2, 2}, "x 0 2\ny 1 2\n"},
                  {{{"a", {}, {}}, {"b", {}, {}}}, {1, 1}, ""}});
}

SHARDLAB_CASE(skips, the_slowest_stage_is_minimal, kValue, {1}) {
  std::vector<AskedBalance> asked = {
      {{3, 1, 4, 1, 5}, 3}, {{1, 1, 1, 1, 10}, 3}, {{10, 1, 1, 1, 1}, 2}, {{0, 0, 0, 0}, 4}};
  for (int k = 0; k < 40; ++k) {
    AskedBalance one;
    const int64_t layers = t.Integer(1, 10);
    for (int64_t i = 0; i < layers; ++i) one.costs.push_back(static_cast<double>(t.Integer(0, 30)));
    one.parts = static_cast<int>(t.Integer(1, layers));
    asked.push_back(one);
  }
  const auto answers = AskBalances(t, asked);
  for (size_t i = 0; i < asked.size(); ++i) {
    const auto& sizes = answers[i];
    const std::string what = fmt::format("costs {} in {} parts", fmt::join(asked[i].costs, " "), asked[i].parts);
    const bool fits =
        static_cast<int>(sizes.size()) == asked[i].parts &&
        std::all_of(sizes.begin(), sizes.end(), [](int64_t size) { return size >= 1; }) &&
        std::accumulate(sizes.begin(), sizes.end(), int64_t{0}) == static_cast<int64_t>(asked[i].costs.size());
    t.Expect(fits, fmt::format("{}: the sizes {} are no cut into non-empty parts", what, fmt::join(sizes, ",")));
    double largest = 0;
    size_t layer = 0;
    for (const int64_t size : sizes) {
      double part = 0;
      for (int64_t k = 0; k < size; ++k) part += asked[i].costs[layer++];
      largest = std::max(largest, part);
    }
    const double best = BestLargest(asked[i].costs, asked[i].parts);
    t.Expect(largest <= best, fmt::format("{}: the cut {} has a largest part of {:g}; there is one with {:g}", what,
                                          fmt::join(sizes, ","), largest, best));
  }
}

SHARDLAB_CASE(skips, a_unet, kValue, {2, 4}) {
  const Plan plan = UNetPlan(t, {5, 5}, 2);
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(skips, gradients_of_a_unet, kGradient, {3}) {
  const Plan plan = UNetPlan(t, {6}, 3);
  ExpectGradients(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(skips, a_skip_travels_once_each_way, kCost, {4}) {
  const Plan plan = UNetPlan(t, {4, 4}, 2);
  const LayerSequence model = plan.MakeModel();
  // Who has which end, and how many boundaries lie between.
  std::vector<int> stage_of;
  for (size_t s = 0; s < plan.balance.size(); ++s)
    stage_of.insert(stage_of.end(), static_cast<size_t>(plan.balance[s]), static_cast<int>(s));
  int crossing = 0;
  for (size_t i = 0; i < model.size(); ++i) {
    for (const std::string& name : model[i].stashes) {
      for (size_t k = i; k < model.size(); ++k) {
        const bool pops = std::count(model[k].pops.begin(), model[k].pops.end(), name) > 0;
        if (pops && stage_of[i] != stage_of[k]) ++crossing;
      }
    }
  }
  const Run run = ExpectTraining(t, plan, DrawData(t, plan));
  const Traffic traffic = TotalTraffic(run, t.ranks(), "step 1", "end");
  t.ExpectCost(fmt::format("messages of all ranks in a step: 2m for each of 3 boundaries and {} skips", crossing),
               static_cast<double>(traffic.messages), 2 * 2 * (3 + crossing), "messages");
}

SHARDLAB_CASE(skips, names_that_do_not_fit, kRobustness, {1}) {
  ExpectSkips(t, {{{{"a", {"x"}, {}}, {"b", {}, {}}}, {2}, "x", true},
                  {{{"a", {}, {"x"}}, {"b", {}, {}}}, {2}, "x", true},
                  {{{"a", {}, {"x"}}, {"b", {"x"}, {}}}, {1, 1}, "x", true},
                  {{{"a", {"x"}, {"x"}}, {"b", {}, {}}}, {1, 1}, "x", true},
                  {{{"a", {"x"}, {}}, {"b", {}, {"x"}}, {"c", {}, {"x"}}}, {3}, "c", true},
                  {{{"a", {"x"}, {}}, {"b", {"x"}, {}}, {"c", {}, {"x"}}}, {3}, "b", true}});
}

SHARDLAB_CASE(skips, cuts_that_there_are_not, kRobustness, {1}) {
  for (const auto& sizes : AskBalances(t, {{{1, 2}, 3}, {{1, 2}, 0}, {{}, 1}, {{1, -1}, 1}})) {
    t.Expect(sizes == std::vector<int64_t>{-1},
             fmt::format("more parts than layers, no part, no layer and a negative cost must be refused with "
                         "ContractError; here came {}",
                         fmt::join(sizes, ",")));
  }
}

SHARDLAB_CASE(skips, late_skips, kRobustness, {3}) {
  FaultSpec faults;
  faults.jitter_s = 0.003;
  faults.seed = t.seed();
  const Plan plan = UNetPlan(t, {5}, 3);
  ExpectTraining(t, plan, DrawData(t, plan), faults);
}

}  // namespace shardlab::grade
