#pragma once

#include <nlohmann/json.hpp>

#include "kit/image_training.hpp"

/// \file
/// Models of other sizes and types than those that are trained, as ranks and referee know them.

namespace shardlab::grade {

/// What ImageTraining::ToJson says, and the rest of the model's options.
inline nlohmann::json JsonOf(const ImageTraining& plan) {
  nlohmann::json json = plan.ToJson();
  json["classes"] = plan.model_options.classes;
  json["channels"] = plan.model_options.channels;
  json["side"] = plan.model_options.side;
  json["float32"] = plan.model_options.dtype == at::kFloat;
  return json;
}

/// Of what JsonOf says.
inline ImageTraining TrainingFrom(const nlohmann::json& json) {
  ImageTraining plan = ImageTraining::FromJson(json);
  plan.model_options.classes = json.at("classes");
  plan.model_options.channels = json.at("channels");
  plan.model_options.side = json.at("side");
  if (json.at("float32").get<bool>()) plan.model_options.dtype = at::kFloat;
  return plan;
}

}  // namespace shardlab::grade
