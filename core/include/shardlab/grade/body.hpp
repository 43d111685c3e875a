#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

#include "shardlab/comm/communicator.hpp"

/// \file
/// The host's side of a case: a *body* is what every rank runs. It calls the student's function and hands back tensors.
/// It judges nothing: whatever runs here shares an address space with the student's code.

namespace shardlab::grade {

/// What a rank knows during a case.
class RankContext {
 public:
  virtual ~RankContext() = default;

  /// The world of this case: announced, and with the faults that the case asked for.
  virtual Communicator& comm() = 0;
  /// The same, for code that keeps it.
  virtual std::shared_ptr<Communicator> shared_comm() = 0;
  /// This rank's number in comm().
  int rank() { return comm().rank(); }
  /// The number of ranks of this case.
  int size() { return comm().size(); }

  /// The tensor that the referee gave this rank under `name`: contiguous, on the CPU, the rank's own copy.
  /// \throws ContractError when there is none.
  virtual at::Tensor Input(const std::string& name) const = 0;
  /// Whether the referee gave this rank a tensor under `name`.
  virtual bool HasInput(const std::string& name) const = 0;
  /// The case's parameters.
  virtual const nlohmann::json& params() const = 0;
  /// The parameter `name`; \throws ContractError when it is missing or of another type.
  template <typename T>
  T Param(const std::string& name) const {
    return params().at(name).get<T>();
  }

  /// Hands `value` back to the referee; a copy is taken at once. An undefined tensor is handed back as absent.
  virtual void Output(const std::string& name, const at::Tensor& value) = 0;
  /// Hands back one number.
  virtual void Number(const std::string& name, double value) = 0;
  /// Puts a mark among the announcements, to be compared with them in time.
  virtual void Mark(const std::string& name) = 0;
};

/// What SHARDLAB_BODY defines.
using BodyFunction = void (*)(RankContext&);

/// Registers a body; use SHARDLAB_BODY.
struct BodyRegistration {
  /// Makes `body` known to the host under `name`.
  BodyRegistration(const char* name, BodyFunction body);
};

}  // namespace shardlab::grade

/// Defines the body `name`, an identifier that is unique within a module's host: SHARDLAB_BODY(ring_all_gather) {
/// ctx... }
#define SHARDLAB_BODY(name)                                                                                       \
  static void ShardlabBody_##name(::shardlab::grade::RankContext& ctx);                                           \
  static const ::shardlab::grade::BodyRegistration shardlab_body_registration_##name(#name, ShardlabBody_##name); \
  static void ShardlabBody_##name([[maybe_unused]] ::shardlab::grade::RankContext& ctx)
