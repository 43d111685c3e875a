#include "shardlab/comm/point_to_point_only.hpp"

#include <utility>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/comm/operation.hpp"

namespace shardlab {
namespace {

class PointToPointOnly final : public Communicator {
 public:
  explicit PointToPointOnly(std::shared_ptr<Communicator> inner)
      : Communicator(inner->rank(), inner->group()), inner_(std::move(inner)) {}

  std::unique_ptr<Work> Start(const Operation& operation) override {
    if (IsCollective(operation.kind)) RefuseCollective(operation.kind);
    return inner_->Start(operation);
  }

  Announcer* announcer() override { return inner_->announcer(); }

 protected:
  std::shared_ptr<Communicator> MakeSubgroup(int rank, const Group& group, const Where& where) override {
    return MakePointToPointOnly(MakeSubgroupOf(*inner_, rank, group, where));
  }

 private:
  std::shared_ptr<Communicator> inner_;
};

}  // namespace

std::shared_ptr<Communicator> MakePointToPointOnly(std::shared_ptr<Communicator> inner) {
  return std::make_shared<PointToPointOnly>(std::move(inner));
}

void RefuseCollective(OpKind collective) {
  throw ContractError(
      fmt::format("{} is not available here: this part is built from sends and receives (ISend, IRecv, Send, Recv)",
                  Name(collective)));
}

}  // namespace shardlab
