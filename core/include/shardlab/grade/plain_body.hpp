#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

/// \file
/// The host's side of a plain case: a body of one rank, without tensors and without messages, for functions such as the
/// generators of schedules. What needs no LibTorch is compiled, linked and graded in a second.

namespace shardlab::grade {

/// What a plain body knows, and where it leaves what it found.
class PlainContext {
 public:
  virtual ~PlainContext() = default;

  /// The case's parameters.
  virtual const nlohmann::json& params() const = 0;
  /// The parameter `name`; \throws nlohmann::json::exception when it is missing or of another type.
  template <typename T>
  T Param(const std::string& name) const {
    return params().at(name).get<T>();
  }

  /// \name Handing back to the referee, under a name that is used once
  ///@{
  /// A text.
  virtual void Text(const std::string& name, const std::string& text) = 0;
  /// A number.
  virtual void Number(const std::string& name, double value) = 0;
  /// A list of whole numbers.
  virtual void Integers(const std::string& name, const std::vector<int64_t>& values) = 0;
  ///@}
};

/// What SHARDLAB_PLAIN_BODY defines.
using PlainBodyFunction = void (*)(PlainContext&);

/// Registers a plain body; use SHARDLAB_PLAIN_BODY.
struct PlainBodyRegistration {
  /// Makes `body` known to the host under `name`.
  PlainBodyRegistration(const char* name, PlainBodyFunction body);
};

}  // namespace shardlab::grade

/// Defines the plain body `name`, an identifier that is unique within a module: SHARDLAB_PLAIN_BODY(balance) { ctx... }
#define SHARDLAB_PLAIN_BODY(name)                                                                                      \
  static void ShardlabBody_##name(::shardlab::grade::PlainContext& ctx);                                               \
  static const ::shardlab::grade::PlainBodyRegistration shardlab_body_registration_##name(#name, ShardlabBody_##name); \
  static void ShardlabBody_##name([[maybe_unused]] ::shardlab::grade::PlainContext& ctx)
