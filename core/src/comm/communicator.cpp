#include "shardlab/comm/communicator.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/comm/operation.hpp"

namespace shardlab {
namespace {

// A call of a student's, for what is to be said about it.
struct Call {
  const char* name;
  Where where;
};

// "Send (ring.cpp:31)".
std::string Text(const Call& call) {
  if (call.where.line <= 0) return call.name;
  const char* slash = std::strrchr(call.where.file, '/');
  return fmt::format("{} ({}:{})", call.name, slash == nullptr ? call.where.file : slash + 1, call.where.line);
}

std::string RanksOf(const Communicator& comm) {
  return fmt::format("group '{}' has ranks 0 to {}", comm.group().name, comm.size() - 1);
}

void CheckPeer(const Communicator& comm, const Call& call, const char* role, int peer) {
  if (peer < 0 || peer >= comm.size()) {
    throw ContractError(fmt::format("{}: {} rank {} does not exist: {}", Text(call), role, peer, RanksOf(comm)));
  }
  if (peer == comm.rank()) {
    throw ContractError(fmt::format("{}: rank {} would talk to itself: copy the tensor instead", Text(call), peer));
  }
}

constexpr char kIfRead[] = "pass x.contiguous()";
constexpr char kIfWritten[] = "make it so, or use another tensor and copy from that afterwards";

void CheckTensor(const Call& call, const char* role, const at::Tensor& tensor, const char* instead) {
  if (!tensor.defined())
    throw ContractError(
        fmt::format("{}: {} is an undefined tensor, as grad() is before a backward and of what requires no gradient",
                    Text(call), role));
  if (tensor.layout() != at::kStrided) {
    throw ContractError(fmt::format("{}: {} is sparse; only dense tensors travel", Text(call), role));
  }
  if (!tensor.is_contiguous()) {
    throw ContractError(fmt::format("{}: {}, {} with strides [{}], is not contiguous: {}", Text(call), role,
                                    Describe(tensor), fmt::join(tensor.strides(), ", "), instead));
  }
}

void CheckSame(const Call& call, const std::string& role_a, const at::Tensor& a, const std::string& role_b,
               const at::Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) {
    throw ContractError(fmt::format("{}: {} is {}, but {} is {}: they must match", Text(call), role_a, Describe(a),
                                    role_b, Describe(b)));
  }
}

// One tensor for each rank, all contiguous and of one dtype.
void CheckList(const Communicator& comm, const Call& call, const char* role, const std::vector<at::Tensor>& tensors,
               at::ScalarType dtype, const char* instead) {
  if (static_cast<int>(tensors.size()) != comm.size()) {
    throw ContractError(fmt::format("{}: `{}` holds {} tensors, but {}: it takes one for each", Text(call), role,
                                    tensors.size(), RanksOf(comm)));
  }
  for (size_t r = 0; r < tensors.size(); ++r) {
    const std::string name = fmt::format("{}[{}]", role, r);
    CheckTensor(call, name.c_str(), tensors[r], instead);
    if (tensors[r].scalar_type() != dtype) {
      throw ContractError(fmt::format("{}: {} is {}, but the others are {}: a collective has one dtype", Text(call),
                                      name, Describe(tensors[r]), DtypeName(static_cast<uint8_t>(dtype))));
    }
  }
}

// Autograd is told that an operation overwrites a tensor, so that a backward which needs the old values says so.
void WillBeWritten(const at::Tensor& tensor) {
  if (!tensor.is_inference()) tensor.unsafeGetTensorImpl()->bump_version();
}

// FNV-1a over 64-bit words, with a last mix so that no bit of the result is weak.
uint64_t GroupId(uint64_t parent, uint64_t number, const std::string& name, const std::vector<int>& world_ranks) {
  uint64_t hash = 14695981039346656037u;
  const auto add = [&hash](uint64_t word) {
    for (int byte = 0; byte < 8; ++byte) {
      hash ^= (word >> (8 * byte)) & 0xff;
      hash *= 1099511628211u;
    }
  };
  add(parent);
  add(number);
  for (const char c : name) add(static_cast<unsigned char>(c));
  for (const int rank : world_ranks) add(static_cast<uint64_t>(rank));
  hash ^= hash >> 33;
  hash *= 0xff51afd7ed558ccdu;
  hash ^= hash >> 33;
  return hash == 0 ? 1 : hash;  // 0 is the world
}

// SendTensor's header: dtype, number of dimensions, sizes.
constexpr int64_t kHeaderLength = 16;
constexpr int64_t kHeaderDims = kHeaderLength - 2;

}  // namespace

std::unique_ptr<Work> Communicator::ISend(const at::Tensor& tensor, int to, int tag, Where where) {
  const Call call{"Send", where};
  CheckPeer(*this, call, "receiving", to);
  if (tag < 0) throw ContractError(fmt::format("{}: tag {} is negative: tags are 0 or more", Text(call), tag));
  CheckTensor(call, "the tensor", tensor, kIfRead);
  Operation operation;
  operation.kind = OpKind::kSend;
  operation.peer = to;
  operation.tag = tag;
  operation.inputs = {tensor};
  operation.where = where;
  return Start(operation);
}

