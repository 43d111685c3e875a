#pragma once

#include <poll.h>

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "relay_wire.hpp"
#include "shardlab/launch/process.hpp"

namespace shardlab::grade {

/// What really passed.
struct RelayCount {
  int64_t messages = 0;          ///< point-to-point, sent
  int64_t bytes = 0;             ///< of those
  int64_t collectives = 0;       ///< contributions to them; forming groups not counted
  int64_t collective_bytes = 0;  ///< of those

  bool operator==(const RelayCount& other) const {
    return messages == other.messages && bytes == other.bytes && collectives == other.collectives &&
           collective_bytes == other.collective_bytes;
  }
};

/// The way on which all messages of a run pass through this process, which counts them: the supervisor's half of a
/// replay. A send is taken in at once, whether its receive has been posted or not: who waits for whom was judged
/// before.
///
/// Ranks are not trusted: what is no message ends the relay's work with an error; a rank that does not read what is
/// sent to it costs memory, up to a limit.
class Relay {
 public:
  /// Makes a socket a rank. \throws EnvironmentError
  explicit Relay(int ranks);

  /// The rank's end, to be handed over once.
  launch::Fd TakeEnd(int rank) { return std::move(ends_.at(static_cast<size_t>(rank)).theirs); }
  /// What to poll for.
  void AddTo(std::vector<pollfd>* entries) const;
  /// Takes in what there is and hands on what can be, without waiting.
  void Pump();

  /// What this rank has sent so far.
  const RelayCount& Count(int rank) const { return ends_.at(static_cast<size_t>(rank)).count; }
  /// What is wrong, or empty: "rank 2 sent something that is no message".
  const std::string& error() const { return error_; }

 private:
  struct End {
    launch::Fd mine, theirs;
    std::string in;               // not yet a whole message
    std::deque<std::string> out;  // for the rank
    size_t written = 0;           // of the first of those
    RelayCount count;
  };

  void Read(int rank);
  void Write(End& end);
  /// Takes whole messages from the front of what a rank sent.
  void TakeWhole(int rank);
  void HandOn(int from, const RelayHead& head, int to, const char* bytes, uint64_t size);
  void Refuse(int rank, const std::string& what);

  std::vector<End> ends_;
  size_t held_ = 0;  // bytes taken in and not yet handed on
  std::string error_;
};

}  // namespace shardlab::grade
