#include "request.hpp"

#include <algorithm>
#include <cstdio>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include "../schedule/command_line.hpp"
#include "pipeline_request.hpp"
#include "record.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/cifar/files.hpp"
#include "shardlab/models/sequences.hpp"
#include "shardlab/report/files.hpp"

namespace shardlab::train {
namespace {

constexpr int64_t kLargestImage = 1024;

void ReadMesh(TrainRequest* request) {
  try {
    request->axes = ParseMesh(request->mesh);
  } catch (const ContractError& error) {
    throw UsageError(fmt::format("--mesh: {}", error.what()));
  }
  std::vector<MeshAxis> axes;
  // The tensor axis runs fastest: its ranks talk in every layer.
  for (const char* name : {"data", "pipe", "spatial", "tensor"}) {
    const auto named = std::find_if(request->axes.begin(), request->axes.end(),
                                    [&](const MeshAxis& axis) { return axis.name == name; });
    MeshAxis axis;
    axis.name = name;
    axes.push_back(named == request->axes.end() ? axis : *named);
    if (axis.name == "pipe") request->pipeline = named != request->axes.end();
  }
  request->axes = axes;
}

void ReadTiles(TrainRequest* request, const CLI::Option* spatial_stages) {
  const int tiles = request->Along("spatial"), stages = request->Along("pipe");
  for (const MeshAxis& axis : request->axes) {
    if (axis.name == "spatial") request->grid = axis.rows > 0 ? Grid{axis.rows, axis.columns} : Grid{1, axis.size};
  }
  if (tiles > 1 && request->Along("tensor") > 1) {
    throw UsageError(
        fmt::format("--mesh {}: images are cut or layers are: spatial or tensor must be 1", request->mesh));
  }
  if (spatial_stages->count() > 0 && (tiles == 1 || !request->pipeline)) {
    throw UsageError(
        "--spatial-stages: how many stages have tiles is asked of a mesh with the axes spatial and pipe, as in "
        "--mesh spatial=2x2,pipe=2");
  }
  if (tiles == 1) return;
  if (spatial_stages->count() == 0) request->spatial_stages = 1;
  if (request->spatial_stages < 1 || request->spatial_stages > stages) {
    throw UsageError(fmt::format("--spatial-stages {}: of {} stage{} 1 to {} can have tiles", request->spatial_stages,
                                 stages, stages == 1 ? "" : "s", stages));
  }
  try {
    EvenTiling(request->grid, request->image, request->image);
  } catch (const ContractError& error) {
    throw UsageError(fmt::format("--mesh {}: {}", request->mesh, error.what()));
  }
}

void CheckModel(const TrainRequest& request) {
  if (request.image < cifar::kImageSide || request.image > kLargestImage) {
    throw UsageError(fmt::format("--image {}: images are enlarged to a side of {} to {}", request.image,
                                 cifar::kImageSide, kLargestImage));
  }
  try {
    ModelOptions options;
    options.side = request.image;
    MakeSequence(request.model, options);  // makes no layer
  } catch (const ContractError& error) {
    throw UsageError(fmt::format("--model {}: {}", request.model, error.what()));
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("--model: {}", error.what()));
  }
  const auto& split = ModelNames();
  if (request.Along("tensor") > 1 && std::find(split.begin(), split.end(), request.model) == split.end()) {
    throw UsageError(
        fmt::format("--mesh: along tensor there are the models {}, and {} is trained along data, pipe and spatial",
                    fmt::join(split, ", "), request.model));
  }
}

}  // namespace

Recipe TrainRequest::MakeRecipe() const {
  Recipe recipe;
  recipe.optimizer = optimizer == "adam" ? OptimizerKind::kAdam : OptimizerKind::kSgd;
  recipe.learning_rate = learning_rate;
  recipe.momentum = momentum;
  recipe.clip_norm = clip;
  return recipe;
}

Positions TrainRequest::AllPositions() const {
  return TiledPositions(Along("pipe"), grid.size() > 1 ? spatial_stages : 0, grid.size());
}

std::vector<MeshAxis> TrainRequest::RankAxes() const {
  std::vector<MeshAxis> ranks = axes;
  for (MeshAxis& axis : ranks) {
    if (!pipeline) continue;
    if (axis.name == "pipe") axis.size = AllPositions().size();
    if (axis.name == "spatial") axis.size = 1, axis.rows = axis.columns = 0;
  }
  return ranks;
}

int TrainRequest::Along(const std::string& axis) const {
  for (const MeshAxis& one : axes) {
    if (one.name == axis) return one.size;
  }
  return 1;
}