std::unique_ptr<Work> Communicator::IRecv(const at::Tensor& tensor, int from, int tag, Where where) {
  const Call call{"Recv", where};
  CheckPeer(*this, call, "sending", from);
  if (tag < 0) throw ContractError(fmt::format("{}: tag {} is negative: tags are 0 or more", Text(call), tag));
  CheckTensor(call, "the tensor", tensor, kIfWritten);
  WillBeWritten(tensor);
  Operation operation;
  operation.kind = OpKind::kRecv;
  operation.peer = from;
  operation.tag = tag;
  operation.outputs = {tensor};
  operation.where = where;
  return Start(operation);
}

void Communicator::Send(const at::Tensor& tensor, int to, int tag, Where where) {
  ISend(tensor, to, tag, where)->Wait();
}

void Communicator::Recv(const at::Tensor& tensor, int from, int tag, Where where) {
  IRecv(tensor, from, tag, where)->Wait();
}

void Communicator::SendTensor(const at::Tensor& tensor, int to, int tag, Where where) {
  const Call call{"SendTensor", where};
  CheckTensor(call, "the tensor", tensor, kIfRead);
  if (tensor.dim() > kHeaderDims) {
    throw ContractError(
        fmt::format("{}: the tensor has {} dimensions, {} are the most", Text(call), tensor.dim(), kHeaderDims));
  }
  const at::Tensor header = at::zeros({kHeaderLength}, at::kLong);
  auto* values = header.data_ptr<int64_t>();
  values[0] = static_cast<int64_t>(tensor.scalar_type());
  values[1] = tensor.dim();
  std::copy(tensor.sizes().begin(), tensor.sizes().end(), values + 2);
  const auto header_sent = ISend(header, to, tag, where);
  const auto payload_sent = ISend(tensor, to, tag, where);
  header_sent->Wait();
  payload_sent->Wait();
}

at::Tensor Communicator::RecvTensor(int from, int tag, Where where) {
  const at::Tensor header = at::zeros({kHeaderLength}, at::kLong);
  Recv(header, from, tag, where);
  const auto* values = header.data_ptr<int64_t>();
  const bool valid = values[0] >= 0 && values[0] < static_cast<int64_t>(at::ScalarType::NumOptions) && values[1] >= 0 &&
                     values[1] <= kHeaderDims &&
                     std::all_of(values + 2, values + 2 + values[1], [](int64_t size) { return size >= 0; });
  if (!valid) {
    throw CommError(fmt::format("RecvTensor from rank {}, tag {}: what came was not sent with SendTensor", from, tag));
  }
  const at::Tensor tensor = at::empty(at::IntArrayRef(values + 2, static_cast<size_t>(values[1])),
                                      at::TensorOptions(static_cast<at::ScalarType>(values[0])));
  Recv(tensor, from, tag, where);
  return tensor;
}

std::unique_ptr<Work> Communicator::IAllReduce(const at::Tensor& tensor, ReduceOp op, Where where) {
  const Call call{"AllReduce", where};
  CheckTensor(call, "the tensor", tensor, kIfWritten);
  WillBeWritten(tensor);
  Operation operation;
  operation.kind = OpKind::kAllReduce;
  operation.reduce = op;
  operation.outputs = {tensor};
  operation.where = where;
  return Start(operation);
}

std::unique_ptr<Work> Communicator::IAllGather(const std::vector<at::Tensor>& into, const at::Tensor& mine,
                                               Where where) {
  const Call call{"AllGather", where};
  CheckTensor(call, "`mine`", mine, kIfRead);
  CheckList(*this, call, "into", into, mine.scalar_type(), kIfWritten);
  CheckSame(call, "`mine`", mine, fmt::format("into[{}], which will hold it,", rank()),
            into[static_cast<size_t>(rank())]);
  for (const at::Tensor& tensor : into) WillBeWritten(tensor);
  Operation operation;
  operation.kind = OpKind::kAllGather;
  operation.inputs = {mine};
  operation.outputs = into;
  operation.where = where;
  return Start(operation);
}

std::unique_ptr<Work> Communicator::IReduceScatter(const at::Tensor& into, const std::vector<at::Tensor>& parts,
                                                   Where where) {
  const Call call{"ReduceScatter", where};
  CheckTensor(call, "`into`", into, kIfWritten);
  CheckList(*this, call, "parts", parts, into.scalar_type(), kIfRead);
  CheckSame(call, "`into`", into, fmt::format("parts[{}], this rank's,", rank()), parts[static_cast<size_t>(rank())]);
  WillBeWritten(into);
  Operation operation;
  operation.kind = OpKind::kReduceScatter;
  operation.inputs = parts;
  operation.outputs = {into};
  operation.where = where;
  return Start(operation);
}

