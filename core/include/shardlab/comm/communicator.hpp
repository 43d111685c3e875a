#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "shardlab/base/where.hpp"

namespace at {
class Tensor;
}

/// \file
/// How ranks talk.
///
/// *Ranks* are processes (in unit tests, threads) numbered 0 .. size-1 within a *group*. A *point-to-point* message
/// goes from one rank to another; a *collective* is one call that every rank of the group makes, in the same order.
///
/// The rules, the same on every backend:
///  - A send is complete when its receive has been posted: two ranks that both Send first and Recv second wait for each
///    other forever. Post the receive first, or use ISend.
///  - The k-th message from a to b with tag t is received by the k-th receive on b from a with tag t.
///  - A receive names the exact shape and dtype of what was sent.
///  - A collective may return on one rank before another has called it, but no program may rely on that.
///  - Tensors are contiguous; the caller leaves a tensor alone between the start of an operation and its Wait.

namespace shardlab {

struct Operation;
class Announcer;

/// How the ranks' values become one.
enum class ReduceOp : uint8_t { kSum, kProduct, kMin, kMax };

/// An operation under way. Wait for each one exactly once before it is destroyed.
class Work {
 public:
  virtual ~Work() = default;

  /// Returns when the operation is complete: what was received may be read, what was sent may be changed.
  /// \throws CommError when the operation failed or did not complete within the communicator's time limit.
  virtual void Wait() = 0;
};

/// The ranks that a communicator connects.
struct Group {
  /// The same on all its ranks and different from that of every other group of the run; the world's is 0.
  uint64_t id = 0;
  /// What reports call it: "world", or the mesh axis ("tensor"), or what Split was told.
  std::string name = "world";
  /// The world rank of each rank of the group, in the group's order.
  std::vector<int> world_ranks;
};

/// Point-to-point messages and collectives of one group of ranks. One thread at a time uses a communicator; a helper
/// thread (see Worker) that talks while others do gets a sub-group of its own.
///
/// The public calls check their arguments and describe the call as an `Operation`; backends and decorators implement
/// the one virtual function Start, so that announcing, delaying or refusing an operation is written once.
///
/// Cost: S is the bytes of a tensor and T the number of ranks. What a collective costs here is up to the backend; the
/// module `communication` builds them by hand and counts.
class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  /// This process's number within the group, 0 .. size()-1.
  int rank() const { return rank_; }
  /// How many ranks the group has.
  int size() const { return static_cast<int>(group_.world_ranks.size()); }
  /// Which ranks of the world these are.
  const Group& group() const { return group_; }

  /// \name Point to point
  /// `to` and `from` are ranks of this group, not this rank itself. \throws ContractError for a rank that does not
  /// exist, a negative tag, an undefined or non-contiguous tensor.
  ///@{

  /// Starts to send `tensor` to rank `to`.
  std::unique_ptr<Work> ISend(const at::Tensor& tensor, int to, int tag = 0, Where where = Where::Here());
  /// Starts to receive into `tensor`, which has the shape and dtype of what is sent.
  std::unique_ptr<Work> IRecv(const at::Tensor& tensor, int from, int tag = 0, Where where = Where::Here());
  /// ISend and Wait.
  void Send(const at::Tensor& tensor, int to, int tag = 0, Where where = Where::Here());
  /// IRecv and Wait.
  void Recv(const at::Tensor& tensor, int from, int tag = 0, Where where = Where::Here());
  /// Sends a tensor of up to 14 dimensions, whose shape and dtype the receiver does not know: a header of fixed size
  /// travels ahead of it, as a message of its own.
  void SendTensor(const at::Tensor& tensor, int to, int tag = 0, Where where = Where::Here());
  /// Receives what SendTensor sent. It has no asynchronous form: the payload can be received only once the header is
  /// here.
  at::Tensor RecvTensor(int from, int tag = 0, Where where = Where::Here());
  ///@}

  /// \name Collectives
  /// Every rank of the group calls the same one, in the same order, with matching shapes and dtypes.
  ///@{

