#include "shardlab/comm/announcing.hpp"

#include <cstring>
#include <utility>

#include <ATen/ATen.h>

#include "shardlab/comm/operation.hpp"

namespace shardlab {
namespace {

int64_t Bytes(const at::Tensor& tensor) { return tensor.numel() * static_cast<int64_t>(tensor.element_size()); }

int64_t Bytes(const std::vector<at::Tensor>& tensors) {
  int64_t sum = 0;
  for (const at::Tensor& tensor : tensors) sum += Bytes(tensor);
  return sum;
}

uint32_t ShapeHash(const at::Tensor& tensor) {
  uint32_t hash = 2166136261u;
  for (const int64_t size : tensor.sizes()) hash = (hash ^ static_cast<uint32_t>(size)) * 16777619u;
  return hash;
}

// "ring.cpp" of "/somewhere/ring.cpp".
const char* LastPart(const char* path) {
  const char* slash = std::strrchr(path, '/');
  return slash == nullptr ? path : slash + 1;
}

class AnnouncedWork final : public Work {
 public:
  AnnouncedWork(std::unique_ptr<Work> work, uint64_t id, std::shared_ptr<Announcer> announcer)
      : work_(std::move(work)), id_(id), announcer_(std::move(announcer)) {}

  void Wait() override {
    if (waited_) return;
    waited_ = true;
    announcer_->Block(id_);
    try {
      work_->Wait();
    } catch (...) {
      announcer_->Unblock(id_, /*failed=*/true);
      throw;
    }
    announcer_->Unblock(id_);
  }

 private:
  std::unique_ptr<Work> work_;
  uint64_t id_;
  std::shared_ptr<Announcer> announcer_;
  bool waited_ = false;
};

class Announcing final : public Communicator {
 public:
  Announcing(std::shared_ptr<Communicator> inner, std::shared_ptr<Announcer> announcer)
      : Communicator(inner->rank(), inner->group()), inner_(std::move(inner)), announcer_(std::move(announcer)) {}

  std::unique_ptr<Work> Start(const Operation& operation) override {
    Record record = Site(operation.kind, operation.where);
    if (operation.peer >= 0) record.peer = group().world_ranks[static_cast<size_t>(operation.peer)];
    record.tag = operation.tag;
    record.reduce = static_cast<uint8_t>(operation.reduce);
    if (IsCollective(operation.kind)) record.sequence = collectives_++;
    DescribeTensors(operation, &record);
    const uint64_t id = announcer_->Post(record, Parts(operation));
    try {
      return std::make_unique<AnnouncedWork>(inner_->Start(operation), id, announcer_);
    } catch (...) {
      announcer_->Unblock(id, /*failed=*/true);
      throw;
    }
  }

  Announcer* announcer() override { return announcer_.get(); }

 protected:
  std::shared_ptr<Communicator> MakeSubgroup(int rank, const Group& group, const Where& where) override {
    announcer_->Group(group.id, group.name, rank, group.world_ranks);
    Record record = Site(OpKind::kFormGroup, where);
    record.group = group.id;
    record.group_rank = rank;
    const uint64_t id = announcer_->Post(record);
    announcer_->Block(id);
    std::shared_ptr<Communicator> made;
    try {
      made = MakeSubgroupOf(*inner_, rank, group, where);
    } catch (...) {
      announcer_->Unblock(id, /*failed=*/true);
      throw;
    }
    announcer_->Unblock(id);
    return std::make_shared<Announcing>(std::move(made), announcer_);
  }

 private:
  Record Site(OpKind kind, const Where& where) const {
    Record record;
    record.op = kind;
    record.group = group().id;
    record.group_rank = rank();
    record.line = static_cast<uint32_t>(where.line);
    std::strncpy(record.name, LastPart(where.file), sizeof(record.name) - 1);
    return record;
  }

  void DescribeTensors(const Operation& operation, Record* record) const {
    const bool root_writes_nothing = operation.kind == OpKind::kBroadcast;
    const at::Tensor* shown = nullptr;
    if (!operation.inputs.empty()) {
      shown = &operation.inputs[0];
    } else if (!operation.outputs.empty()) {
      shown = &operation.outputs[0];
    }
    if (shown != nullptr) {
      record->dtype = static_cast<uint8_t>(shown->scalar_type());
      record->dims = static_cast<int32_t>(shown->dim());
      for (int dim = 0; dim < std::min<int>(6, record->dims); ++dim) record->shape[dim] = shown->size(dim);
    }
    record->bytes_sent = Bytes(operation.inputs);
    record->bytes_received = Bytes(operation.outputs);
    if (operation.kind == OpKind::kAllReduce) record->bytes_sent = record->bytes_received;
    if (root_writes_nothing && operation.peer == rank()) std::swap(record->bytes_sent, record->bytes_received);
  }

  // What goes to and comes from each rank, for the collectives in which that can differ.
  std::vector<RecordPart> Parts(const Operation& operation) const {
    std::vector<RecordPart> parts;
    const bool gathers = operation.kind == OpKind::kAllGather;
    if (!gathers && operation.kind != OpKind::kReduceScatter && operation.kind != OpKind::kAllToAll) return parts;
    parts.resize(static_cast<size_t>(size()));
    for (size_t r = 0; r < parts.size(); ++r) {
      const at::Tensor& sent = gathers ? operation.inputs[0] : operation.inputs[r];
      const at::Tensor& received =
          operation.kind == OpKind::kReduceScatter ? operation.outputs[0] : operation.outputs[r];
      parts[r] = {Bytes(sent), Bytes(received), ShapeHash(sent), ShapeHash(received)};
    }
    return parts;
  }

  std::shared_ptr<Communicator> inner_;
  std::shared_ptr<Announcer> announcer_;
  uint64_t collectives_ = 0;
};

}  // namespace

std::shared_ptr<Communicator> MakeAnnouncing(std::shared_ptr<Communicator> inner,
                                             std::shared_ptr<Announcer> announcer) {
  if (inner->group().id == 0) announcer->Group(0, inner->group().name, inner->rank(), inner->group().world_ranks);
  return std::make_shared<Announcing>(std::move(inner), std::move(announcer));
}

}  // namespace shardlab