std::unique_ptr<Work> Communicator::IBroadcast(const at::Tensor& tensor, int root, Where where) {
  const Call call{"Broadcast", where};
  if (root < 0 || root >= size()) {
    throw ContractError(fmt::format("{}: root {} does not exist: {}", Text(call), root, RanksOf(*this)));
  }
  CheckTensor(call, "the tensor", tensor, kIfWritten);
  if (rank() != root) WillBeWritten(tensor);
  Operation operation;
  operation.kind = OpKind::kBroadcast;
  operation.peer = root;
  operation.outputs = {tensor};
  operation.where = where;
  return Start(operation);
}

std::unique_ptr<Work> Communicator::IAllToAll(const std::vector<at::Tensor>& into, const std::vector<at::Tensor>& parts,
                                              Where where) {
  const Call call{"AllToAll", where};
  if (parts.empty() || !parts[0].defined()) {
    throw ContractError(
        fmt::format("{}: `parts` holds {} tensors (or the first is undefined), but {}: it takes one "
                    "for each",
                    Text(call), parts.size(), RanksOf(*this)));
  }
  const at::ScalarType dtype = parts[0].scalar_type();
  CheckList(*this, call, "parts", parts, dtype, kIfRead);
  CheckList(*this, call, "into", into, dtype, kIfWritten);
  const auto me = static_cast<size_t>(rank());
  CheckSame(call, fmt::format("parts[{}]", rank()), parts[me], fmt::format("into[{}], which will hold it,", rank()),
            into[me]);
  for (const at::Tensor& tensor : into) WillBeWritten(tensor);
  Operation operation;
  operation.kind = OpKind::kAllToAll;
  operation.inputs = parts;
  operation.outputs = into;
  operation.where = where;
  return Start(operation);
}

void Communicator::AllReduce(const at::Tensor& tensor, ReduceOp op, Where where) {
  IAllReduce(tensor, op, where)->Wait();
}

void Communicator::AllGather(const std::vector<at::Tensor>& into, const at::Tensor& mine, Where where) {
  IAllGather(into, mine, where)->Wait();
}

void Communicator::ReduceScatter(const at::Tensor& into, const std::vector<at::Tensor>& parts, Where where) {
  IReduceScatter(into, parts, where)->Wait();
}

void Communicator::Broadcast(const at::Tensor& tensor, int root, Where where) {
  IBroadcast(tensor, root, where)->Wait();
}

void Communicator::AllToAll(const std::vector<at::Tensor>& into, const std::vector<at::Tensor>& parts, Where where) {
  IAllToAll(into, parts, where)->Wait();
}

void Communicator::Barrier(Where where) {
  Operation operation;
  operation.kind = OpKind::kBarrier;
  operation.where = where;
  Start(operation)->Wait();
}

std::shared_ptr<Communicator> Communicator::Subgroup(const std::vector<int>& ranks, const std::string& name,
                                                     Where where) {
  if (ranks.empty()) throw ContractError(fmt::format("Subgroup '{}': a group without ranks", name));
  std::vector<bool> named(static_cast<size_t>(size()), false);
  Group group;
  group.name = name;
  for (const int rank : ranks) {
    if (rank < 0 || rank >= size()) {
      throw ContractError(fmt::format("Subgroup '{}' of [{}]: rank {} does not exist: {}", name, fmt::join(ranks, ", "),
                                      rank, RanksOf(*this)));
    }
    if (named[static_cast<size_t>(rank)]) {
      throw ContractError(
          fmt::format("Subgroup '{}' of [{}]: rank {} is named twice", name, fmt::join(ranks, ", "), rank));
    }
    named[static_cast<size_t>(rank)] = true;
    group.world_ranks.push_back(group_.world_ranks[static_cast<size_t>(rank)]);
  }
  // The number is counted on every rank, member or not: that is how all of them agree on it without talking.
  group.id = GroupId(group_.id, ++subgroups_made_, name, group.world_ranks);
  const auto mine = std::find(ranks.begin(), ranks.end(), rank_);
  if (mine == ranks.end()) return nullptr;
  return MakeSubgroup(static_cast<int>(mine - ranks.begin()), group, where);
}

std::shared_ptr<Communicator> Communicator::Split(int color, int key, const std::string& name, Where where) {
  const at::Tensor mine = at::zeros({2}, at::kLong);
  mine.data_ptr<int64_t>()[0] = color;
  mine.data_ptr<int64_t>()[1] = key;
  std::vector<at::Tensor> all;
  for (int r = 0; r < size(); ++r) all.push_back(at::zeros({2}, at::kLong));
  AllGather(all, mine, where);
  std::vector<int> ranks;
  for (int r = 0; r < size(); ++r) {
    if (all[static_cast<size_t>(r)].data_ptr<int64_t>()[0] == color) ranks.push_back(r);
  }
  std::stable_sort(ranks.begin(), ranks.end(), [&all](int a, int b) {
    return all[static_cast<size_t>(a)].data_ptr<int64_t>()[1] < all[static_cast<size_t>(b)].data_ptr<int64_t>()[1];
  });
  // Each rank counts one group, whatever the color: the members differ, and so do the ids.
  return Subgroup(ranks, name, where);
}

}  // namespace shardlab
