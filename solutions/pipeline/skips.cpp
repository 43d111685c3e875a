#include "shardlab/pipeline/skips.hpp"

#include <map>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

namespace {

struct Ends {
  std::string name;
  int stash = -1;  // layer
  int pop = -1;    // layer
};

// The ends of all skips, in the order in which they are stashed.
std::vector<Ends> FindEnds(const LayerSequence& model) {
  std::vector<Ends> all;
  std::map<std::string, size_t> place;
  const auto layer_name = [&](int layer) { return model[static_cast<size_t>(layer)].name; };
  for (int i = 0; i < static_cast<int>(model.size()); ++i) {
    const LayerSpec& spec = model[static_cast<size_t>(i)];
    // A layer pops before it stashes: what it stashes is made of what it popped.
    for (const std::string& name : spec.pops) {
      const auto found = place.find(name);
      if (found == place.end()) {
        throw ContractError(
            fmt::format("layer '{}' pops the skip '{}', and no layer before it stashes one", spec.name, name));
      }
      Ends& ends = all[found->second];
      if (ends.pop >= 0) {
        throw ContractError(fmt::format("the skip '{}' is popped twice: by layer '{}' and by layer '{}'", name,
                                        layer_name(ends.pop), spec.name));
      }
      ends.pop = i;
    }
    for (const std::string& name : spec.stashes) {
      const auto [found, is_new] = place.emplace(name, all.size());
      if (!is_new) {
        throw ContractError(fmt::format("the skip '{}' is stashed twice: by layer '{}' and by layer '{}'", name,
                                        layer_name(all[found->second].stash), spec.name));
      }
      all.push_back({name, i, -1});
    }
  }
  for (const Ends& ends : all) {
    if (ends.pop >= 0) continue;
    throw ContractError(
        fmt::format("layer '{}' stashes the skip '{}', and no later layer pops it", layer_name(ends.stash), ends.name));
  }
  return all;
}

}  // namespace

void CheckSkips(const LayerSequence& model) { FindEnds(model); }

std::vector<SkipRoute> SkipRoutes(const LayerSequence& model, const std::vector<int>& balance) {
  std::vector<int> stage_of;  // by layer
  for (size_t stage = 0; stage < balance.size(); ++stage) {
    stage_of.insert(stage_of.end(), static_cast<size_t>(balance[stage]), static_cast<int>(stage));
  }
  std::vector<SkipRoute> routes;
  for (const Ends& ends : FindEnds(model)) {
    const SkipRoute route{ends.name, stage_of.at(static_cast<size_t>(ends.stash)),
                          stage_of.at(static_cast<size_t>(ends.pop))};
    if (route.from != route.to) routes.push_back(route);
  }
  return routes;
}

}  // namespace shardlab