bool ReadRequest(int argc, char** argv, TrainRequest* request) {
  CLI::App app("Trains a model on a mesh of ranks.", "lab train");
  app.set_config("--config", "", "options from a file (TOML)");
  app.add_option("--mesh", request->mesh,
                 "ranks along each axis: data=2,tensor=2, pipe=4, spatial=2x2 or data=2,pipe=2,tensor=2")
      ->capture_default_str();
  const auto* model =
      app.add_option("--model", request->model,
                     fmt::format("{}; the last three also with sizes: amoebanet-L-F, unet-B-C, transformer-DEPTH-WIDTH",
                                 fmt::join(SequenceNames(), ", ")))
          ->capture_default_str();
  const auto* data = app.add_option("--data", request->data,
                                    "auto (cifar10 where its files are, else synthetic), cifar10, cifar100, synthetic")
                         ->check(CLI::IsMember({"auto", "cifar10", "cifar100", "synthetic"}))
                         ->capture_default_str();
  app.add_option("--dir", request->folder, "the folder with CIFAR's files")->capture_default_str();
  const auto* image = app.add_option("--image", request->image,
                                     "side to which the images of 32 are enlarged; from 64 on the large models "
                                     "have the stems that were published for ImageNet")
                          ->capture_default_str();
  const auto* optimizer = app.add_option("--optimizer", request->optimizer, "sgd (momentum 0.9) or adam")
                              ->check(CLI::IsMember({"sgd", "adam"}))
                              ->capture_default_str();
  const auto* rate = app.add_option("--lr", request->learning_rate, "learning rate (0.02 with sgd, 0.001 with adam)")
                         ->check(AboveZero());
  const auto* clip =
      app.add_option("--clip", request->clip, "the largest norm of all gradients together; larger ones are scaled down")
          ->check(AboveZero());
  const auto* batch = app.add_option("--batch", request->batch, "images a step, on all ranks together")
                          ->check(AboveZero())
                          ->capture_default_str();
  app.add_option("--steps", request->steps, "updates; with --resume: further ones")
      ->check(AboveZero())
      ->capture_default_str();
  const auto* seed = app.add_option("--seed", request->seed, "of the weights and of the order of the images")
                         ->check(ZeroOrMore())
                         ->capture_default_str();
  const auto* augment = app.add_flag("--augment", request->augment, "random crops and flips");
  app.add_flag("--compare", request->compare, "train one process too, and draw both curves");
  const auto* dtype = app.add_option("--dtype", request->dtype,
                                     "float32, or float64 (the default with --compare: then both must agree)")
                          ->check(CLI::IsMember({"float32", "float64"}));
  app.add_option("--chart", request->chart, "where the learning curve goes, an SVG file (with --compare: train.svg)");
  app.add_option("--save", request->save, "a folder: write a checkpoint into it at the end");
  app.add_option("--resume", request->resume,
                 "the folder of a checkpoint to go on from; its model, data, batch, ... hold unless they are given");
  app.add_option("--limit", request->limit_s, "seconds that one operation between ranks may take")
      ->check(AboveZero())
      ->capture_default_str();
  bool mine = false;
  app.add_flag("--mine", mine, "with the layers in exercises/ instead of the solutions");
  std::string device = "cpu";
  app.add_option("--device", device, "cpu")->check(CLI::IsMember({"cpu"}));
  PipelineOptions pipeline;
  pipeline.AddTo(app, request);
  const auto* fused_halo =
      app.add_option("--fused-halo", request->fused_halo,
                     "how many layers on tiles share one exchange of a wider halo (0: each exchanges its own)")
          ->check(ZeroOrMore())
          ->capture_default_str();
  const auto* spatial_stages = app.add_option("--spatial-stages", request->spatial_stages,
                                              "how many stages, from the first, have their images cut into tiles (1)");

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::fputs(app.help().c_str(), stdout);
    return false;
  } catch (const CLI::ParseError& error) {
    throw UsageError(WhatIsWrong(error) + " (lab train --help)");
  }

  std::optional<RunRecord> saved;
  if (!request->resume.empty()) {
    saved = ReadRecord(request->resume);
    const auto take = [](const CLI::Option* option, auto& mine, const auto& theirs) {
      if (option->count() == 0) mine = theirs;
    };
    take(model, request->model, saved->model);
    take(data, request->data, saved->data);
    take(image, request->image, saved->image);
    take(optimizer, request->optimizer, saved->optimizer);
    take(clip, request->clip, saved->clip);
    take(batch, request->batch, saved->batch);
    take(seed, request->seed, saved->seed);
    take(augment, request->augment, saved->augment);
    take(dtype, request->dtype, saved->dtype);
    if (request->optimizer == saved->optimizer) take(rate, request->learning_rate, saved->learning_rate);
  } else if (rate->count() == 0 && request->optimizer == "adam") {
    request->learning_rate = 0.001;
  }
  if (request->data == "auto") {
    request->data = cifar::FindFiles(cifar::Cifar10(), request->folder).missing.empty() ? "cifar10" : "synthetic";
  }
  if (request->dtype.empty()) request->dtype = request->compare ? "float64" : "float32";
  if (request->chart.empty() && request->compare) request->chart = "train.svg";
  if (!request->chart.empty()) RequireWritable(request->chart, "--chart");
  ReadMesh(request);
  CheckModel(*request);
  ReadTiles(request, spatial_stages);
  if (fused_halo->count() > 0 && request->grid.size() == 1) {
    throw UsageError("--fused-halo: layers share a halo on tiles only, as in --mesh spatial=2x2");
  }
  pipeline.Check(request);
  if (saved) RequireFits(request->resume, *saved, *request);
  // The last check, since it makes the folder.
  if (!request->save.empty()) RequireWritableFolder(request->save, "--save");
  return true;
}

}  // namespace shardlab::train
