#include "kit/stand_ins.hpp"

#include <numeric>
#include <string>
#include <utility>

#include "shardlab/base/errors.hpp"
#include "shardlab/comm/operation.hpp"

namespace shardlab::grade {
namespace {

class FailingCommunicator final : public Communicator {
 public:
  FailingCommunicator(int rank, Group group) : Communicator(rank, std::move(group)) {}

  std::unique_ptr<Work> Start(const Operation& operation) override {
    struct Fails final : Work {
      explicit Fails(std::string its_name) : name(std::move(its_name)) {}
      void Wait() override { throw CommError(name + " failed: nobody is there"); }
      std::string name;
    };
    return std::make_unique<Fails>(Describe(operation));
  }

 protected:
  std::shared_ptr<Communicator> MakeSubgroup(int rank, const Group& group, const Where&) override {
    return std::make_shared<FailingCommunicator>(rank, group);
  }
};

class LentCommunicator final : public Communicator {
 public:
  explicit LentCommunicator(std::shared_ptr<Communicator> inner)
      : Communicator(inner->rank(), inner->group()), inner_(std::move(inner)) {}

  std::unique_ptr<Work> Start(const Operation& operation) override {
    if (given_back) {
      throw ContractError(
          std::string(Name(operation.kind)) +
          " on a communicator that nobody holds any more: what is run later, like a backward, keeps the "
          "shared_ptr itself, and no pointer or reference to what it points to");
    }
    return inner_->Start(operation);
  }
  Announcer* announcer() override { return inner_->announcer(); }

  bool given_back = false;

 protected:
  std::shared_ptr<Communicator> MakeSubgroup(int rank, const Group& group, const Where& where) override {
    return MakeSubgroupOf(*inner_, rank, group, where);
  }

 private:
  std::shared_ptr<Communicator> inner_;
};

}  // namespace

std::shared_ptr<Communicator> MakeFailing(int rank, int size) {
  Group group;
  group.world_ranks.resize(static_cast<size_t>(size));
  std::iota(group.world_ranks.begin(), group.world_ranks.end(), 0);
  return std::make_shared<FailingCommunicator>(rank, std::move(group));
}

FailedCall EndOf(const std::function<void()>& call) {
  try {
    call();
  } catch (const NotImplemented&) {
    throw;
  } catch (const CommError&) {
    return kCommError;
  } catch (const std::exception&) {
    return kOtherError;
  }
  return kReturned;
}

void RunFailingCalls(RankContext& ctx,
                     const std::function<void(const std::string& name, std::shared_ptr<Communicator> comm)>& call) {
  constexpr int kRanks = 3;
  for (const std::string name : ctx.params().at("functions")) {
    for (int rank = 0; rank < kRanks; ++rank) {
      ctx.Number(name + " " + std::to_string(rank), EndOf([&] { call(name, MakeFailing(rank, kRanks)); }));
    }
  }
}

std::shared_ptr<Communicator> Lent(std::shared_ptr<Communicator> inner) {
  // They stay to the end of the process: whoever still points to one must find it.
  static std::vector<std::unique_ptr<LentCommunicator>> all;
  all.push_back(std::make_unique<LentCommunicator>(std::move(inner)));
  return {all.back().get(), [lent = all.back().get()](Communicator*) { lent->given_back = true; }};
}

std::shared_ptr<Communicator> Groups::Of(const nlohmann::json& call) {
  if (!call.contains("group")) return ctx_.shared_comm();
  const auto ranks = call.at("group").get<std::vector<int>>();
  const auto found = made_.find(ranks);
  if (found != made_.end()) return found->second;
  return made_[ranks] = ctx_.comm().Subgroup(ranks, "some");
}

}  // namespace shardlab::grade
