#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include "kit/traffic.hpp"
#include "oracle.hpp"

// Part skips: where skips go and what they cost.

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
  std::string expected;      // the routes
  Names refused_names = {};  // of the skip and of the layers that the refusal must name; none: it is not refused
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
    if (asked[i].refused_names.empty()) {
      t.Expect(text == asked[i].expected,
               fmt::format("{}: the routes (name, from, to) are\n{}and must be\n{}", model,
                           text.empty() ? "none\n" : text, asked[i].expected.empty() ? "none" : asked[i].expected));
      continue;
    }
    t.Expect(text.rfind("error: ", 0) == 0, fmt::format("{}: must be refused with ContractError", model));
    for (const std::string& name : asked[i].refused_names) {
      t.Expect(text.find(name, 7) != std::string::npos,
               fmt::format("{}: the message must name '{}', and says: {}", model, name, text.substr(7)));
    }
  }
}

TrainingPlan UNetPlan(CaseContext& t, const std::vector<int64_t>& batches, int m) {
  TrainingPlan plan;
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

SHARDLAB_CASE(skips, a_unet, kValue, {2, 4}) {
  const TrainingPlan plan = UNetPlan(t, {5, 5}, 2);
  ExpectTraining(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(skips, gradients_of_a_unet, kGradient, {3}) {
  const TrainingPlan plan = UNetPlan(t, {6}, 3);
  ExpectGradients(t, plan, DrawData(t, plan));
}

SHARDLAB_CASE(skips, a_skip_travels_once_each_way, kCost, {4}) {
  const TrainingPlan plan = UNetPlan(t, {4, 4}, 2);
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
  const Traffic traffic = TotalTraffic(run, "step 1", "end");
  t.ExpectCost(fmt::format("messages of all ranks in a step: 2m for each of 3 boundaries and {} skips", crossing),
               static_cast<double>(traffic.messages), 2 * 2 * (3 + crossing), "messages");
}

SHARDLAB_CASE(skips, names_that_do_not_fit, kRobustness, {1}) {
  ExpectSkips(
      t, {{{{"enc1", {"skip7"}, {}}, {"enc2", {}, {}}}, {2}, "", {"skip7", "enc1"}},
          {{{"enc1", {}, {"skip7"}}, {"enc2", {}, {}}}, {2}, "", {"skip7", "enc1"}},
          {{{"enc1", {}, {"skip7"}}, {"enc2", {"skip7"}, {}}}, {1, 1}, "", {"skip7", "enc1"}},
          {{{"enc1", {"skip7"}, {"skip7"}}, {"enc2", {}, {}}}, {1, 1}, "", {"skip7", "enc1"}},
          {{{"enc1", {"skip7"}, {}}, {"enc2", {}, {"skip7"}}, {"enc3", {}, {"skip7"}}}, {3}, "", {"skip7", "enc3"}},
          {{{"enc1", {"skip7"}, {}}, {"enc2", {"skip7"}, {}}, {"enc3", {}, {"skip7"}}}, {3}, "", {"skip7", "enc2"}}});
}

SHARDLAB_CASE(skips, late_skips, kRobustness, {3}) {
  const FaultSpec faults = LateMessages(t, 0.003);
  const TrainingPlan plan = UNetPlan(t, {5}, 3);
  ExpectTraining(t, plan, DrawData(t, plan), faults);
}

}  // namespace shardlab::grade
