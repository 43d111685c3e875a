#pragma once

#include <memory>

#include "shardlab/comm/communicator.hpp"
#include "shardlab/layers/layer.hpp"
#include "shardlab/plan/schedule.hpp"

/// \file
/// The way between two chunks: a tuple of tensors goes forward, and their gradients come back.
///
///     earlier chunk                              later chunk
///       Send(at, tensors)        ------------>     Post(at) ... Take(at)
///       PostGradients(at) ...    <------------     SendGradients(at, gradients)
///       TakeGradients(at)
///
/// Nothing waits but the two Takes: Post and PostGradients only prepare them, so that a message travels while its
/// receiver computes. A Take that nobody prepared posts for itself.
///
///  - *Shapes.* What travels is described by a message ahead of the first micro-batch of each size, in training and in
///    evaluation; later ones of that size are like it. So the first Take of a size cannot be prepared.
///  - *How long a sent tensor is kept.* One whose gradient comes back is kept until TakeGradients: the gradient proves
///    that it arrived, and no earlier wait can hold anybody up. Where no gradient will come (gradients themselves,
///    evaluation, integers) no more than `window` sends are kept: before the next the oldest is waited for.
///  - *Tags* are made of the direction, the channel, the micro-batch modulo 1024 and the place in the tuple.

namespace shardlab {

/// One end of the way between two chunks, or both where they are on one rank. Micro-batches are told apart by `number`,
/// which counts them over a whole run. `where`, the caller's line, is what a report of a message names.
class Link {
 public:
  virtual ~Link() = default;

  /// \name The earlier chunk's end
  ///@{
  /// Starts to send. Tensors that require a gradient will get one.
  /// \throws ContractError when they are not like those of the first micro-batch of this size, or more than 16.
  virtual void Send(int number, const MicroBatch& at, const Tensors& tensors, Where where = Where::Here()) = 0;
  /// Prepares TakeGradients.
  virtual void PostGradients(int number, Where where = Where::Here()) = 0;
  /// Waits for the gradients of what was sent: one for each tensor, undefined for those that require none.
  virtual Tensors TakeGradients(int number, Where where = Where::Here()) = 0;
  ///@}

  /// \name The later chunk's end
  ///@{
  /// Prepares Take.
  virtual void Post(int number, const MicroBatch& at, Where where = Where::Here()) = 0;
  /// Waits for what was sent. Tensors that require a gradient say so.
  virtual Tensors Take(int number, const MicroBatch& at, Where where = Where::Here()) = 0;
  /// Starts to send the gradients back: one for each tensor that Take returned; those that require none are left out.
  virtual void SendGradients(int number, const Tensors& gradients, Where where = Where::Here()) = 0;
  ///@}

  /// How many sends that no gradient answers are kept; at least 1, and 2 unless told otherwise.
  virtual void SetWindow(int window) = 0;
  /// Waits until everything sent has been received.
  virtual void Finish() = 0;
};

/// A link to another rank.
/// \param peer the rank of `comm` with the other chunk.
/// \param channel a number that is the same at both ends and differs from that of every other link between these ranks.
/// \param device where what is received shall be.
std::unique_ptr<Link> MakeLink(std::shared_ptr<Communicator> comm, int peer, int channel,
                               at::Device device = at::Device(at::kCPU));

/// What the tag of a link's message says of it.
struct LinkMessage {
  int channel = 0;       ///< of MakeLink
  bool forward = false;  ///< a tensor on its way forward, or what describes it; otherwise a gradient
  int number = 0;        ///< the micro-batch, modulo 1024
};
/// Reads a tag, for reports.
LinkMessage MessageOf(int tag);

/// Both ends of a link within a rank: no message.
std::unique_ptr<Link> MakeLocalLink();

/// The smallest window with which a schedule runs to its end: 2 on a linear layout, so that one gradient can travel
/// while the next is made; as many as there are ranks for WPipe, whose gradients wait at the wrap-around link until
/// their rank comes to them.
/// \throws ScheduleError when it does so with none.
int SendWindow(const Schedule& schedule);

}  // namespace shardlab
