// The program behind `lab tiles`: which pixels the ranks have, need and send when layers run on tiles of an image. Linked once
// with the solutions' geometry and once with the student's; `lab tiles --mine` starts the latter.

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "../schedule/command_line.hpp"
#include "halo_plan.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/report/files.hpp"

namespace shardlab::tiles {
namespace {

constexpr int kFailed = 1;
constexpr int kWrongUsage = 2;
constexpr int kCannot = 3;
constexpr int kMostDrawn = 64;

int Run(int argc, char** argv) {
  CLI::App app("Which pixels the ranks have, need and send when layers run on tiles of an image.", "lab tiles");
  std::string image, grid = "2x2", svg;
  std::vector<std::string> windows;
  bool mine = false;
  app.add_option("image", image, "height and width in pixels: 56x56")->required();
  app.add_option("--grid", grid, "tiles above and beside each other: 2x2, 1x4")->capture_default_str();
  app.add_option("--conv", windows,
                 "a layer: kernel, stride, padding, dilation, as 7,2,3 or 1x7,1,0x3; several times for layers one "
                 "after the other")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--svg", svg, "draw what the first layer reads into this file");
  app.add_flag("--mine", mine, "with the geometry in exercises/ instead of the solution's");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::fputs(app.help().c_str(), stdout);
    return 0;
  } catch (const CLI::ParseError& error) {
    throw UsageError(WhatIsWrong(error) + " (lab tiles --help)");
  }
  if (windows.empty()) windows = {"3,1,1"};
  try {
    int64_t height = 0, width = 0;
    ParseImage(image, &height, &width);
    std::vector<ImageWindow> layers;
    for (const std::string& window : windows) layers.push_back(ParseWindow(window));
    const ChainPlan plan = PlanChain(height, width, ParseGrid(grid), layers);
    if (!svg.empty() && plan.grid.size() > kMostDrawn) {
      throw ContractError(fmt::format("--svg: {} pictures beside each other are too many: {} tiles at most",
                                      plan.grid.size(), kMostDrawn));
    }
    fmt::print("{}", TextOf(plan));
    if (!svg.empty()) {
      WriteFileSafely(svg, SvgOf(plan));
      fmt::print("picture: {}\n", svg);
    }
  } catch (const NotImplemented&) {
    throw;
  } catch (const ContractError& error) {
    throw UsageError(error.what());
  }
  return 0;
}

}  // namespace
}  // namespace shardlab::tiles

int main(int argc, char** argv) {
  using namespace shardlab;
  const auto complain = [](const std::exception& error, int status) {
    fmt::print(stderr, "lab tiles: {}\n", Brief(error));
    return status;
  };
  try {
    return tiles::Run(argc, argv);
  } catch (const UsageError& error) {
    return complain(error, tiles::kWrongUsage);
  } catch (const EnvironmentError& error) {
    return complain(error, tiles::kCannot);
  } catch (const std::exception& error) {
    return complain(error, tiles::kFailed);
  }
}
