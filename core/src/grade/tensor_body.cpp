// Bodies with tensors: a rank's communicator, its tensors in and out, and the limits on their memory.

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "rank.hpp"
#include "relay_communicator.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/comm/announcing.hpp"
#include "shardlab/comm/faulty.hpp"
#include "shardlab/comm/gloo.hpp"
#include "shardlab/comm/memory_store.hpp"
#include "shardlab/comm/point_to_point_only.hpp"
#include "shardlab/grade/body.hpp"
#include "shardlab/measure/memory.hpp"
#include "tensor_frame.hpp"

namespace shardlab::grade {

namespace {

class Context final : public RankContext {
 public:
  Context(std::shared_ptr<Communicator> comm, std::shared_ptr<Announcer> announcer, nlohmann::json params,
          Frames inputs, OutputArea& output)
      : comm_(std::move(comm)),
        announcer_(std::move(announcer)),
        params_(std::move(params)),
        inputs_(std::move(inputs)),
        output_(output) {}

  Communicator& comm() override { return *comm_; }
  std::shared_ptr<Communicator> shared_comm() override { return comm_; }

  at::Tensor Input(const std::string& name) const override {
    const auto found = inputs_.find(name);
    if (found == inputs_.end()) {
      std::vector<std::string> names;
      for (const auto& [other, frame] : inputs_) names.push_back(other);
      throw ContractError(fmt::format("this rank has no input '{}'; it has {}", name,
                                      names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "))));
    }
    return TensorFrom(found->second);
  }
  bool HasInput(const std::string& name) const override { return inputs_.count(name) != 0; }
  const nlohmann::json& params() const override { return params_; }

  void Output(const std::string& name, const at::Tensor& value) override {
    if (!value.defined()) return;
    const at::Tensor flat = value.detach().to(at::kCPU).resolve_conj().resolve_neg().contiguous();
    output_.Put(name, static_cast<uint8_t>(flat.scalar_type()), flat.sizes().vec(), flat.data_ptr(),
                static_cast<size_t>(flat.numel()) * flat.element_size());
  }
  void Number(const std::string& name, double value) override {
    output_.Put(name, static_cast<uint8_t>(at::kDouble), {}, &value, sizeof value);
  }
  void Mark(const std::string& name) override { announcer_->Mark(name); }

 private:
  std::shared_ptr<Communicator> comm_;
  const std::shared_ptr<Announcer> announcer_;
  const nlohmann::json params_;
  const Frames inputs_;
  OutputArea& output_;
};

/// What the case asked for, above the announcements: a lost message is not announced, a refused one neither.
std::shared_ptr<Communicator> WithTrouble(std::shared_ptr<Communicator> comm, const CaseRequest& request) {
  if (request.faults.delay_s > 0 || request.faults.jitter_s > 0) {
    FaultOptions faults;
    faults.delay_s = request.faults.delay_s;
    faults.delay_ops = request.faults.delay_ops;
    faults.serial_link = request.faults.serial_link;
    faults.jitter_s = request.faults.jitter_s;
    faults.seed = request.faults.seed;
    comm = MakeFaulty(std::move(comm), faults);
  }
  if (request.point_to_point_only) comm = MakePointToPointOnly(std::move(comm));
  return comm;
}

class TensorBody final : public Body {
 public:
  explicit TensorBody(BodyFunction function) : function_(function) {}

  /// Through which the ranks find each other.
  std::shared_ptr<void> Share() const override { return std::make_shared<StoreMemory>(); }

  void Prepare(RankMeans means) override {
    const RankSpec& spec = means.spec;
    const CaseRequest& request = spec.request;
    at::set_num_threads(request.threads);
    GlooOptions gloo;
    gloo.limit = std::chrono::milliseconds(static_cast<int64_t>((request.limit_s + 5) * 1000));
    gloo.collectives = !request.point_to_point_only;
    const auto* store = static_cast<const StoreMemory*>(spec.shared.get());
    auto comm = means.relay ? MakeRelayCommunicator(std::move(means.relay), spec.rank, request.ranks, gloo.limit,
                                                    gloo.collectives)
                            : MakeGlooCommunicator(store->Store(), spec.rank, request.ranks, gloo);
    if (request.observed) comm = MakeAnnouncing(std::move(comm), means.announcer);
    comm = WithTrouble(std::move(comm), request);
    memory_bytes_ = request.limits.memory_bytes;
    context_ = std::make_unique<Context>(std::move(comm), std::move(means.announcer), std::move(means.params),
                                         std::move(means.inputs), means.output);
  }

  void Run() override {
    FillNewMemory();
    SetMemoryCap(memory_bytes_);
    function_(*context_);
  }

 private:
  const BodyFunction function_;
  int64_t memory_bytes_ = -1;
  std::unique_ptr<Context> context_;
};

}  // namespace

BodyRegistration::BodyRegistration(const char* name, BodyFunction body) {
  RegisterBody(name, std::make_unique<TensorBody>(body));
}

}  // namespace shardlab::grade
