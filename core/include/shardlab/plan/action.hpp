#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

/// \file
/// The verbs of a pipeline schedule.

namespace shardlab {

/// What a rank can be told to do with one chunk of the model.
enum class ActionKind : uint8_t {
  kForward,          ///< F: run the chunk on a micro-batch and keep what its backward needs.
  kBackward,         ///< B: the whole backward: gradient of the input and of the weights.
  kBackwardInput,    ///< I: the half that other ranks wait for, the gradient of the chunk's input.
  kBackwardWeight,   ///< W: the half that nobody waits for, the gradient of the chunk's weights.
  kRecompute,        ///< R: run the forward again from the kept input, just to have what the backward needs.
  kSendForward,      ///< SEND_F: start to send the chunk's output to the next chunk's rank.
  kReceiveForward,   ///< RECV_F: post the receive of the chunk's input.
  kSendBackward,     ///< SEND_B: start to send the gradient of the chunk's input to the previous chunk's rank.
  kReceiveBackward,  ///< RECV_B: post the receive of the gradient of the chunk's output.
  kReduceGradients,  ///< REDUCE_GRAD: sum the chunk's weight gradients over all ranks that hold the same weights.
  kStep,             ///< STEP: let the optimizer make the chunk's next weight version.
};

/// One entry of a rank's list.
///
/// It prints and parses in the notation of PyTorch's pipelining: chunk, kind, micro-batch: `2F0` is the forward of
/// chunk 2 on micro-batch 0, `1I3` and `1W3` the halves of a backward, `0SEND_F2` a send. A weight version other than 0
/// follows an `@`: `2F5@1` runs on version 1, `2STEP@1` makes it and `2REDUCE_GRAD@1` sums the gradients that it is
/// made of.
///
/// Two entries can be a pair, `(0F7;7B3)OVERLAP_F_B`: a forward and a backward that a rank runs at once, so that one
/// computes while the messages of the other travel.
struct Action {
  /// What to do.
  ActionKind kind = ActionKind::kForward;
  /// Which chunk of the layout.
  int chunk = 0;
  /// Which micro-batch, from 0; -1 for REDUCE_GRAD and STEP, which belong to none.
  int microbatch = -1;
  /// The weight version that F, R, B, I and W use (0: the initial weights), or that REDUCE_GRAD and STEP lead to (from
  /// 1). Messages carry none.
  int version = 0;
  /// Whether this forward and the backward that follows it in the list are a pair. ToString shows the action alone.
  bool opens_pair = false;

  /// \name The verbs in which generators are written
  ///@{
  /// F.
  static Action Forward(int chunk, int microbatch) { return {ActionKind::kForward, chunk, microbatch}; }
  /// B.
  static Action Backward(int chunk, int microbatch) { return {ActionKind::kBackward, chunk, microbatch}; }
  /// I.
  static Action BackwardInput(int chunk, int microbatch) { return {ActionKind::kBackwardInput, chunk, microbatch}; }
  /// W.
  static Action BackwardWeight(int chunk, int microbatch) { return {ActionKind::kBackwardWeight, chunk, microbatch}; }
  /// STEP, which makes `version`.
  static Action Step(int chunk, int version) { return {ActionKind::kStep, chunk, -1, version}; }
  ///@}
};

inline bool operator==(const Action& a, const Action& b) {
  return a.kind == b.kind && a.chunk == b.chunk && a.microbatch == b.microbatch && a.version == b.version &&
         a.opens_pair == b.opens_pair;
}
inline bool operator!=(const Action& a, const Action& b) { return !(a == b); }

/// F, B, I, W and R: what takes the rank's time.
bool IsCompute(ActionKind kind);
/// B and I: what yields the gradient of the chunk's input.
bool GivesInputGradient(ActionKind kind);
/// B and W: what yields the gradient of the chunk's weights, and ends the life of the micro-batch's activations.
bool GivesWeightGradient(ActionKind kind);
/// SEND_F and SEND_B.
bool IsSend(ActionKind kind);
/// RECV_F and RECV_B.
bool IsReceive(ActionKind kind);
/// SEND_F, RECV_F, SEND_B and RECV_B.
bool IsMessage(ActionKind kind);
/// Everything but REDUCE_GRAD and STEP.
bool HasMicrobatch(ActionKind kind);

/// The kind as it is printed: "F", "SEND_F", ...
std::string_view Name(ActionKind kind);

/// The action as it is printed: "2F0", "2F5@1", "2STEP@1".
std::string ToString(const Action& action);
std::ostream& operator<<(std::ostream& out, const Action& action);

/// The action that `text` prints. Also takes PyTorch's older `BW` for B.
/// \throws ScheduleError when it is none.
Action ParseAction(std::string_view text);

/// The entry at `step` of a list as it is printed: like ToString(list[step]), and a half of a pair with its bracket:
/// "(0F7;" and "7B3)".
std::string EntryText(const std::vector<Action>& list, size_t step);

/// At most the first 24 bytes of what somebody wrote, in quotes and without control characters, for a message.
std::string Quoted(std::string_view text);

}  // namespace shardlab
