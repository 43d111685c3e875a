#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "output_area.hpp"
#include "shardlab/comm/announcer.hpp"
#include "shardlab/grade/case.hpp"
#include "shardlab/launch/process.hpp"

/// \file
/// What every rank does, whatever its body is. No LibTorch here: tensor_body.cpp has what bodies with tensors need
/// besides, so that a host without such bodies does not load it.

namespace shardlab::grade {

/// What a forked rank is told.
struct RankSpec {
  CaseRequest request;  ///< but for parameters and inputs, of which each rank has its own
  uint64_t nonce = 0;
  int rank = 0;
  std::shared_ptr<void> shared;  ///< what Body::Share made
  /// Shared by the ranks: how many are connected to all others, and how many bodies have returned.
  std::atomic<uint32_t>* connected = nullptr;
  std::atomic<uint32_t>* returned = nullptr;
};

/// What a body has in its rank.
struct RankMeans {
  const RankSpec& spec;
  nlohmann::json params;
  Frames inputs;
  OutputArea& output;
  std::shared_ptr<Announcer> announcer;
  launch::Fd relay;  ///< in a replay: all that the rank sends and receives goes through that
};

/// A body as a host knows it.
class Body {
 public:
  virtual ~Body() = default;
  /// In the host, before the ranks of a case are forked: makes what they share; it is kept until the case is over.
  virtual std::shared_ptr<void> Share() const { return nullptr; }
  /// In the rank: connects it to the others.
  virtual void Prepare(RankMeans means) = 0;
  /// In the rank, when all are connected.
  virtual void Run() = 0;
};

/// Names are unique within a host: a second body of the same name ends it.
void RegisterBody(const char* name, std::unique_ptr<Body> body);
/// The body of that name, or null.
Body* FindBody(const std::string& name);
std::vector<std::string> BodyNames();

/// Becomes a rank: prepares the body and runs it, leaves its outputs and how it ended in `output`, and ends the
/// process. With a `relay` the other ranks are elsewhere.
[[noreturn]] void RunRank(const RankSpec& spec, int announcements, launch::Fd input, launch::Fd output,
                          launch::Fd relay);

}  // namespace shardlab::grade