  /// Replaces `tensor` by the reduction of all ranks' tensors, with the same bits on every rank.
  void AllReduce(const at::Tensor& tensor, ReduceOp op = ReduceOp::kSum, Where where = Where::Here());
  /// Gathers `mine` of rank r into `into[r]`, which has its shape; shapes may differ between ranks.
  void AllGather(const std::vector<at::Tensor>& into, const at::Tensor& mine, Where where = Where::Here());
  /// `into` becomes the sum over all ranks of their `parts[rank()]`; `parts[r]` has the shape of rank r's `into`.
  void ReduceScatter(const at::Tensor& into, const std::vector<at::Tensor>& parts, Where where = Where::Here());
  /// Replaces `tensor` by that of rank `root`.
  void Broadcast(const at::Tensor& tensor, int root, Where where = Where::Here());
  /// Sends `parts[r]` to rank r and receives from rank r into `into[r]`; shapes may differ, empty tensors too.
  void AllToAll(const std::vector<at::Tensor>& into, const std::vector<at::Tensor>& parts, Where where = Where::Here());
  /// Returns when every rank has called it.
  void Barrier(Where where = Where::Here());

  /// The same, returning at once: the tensors are left alone until Wait returns.
  std::unique_ptr<Work> IAllReduce(const at::Tensor& tensor, ReduceOp op = ReduceOp::kSum, Where where = Where::Here());
  std::unique_ptr<Work> IAllGather(const std::vector<at::Tensor>& into, const at::Tensor& mine,
                                   Where where = Where::Here());
  std::unique_ptr<Work> IReduceScatter(const at::Tensor& into, const std::vector<at::Tensor>& parts,
                                       Where where = Where::Here());
  std::unique_ptr<Work> IBroadcast(const at::Tensor& tensor, int root, Where where = Where::Here());
  std::unique_ptr<Work> IAllToAll(const std::vector<at::Tensor>& into, const std::vector<at::Tensor>& parts,
                                  Where where = Where::Here());
  ///@}

  /// \name Smaller groups
  /// Every rank of this group makes the same calls in the same order, also for groups that it is not in. Both return
  /// when all members of the new group have called them. The new communicator does not need this one to stay alive.
  ///@{

  /// The communicator of `ranks` (ranks of this group, in the new group's order); null on a rank that is not among
  /// them, which returns at once. `name` is what reports call it.
  /// \throws ContractError when `ranks` is empty, names a rank twice or one that does not exist.
  std::shared_ptr<Communicator> Subgroup(const std::vector<int>& ranks, const std::string& name,
                                         Where where = Where::Here());
  /// The ranks that give the same `color`, ordered by `key` and then by rank. Costs one all-gather of two numbers.
  std::shared_ptr<Communicator> Split(int color, int key, const std::string& name = "split",
                                      Where where = Where::Here());
  ///@}

  /// Starts what `operation` describes. The public calls above are shorthands for it.
  virtual std::unique_ptr<Work> Start(const Operation& operation) = 0;
  /// Through which this rank announces what it does; null where nobody listens.
  virtual Announcer* announcer() { return nullptr; }

 protected:
  /// For backends and decorators: this process is number `rank` of `group`.
  Communicator(int rank, Group group) : rank_(rank), group_(std::move(group)) {}

  /// Makes the communicator of `group`, in which this rank is number `rank`. Called on all its members and nobody else;
  /// returns when all of them have called it.
  virtual std::shared_ptr<Communicator> MakeSubgroup(int rank, const Group& group, const Where& where) = 0;
  /// What a decorator calls on the communicator that it decorates.
  static std::shared_ptr<Communicator> MakeSubgroupOf(Communicator& inner, int rank, const Group& group,
                                                      const Where& where) {
    return inner.MakeSubgroup(rank, group, where);
  }

 private:
  int rank_;
  Group group_;
  uint64_t subgroups_made_ = 0;
};

}  // namespace shardlab
