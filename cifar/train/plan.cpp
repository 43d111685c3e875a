#include "plan.hpp"

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include "shardlab/base/errors.hpp"
#include "shardlab/models/classifiers.hpp"
#include "shardlab/report/files.hpp"

namespace shardlab::train {
namespace {

void ReadMesh(Plan* plan) {
  try {
    plan->axes = ParseMesh(plan->mesh);
  } catch (const ContractError& error) {
    throw UsageError(fmt::format("--mesh: {}", error.what()));
  }
  for (const MeshAxis& axis : plan->axes) {
    if (axis.size > 1 && axis.name != "data" && axis.name != "tensor") {
      throw UsageError(
          fmt::format("--mesh: models are trained along the axes data and tensor so far, so {} must be 1, not {}",
                      axis.name, axis.size));
    }
  }
  // The tensor axis runs fastest: its ranks talk in every layer.
  for (const char* name : {"data", "tensor"}) {
    const bool there =
        std::any_of(plan->axes.begin(), plan->axes.end(), [&](const MeshAxis& axis) { return axis.name == name; });
    MeshAxis axis;
    axis.name = name;
    if (!there) plan->axes.push_back(axis);
  }
}

}  // namespace

int Plan::Along(const std::string& axis) const {
  for (const MeshAxis& one : axes) {
    if (one.name == axis) return one.size;
  }
  return 1;
}

bool ReadPlan(int argc, char** argv, Plan* plan) {
  CLI::App app("Trains a model on a mesh of ranks.", "lab train");
  const std::vector<std::string>& models = ModelNames();
  app.set_config("--config", "", "options from a file (TOML)");
  app.add_option("--mesh", plan->mesh, "ranks along each axis, as in data=2,tensor=2")->capture_default_str();
  app.add_option("--model", plan->model, fmt::format("{}", fmt::join(models, ", ")))
      ->check(CLI::IsMember(models))
      ->capture_default_str();
  app.add_option("--data", plan->data,
                 "auto (cifar10 where its files are, else synthetic), cifar10, cifar100, synthetic")
      ->check(CLI::IsMember({"auto", "cifar10", "cifar100", "synthetic"}))
      ->capture_default_str();
  app.add_option("--dir", plan->folder, "the folder with CIFAR's files")->capture_default_str();
  app.add_option("--optimizer", plan->optimizer, "sgd (momentum 0.9) or adam")
      ->check(CLI::IsMember({"sgd", "adam"}))
      ->capture_default_str();
  const CLI::Option* rate =
      app.add_option("--lr", plan->learning_rate, "learning rate (0.02 with sgd, 0.001 with adam)")
          ->check(CLI::PositiveNumber);
  app.add_option("--batch", plan->batch, "images a step, on all ranks together")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--steps", plan->steps, "updates")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--seed", plan->seed, "of the weights and of the order of the images")->capture_default_str();
  app.add_flag("--augment", plan->augment, "random crops and flips");
  app.add_flag("--compare", plan->compare, "train one process too, and draw both curves");
  app.add_option("--dtype", plan->dtype, "float32, or float64 (the default with --compare: then both must agree)")
      ->check(CLI::IsMember({"float32", "float64"}));
  app.add_option("--chart", plan->chart, "where the learning curve goes, an SVG file (with --compare: train.svg)");
  app.add_option("--limit", plan->limit_s, "seconds that one operation between ranks may take")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  bool mine = false;
  app.add_flag("--mine", mine, "with the layers in exercises/ instead of the solutions");
  std::string device = "cpu";
  app.add_option("--device", device, "cpu")->check(CLI::IsMember({"cpu"}));

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::fputs(app.help().c_str(), stdout);
    return false;
  } catch (const CLI::ParseError& error) {
    throw UsageError(std::string(error.what()) + " (lab train --help)");
  }

  if (rate->count() == 0 && plan->optimizer == "adam") plan->learning_rate = 0.001;
  if (plan->dtype.empty()) plan->dtype = plan->compare ? "float64" : "float32";
  if (plan->chart.empty() && plan->compare) plan->chart = "train.svg";
  if (!plan->chart.empty()) RequireWritable(plan->chart, "--chart");
  ReadMesh(plan);
  return true;
}

}  // namespace shardlab::train
