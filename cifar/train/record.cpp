#include "record.hpp"

#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "shardlab/base/errors.hpp"
#include "shardlab/report/files.hpp"

namespace shardlab::train {
namespace {

constexpr int kVersion = 2;

std::string RecordPath(const std::string& folder) { return folder + "/run.json"; }

}  // namespace

RunRecord RecordOf(const TrainRequest& request) {
  RunRecord record;
  record.model = request.model;
  record.data = request.data;
  record.optimizer = request.optimizer;
  record.dtype = request.dtype;
  record.image = request.image;
  record.batch = request.batch;
  record.seed = request.seed;
  record.augment = request.augment;
  record.learning_rate = request.learning_rate;
  record.clip = request.clip;
  record.parts = request.Along("tensor") * request.Along("pipe");
  return record;
}

RunRecord ReadRecord(const std::string& folder) {
  const std::string path = RecordPath(folder);
  if (!std::filesystem::exists(path)) {
    throw UsageError(fmt::format("--resume {0}: there is no checkpoint; `lab train --save {0}` writes one", folder));
  }
  try {
    const auto json = nlohmann::json::parse(ReadFile(path));
    if (json.at("version").get<int>() != kVersion) {
      throw UsageError(
          fmt::format("--resume {}: {} is of another version of lab train: train anew with --save", folder, path));
    }
    RunRecord record;
    json.at("model").get_to(record.model);
    json.at("data").get_to(record.data);
    json.at("optimizer").get_to(record.optimizer);
    json.at("dtype").get_to(record.dtype);
    json.at("image").get_to(record.image);
    json.at("batch").get_to(record.batch);
    json.at("seed").get_to(record.seed);
    json.at("augment").get_to(record.augment);
    json.at("learning_rate").get_to(record.learning_rate);
    json.at("clip").get_to(record.clip);
    json.at("parts").get_to(record.parts);
    json.at("losses").get_to(record.losses);
    record.steps = static_cast<int64_t>(record.losses.size());
    if (record.parts >= 1 && record.batch >= 1) return record;
  } catch (const nlohmann::json::exception&) {
    // said below
  } catch (const EnvironmentError& error) {
    throw UsageError(fmt::format("--resume {}: {}", folder, error.what()));
  }
  throw UsageError(fmt::format("--resume {}: {} is damaged: train anew with --save", folder, path));
}

void RequireFits(const std::string& folder, const RunRecord& saved, const TrainRequest& request) {
  const RunRecord mine = RecordOf(request);
  const auto same = [&](const char* option, const auto& theirs, const auto& ours) {
    if (theirs == ours) return;
    throw UsageError(
        fmt::format("--resume {}: this checkpoint was trained with --{} {}, and this run has {}: leave it out", folder,
                    option, theirs, ours));
  };
  same("model", saved.model, mine.model);
  same("data", saved.data, mine.data);
  same("optimizer", saved.optimizer, mine.optimizer);
  same("dtype", saved.dtype, mine.dtype);
  same("image", saved.image, mine.image);
  same("clip", saved.clip, mine.clip);
  same("batch", saved.batch, mine.batch);
  same("seed", saved.seed, mine.seed);
  if (saved.augment != mine.augment) {
    throw UsageError(fmt::format("--resume {}: this checkpoint was trained {} --augment, and this run {} it", folder,
                                 saved.augment ? "with" : "without", mine.augment ? "has" : "lacks"));
  }
  if (request.compare && saved.learning_rate != mine.learning_rate) {
    throw UsageError(
        fmt::format("--resume {} --compare: the steps so far had --lr {}, and one process trains all steps "
                    "with one rate: leave --compare or --lr {} out",
                    folder, saved.learning_rate, mine.learning_rate));
  }
}

void WriteRecord(const std::string& folder, const RunRecord& record) {
  const nlohmann::json json = {{"version", kVersion},       {"model", record.model},
                               {"data", record.data},       {"optimizer", record.optimizer},
                               {"dtype", record.dtype},     {"image", record.image},
                               {"batch", record.batch},     {"seed", record.seed},
                               {"augment", record.augment}, {"learning_rate", record.learning_rate},
                               {"clip", record.clip},       {"parts", record.parts},
                               {"steps", record.steps},     {"losses", record.losses}};
  WriteFileSafely(RecordPath(folder), json.dump(1) + "\n");
  const std::string current = fmt::format("step{}.part", record.steps);
  const std::string count = fmt::format("of{}.pt", record.parts);
  std::error_code ignored;  // an older part that stays does no harm
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    const bool is_part =
        name.compare(0, 4, "step") == 0 && name.find(".part") != std::string::npos && entry.path().extension() == ".pt";
    const bool is_current = name.compare(0, current.size(), current) == 0 && name.size() > count.size() &&
                            name.compare(name.size() - count.size(), count.size(), count) == 0;
    if (is_part && !is_current) std::filesystem::remove(entry.path(), ignored);
  }
}

}  // namespace shardlab::train
