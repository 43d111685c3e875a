#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include <nlohmann/json.hpp>

#include "kit/result_flaw.hpp"
#include "shardlab/comm/communicator.hpp"
#include "shardlab/grade/body.hpp"

/// \file
/// Communicators that show what a program relies on, for bodies.

namespace shardlab::grade {

/// Rank `rank` of `size` ranks, none of which is there: whatever is waited for fails with a CommError.
std::shared_ptr<Communicator> MakeFailing(int rank, int size);

/// How `call` ends. \throws NotImplemented when it does.
FailedCall EndOf(const std::function<void()>& call);

/// Every entry of the parameter `functions` is a name; runs `call(name, a failing communicator)` as each of three ranks,
/// and hands back how it ended, "<name> <rank>": see ExpectCommErrors (calls.hpp).
void RunFailingCalls(RankContext& ctx,
                     const std::function<void(const std::string& name, std::shared_ptr<Communicator> comm)>& call);

/// `inner`, which is of use only as long as somebody holds what this returns: after that every operation throws
/// ContractError. Shows who keeps a pointer or a reference where a share would be right.
std::shared_ptr<Communicator> Lent(std::shared_ptr<Communicator> inner);

/// The groups in which a case's calls take place.
class Groups {
 public:
  explicit Groups(RankContext& ctx) : ctx_(ctx) {}
  /// Of a call with a list `group` of ranks the communicator of those, in this order; null on a rank that is not among
  /// them. Of another call the world. Every rank asks for every call.
  std::shared_ptr<Communicator> Of(const nlohmann::json& call);

 private:
  RankContext& ctx_;
  std::map<std::vector<int>, std::shared_ptr<Communicator>> made_;
};

}  // namespace shardlab::grade
