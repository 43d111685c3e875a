#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "shardlab/grade/case.hpp"
#include "shardlab/grade/session.hpp"
#include "shardlab/launch/process.hpp"

/// \file
/// How supervisor, referee and host talk.
///
///     referee  <-- Channel: a JSON header and raw blobs, over a stream socket -->  supervisor
///     host     <-- packets: a small JSON text and descriptors, SOCK_SEQPACKET -->  supervisor
///
/// Both are bounded in size and in time. Tensors go to and from the ranks in shared memory that the supervisor made.

namespace shardlab::grade {

/// The other side has gone, is silent, or talks nonsense.
class WireError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A message between the supervisor and the referee.
struct Message {
  nlohmann::json header;           ///< an object; "type" says what it is
  std::vector<std::string> blobs;  ///< raw bytes
};

/// One end of the connection between supervisor and referee.
class Channel {
 public:
  /// Takes over one of two connected stream sockets.
  explicit Channel(launch::Fd socket);

  /// \throws WireError when the other side does not take the message within `limit_s`
  void Send(const Message& message, double limit_s);
  /// The next message; nothing when none has begun to arrive within `wait_s`. Once one has begun, it has to be complete
  /// within `limit_s`. \throws WireError when it is not, when the other side has gone, or when it is not a message
  std::optional<Message> Receive(double wait_s, double limit_s = 10);

  /// For poll().
  int fd() const { return socket_.get(); }

 private:
  void ReadAll(void* to, size_t size, const launch::Deadline& deadline);

  launch::Fd socket_;
};

/// Sends a packet with descriptors. False when the other side has gone or does not read.
bool SendPacket(int socket, const nlohmann::json& packet, const std::vector<int>& fds = {});
/// What is there to read of a packet socket.
enum class PacketState { kPacket, kNothing, kClosed };
/// Reads one packet without waiting. What is not a JSON object counts as kClosed: nobody who is sane sends it.
PacketState ReceivePacket(int socket, nlohmann::json* packet, std::vector<launch::Fd>* fds = nullptr);

/// \name Messages
///@{
/// Asks for a case to be run.
Message ToMessage(const CaseRequest& request);
/// The case that `message` asks for. \throws WireError when it asks for none.
CaseRequest RequestFrom(Message message);
/// What became of a case.
Message ToMessage(const CaseOutcome& outcome);
/// What `message` says became of a case. \throws WireError when it says no such thing.
CaseOutcome OutcomeFrom(const Message& message);
///@}

/// A request but for its parameters and inputs, which are for the ranks alone.
void to_json(nlohmann::json& json, const CaseRequest& request);
void from_json(const nlohmann::json& json, CaseRequest& request);
void to_json(nlohmann::json& json, const FaultSpec& faults);
void from_json(const nlohmann::json& json, FaultSpec& faults);
void to_json(nlohmann::json& json, const CaseResult& result);
void from_json(const nlohmann::json& json, CaseResult& result);
void to_json(nlohmann::json& json, const Waiting& wait);
void from_json(const nlohmann::json& json, Waiting& wait);
void to_json(nlohmann::json& json, const RankStack& stack);
void from_json(const nlohmann::json& json, RankStack& stack);
void to_json(nlohmann::json& json, const Limits& limits);
void from_json(const nlohmann::json& json, Limits& limits);
void to_json(nlohmann::json& json, const ListedCase& listed);
void from_json(const nlohmann::json& json, ListedCase& listed);
void to_json(nlohmann::json& json, const LearningCurve& curve);
void from_json(const nlohmann::json& json, LearningCurve& curve);

/// The first bytes of what a rank writes for the supervisor, in shared memory; frames follow at kOutputHeaderBytes. The
/// rank, which the student's code shares, may write anything here.
struct OutputHeader {
  uint64_t nonce = 0;           ///< of the case, written by the rank once it runs
  uint32_t state = 0;           ///< a RankStage
  uint32_t exit_code = 0;       ///< of kExited
  int64_t ended_ns = 0;         ///< MonotonicNs when the state became final
  uint64_t used = 0;            ///< bytes of frames
  uint32_t message_length = 0;  ///< bytes of `message` that count
  char message[4000] = "";      ///< what the body threw
};
static_assert(sizeof(OutputHeader) <= 4096);

/// A stack as a rank writes it down, in a signal's handler: bare addresses, which are named later and elsewhere.
struct StackArea {
  static constexpr uint32_t kMost = 64;  ///< addresses; of a deeper stack the innermost
  uint32_t count = 0;                    ///< addresses that count, written last
  int32_t signal = 0;                    ///< that ended or asked the rank; 0: none, an exception
  uint32_t main_thread = 0;              ///< whether the rank's main thread wrote it
  uint32_t overflow = 0;                 ///< whether the stack had no room left
  uint64_t fault = 0;                    ///< the address that could not be accessed
  uint64_t addresses[kMost] = {};        ///< the innermost first: where it was, then return addresses
};
/// Asks a rank for its stack. (A fixed number: host, rank and supervisor have to agree; the C library keeps 32 and 33.)
constexpr int kStackSignal = 60;

/// Where a StackArea stands in the memory of an OutputHeader.
constexpr size_t kStackAreaOffset = 4096;
/// Where the frames begin.
constexpr size_t kOutputHeaderBytes = 8192;
static_assert(kStackAreaOffset + sizeof(StackArea) <= kOutputHeaderBytes);

/// How far a rank has come.
enum class RankStage : uint32_t {
  kNotStarted,      ///< the fork, or the rendezvous of the ranks, is not done
  kRunning,         ///< inside the body
  kReturned,        ///< the body returned
  kNotImplemented,  ///< it threw NotImplemented
  kThrew,           ///< it threw something else
  kThrewCommError,  ///< it threw CommError: perhaps only because another rank has gone
  kExited,          ///< it called exit()
  kTerminated       ///< std::terminate, in any thread
};

}  // namespace shardlab::grade
