#pragma once

#include <vector>

#include <nlohmann/json.hpp>

#include "shardlab/plan/tiling.hpp"

/// \file
/// Geometry as parameters of a case.

namespace shardlab {

/// [begin, end].
inline void to_json(nlohmann::json& json, const Range& range) { json = {range.begin, range.end}; }
/// The other way.
inline void from_json(const nlohmann::json& json, Range& range) { range = {json.at(0), json.at(1)}; }

/// A box as a list of ranges.
inline void to_json(nlohmann::json& json, const Box& box) { json = box.ranges; }
/// The other way.
inline void from_json(const nlohmann::json& json, Box& box) { box.ranges = json.get<std::vector<Range>>(); }

/// {"rows", "columns"}.
inline void to_json(nlohmann::json& json, const Tiling& tiling) {
  json = {{"rows", tiling.rows}, {"columns", tiling.columns}};
}
/// The other way.
inline void from_json(const nlohmann::json& json, Tiling& tiling) {
  tiling = {json.at("rows").get<std::vector<Range>>(), json.at("columns").get<std::vector<Range>>()};
}

/// By name.
inline void to_json(nlohmann::json& json, const SlidingWindow& window) {
  json = {{"kernel", window.kernel},
          {"stride", window.stride},
          {"padding", window.padding},
          {"dilation", window.dilation},
          {"ceil_mode", window.ceil_mode}};
}
/// The other way.
inline void from_json(const nlohmann::json& json, SlidingWindow& window) {
  window = {json.at("kernel"), json.at("stride"), json.at("padding"), json.at("dilation"), json.at("ceil_mode")};
}

/// {"rows", "columns"}.
inline void to_json(nlohmann::json& json, const ImageWindow& window) {
  json = {{"rows", window.rows}, {"columns", window.columns}};
}
/// The other way.
inline void from_json(const nlohmann::json& json, ImageWindow& window) {
  window = {json.at("rows").get<SlidingWindow>(), json.at("columns").get<SlidingWindow>()};
}

}  // namespace shardlab
