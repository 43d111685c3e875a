#include "shardlab/comm/announcing.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

#include <ATen/ATen.h>

#include "shardlab/comm/operation.hpp"

namespace shardlab {
namespace {

int64_t TotalBytes(const std::vector<at::Tensor>& tensors) {
  int64_t sum = 0;
  for (const at::Tensor& tensor : tensors) sum += BytesOf(tensor);
  return sum;
}

uint32_t ShapeHash(const at::Tensor& tensor) {
  uint32_t hash = 2166136261u;
  for (const int64_t size : tensor.sizes()) hash = (hash ^ static_cast<uint32_t>(size)) * 16777619u;
  return hash;
}

// Of a message this much is looked at: all of a short one, evenly spaced blocks of a long one, so that the check costs
// microseconds. Whoever writes to a tensor under way hardly ever leaves all of the blocks as they were.
constexpr size_t kWholeBytes = 32 << 10;
constexpr size_t kBlockBytes = 64;
constexpr size_t kBlocks = kWholeBytes / kBlockBytes;

// Four words at a time, each multiplied and rotated: not for secrets, but any one changed word changes the result.
uint64_t Mix(const char* data, size_t size, uint64_t hash) {
  constexpr uint64_t kPrime = 0x9e3779b185ebca87u;
  const auto step = [](uint64_t lane, uint64_t word) {
    lane = (lane ^ word) * kPrime;
    return (lane << 31) | (lane >> 33);
  };
  uint64_t lanes[4] = {hash, hash ^ 1, hash ^ 2, hash ^ 3};
  for (; size >= sizeof lanes; data += sizeof lanes, size -= sizeof lanes) {
    uint64_t words[4];
    std::memcpy(words, data, sizeof words);
    for (int i = 0; i < 4; ++i) lanes[i] = step(lanes[i], words[i]);
  }
  uint64_t rest[4] = {size, 0, 0, 0};
  std::memcpy(rest, data, std::min(size, sizeof rest));
  for (int i = 0; i < 4; ++i) hash = step(hash, lanes[i] ^ step(rest[i], kPrime + size));
  return hash;
}

// Of what a message consists of; 0 where it cannot be looked at.
uint64_t Checksum(const at::Tensor& tensor) {
  if (!tensor.device().is_cpu()) return 0;
  const auto* data = static_cast<const char*>(tensor.data_ptr());
  const auto size = static_cast<size_t>(BytesOf(tensor));
  if (size == 0) return 0;
  if (size <= kWholeBytes) return Mix(data, size, size) | 1;
  uint64_t hash = size;
  for (size_t block = 0; block < kBlocks; ++block) {
    hash = Mix(data + block * (size - kBlockBytes) / (kBlocks - 1), kBlockBytes, hash);
  }
  return hash | 1;
}

// Until Wait a receive buffer holds nothing: whoever reads it before gets these bytes, and not what it held by chance.
void FillWithNothing(const at::Tensor& buffer) {
  if (!buffer.device().is_cpu() || buffer.scalar_type() == at::kBool) return;
  auto* data = static_cast<char*>(buffer.data_ptr());
  const auto size = static_cast<size_t>(BytesOf(buffer));
  for (size_t i = 0; i < size; i += sizeof kNotReceivedWord) {
    std::memcpy(data + i, &kNotReceivedWord, std::min(sizeof kNotReceivedWord, size - i));
  }
}

// The tensor whose bytes travel, of a message; undefined for a collective.
at::Tensor Message(const Operation& operation) {
  if (operation.kind == OpKind::kSend) return operation.inputs[0];
  if (operation.kind == OpKind::kRecv) return operation.outputs[0];
  return {};
}

class AnnouncedWork final : public Work {
 public:
  AnnouncedWork(std::unique_ptr<Work> work, uint64_t id, at::Tensor message, std::shared_ptr<Announcer> announcer)
      : work_(std::move(work)), id_(id), message_(std::move(message)), announcer_(std::move(announcer)) {}

  // An exception on its way out destroys what it passes; that is not what went wrong.
  ~AnnouncedWork() override {
    if (!waited_ && std::uncaught_exceptions() <= exceptions_) announcer_->Drop(id_);
  }

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
    announcer_->Unblock(id_, /*failed=*/false, message_.defined() ? Checksum(message_) : 0);
    message_.reset();
  }

 private:
  std::unique_ptr<Work> work_;
  uint64_t id_;
  at::Tensor message_;
  const int exceptions_ = std::uncaught_exceptions();
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
    if (operation.kind == OpKind::kRecv) FillWithNothing(operation.outputs[0]);
    if (operation.kind == OpKind::kSend) record.checksum = Checksum(operation.inputs[0]);
    const uint64_t id = announcer_->Post(record, Parts(operation));
    try {
      return std::make_unique<AnnouncedWork>(inner_->Start(operation), id, Message(operation), announcer_);
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
    record->bytes_sent = TotalBytes(operation.inputs);
    record->bytes_received = TotalBytes(operation.outputs);
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
      parts[r] = {BytesOf(sent), BytesOf(received), ShapeHash(sent), ShapeHash(received)};
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
