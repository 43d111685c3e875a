#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "shardlab/comm/record.hpp"
#include "shardlab/grade/frame.hpp"

/// \file
/// What the referee asks for and what it gets: one case is one run of a body on some ranks.

namespace shardlab::grade {

/// The four ways in which a distributed task is checked.
enum class Kind { kValue, kGradient, kCost, kRobustness };

/// How a case, and a part, can end.
enum class Status { kPassed, kFailed, kNotImplemented, kDoesNotCompile, kSkipped, kCrashed, kDeadlock, kTimeout };

/// "passed", "failed", "not implemented", ...: the words of score cards and of `lab grade --json`.
const char* Name(Status status);
/// "value", "gradient", "cost", "robustness".
const char* Name(Kind kind);

/// Trouble that a case wants: see shardlab/comm/faulty.hpp.
struct FaultSpec {
  double delay_s = 0;             ///< every operation of `delay_ops` completes at least so long after its start
  bool serial_link = false;       ///< and the delays queue up behind each other, as on one link
  std::vector<OpKind> delay_ops;  ///< the kinds of operation that `delay_s` holds for
  double jitter_s = 0;            ///< every message is late by a seeded random time up to this
  uint64_t seed = 0;              ///< of the random times
};

/// What each rank of a case may use. Hitting a limit ends the case, in the words of that limit.
struct Limits {
  int64_t memory_bytes = int64_t{4} << 30;  ///< of tensors, by LibTorch's allocator; 1 GiB more for everything else
  int64_t file_bytes = int64_t{64} << 20;   ///< size of a file that it writes
  int open_files = 1024;                    ///< descriptors at once
  int processes = 32;                       ///< processes that all ranks together start beside themselves
  int threads = 256;                        ///< threads at once, on average over the ranks
};

/// One run of a body, from the referee that asks for it to the rank that does it.
struct CaseRequest {
  std::string body;                                  ///< registered with SHARDLAB_BODY
  int ranks = 1;                                     ///< how many processes
  nlohmann::json params = nlohmann::json::object();  ///< small values, the same on every rank
  /// A rank's own tensors, what it should know and no more, as EncodeFrames gives them; empty: none. Nobody opens them on
  /// the way.
  std::vector<std::string> inputs;
  double limit_s = 10;                             ///< wall-clock time for all ranks together
  int64_t output_limit_bytes = int64_t{64} << 20;  ///< for the frames of one rank
  int threads = 1;                                 ///< OpenMP threads a rank
  bool point_to_point_only = false;                ///< the communicator refuses collectives
  FaultSpec faults;                                ///< trouble to make on purpose
  Limits limits;                                   ///< on what a rank may use
  bool observed = true;  ///< operations are announced; false only to measure what that costs: no deadlock is seen
  /// Every rank runs in a host of its own, and its messages pass through the supervisor, which counts them.
  bool replay = false;
};

/// How one rank ended.
struct RankOutcome {
  Status status = Status::kPassed;  ///< passed: its body returned
  std::string message;              ///< what it threw, the signal's name, "exit(3) in the middle of the body", ...
  Frames outputs;                   ///< what the body handed back
  std::string printed;              ///< the first 64 KiB of what the student's code printed
};

/// An operation or a mark in the order of time, for checks such as "before".
struct Event {
  Record record;  ///< as announced
  int rank = 0;   ///< world rank
};

/// What the announcements of one rank add up to.
struct RankCost {
  int64_t messages = 0;    ///< point-to-point sends
  int64_t bytes_sent = 0;  ///< of those
  int64_t rounds = 0;  ///< the longest chain of messages, each sent after the one before was waited for, that ends here
  int64_t collectives = 0;       ///< calls of the communicator's own collectives
  int64_t collective_bytes = 0;  ///< bytes handed to those
};

/// A rank that waits, in a deadlock: an arrow of the wait-for graph.
struct Waiting {
  int rank = 0;                ///< who waits
  std::vector<int> waits_for;  ///< whose call is missing; ranks that have returned or died among them
  std::string operation;       ///< "Recv from rank 0, tag 3, float64 [4]"
  std::string where;           ///< the student's line, "ring.cpp:12"; empty: not known
  bool in_cycle = false;       ///< whether this arrow is part of the cycle that the message names
};

/// One call on a stack.
struct StackFrame {
  std::string function;  ///< "shardlab::RingAllGather"; empty: not known
  std::string where;     ///< "ring_all_gather.cpp:31"; empty: not known
};

/// Where a rank was when it was ended, or when it threw or crashed.
struct RankStack {
  int rank = 0;                    ///< whose
  std::string why;                 ///< "SIGSEGV", "exception", "still running"
  std::vector<StackFrame> frames;  ///< of the student's code, the innermost first; else of the body's
};

/// What became of a case.
struct CaseOutcome {
  Status status = Status::kPassed;  ///< passed: every rank's body returned and every message matched
  std::string message;              ///< why not, first the root cause
  std::vector<RankOutcome> ranks;   ///< one a rank
  std::vector<RankCost> costs;      ///< one a rank
  std::vector<Event> events;        ///< posts, blocks, ends of operations, marks and returns, by time
  std::vector<Waiting> waits;       ///< of a deadlock, one a rank that waits
  std::vector<RankStack> stacks;    ///< of a crash, an exception or a time limit, one a rank where there is one
  double seconds = 0;               ///< wall-clock time
};

/// A case that the referee means to judge, for one number of ranks.
struct ListedCase {
  std::string part;          ///< "communication.ring"
  std::string id;            ///< "all_gather_values/ranks=3"
  Kind kind = Kind::kValue;  ///< what it checks
  int ranks = 1;             ///< how many processes
};

/// What the referee says of one case. The score is computed from these, against the listed cases.
struct CaseResult {
  std::string part;                  ///< "communication.ring"
  std::string id;                    ///< "all_gather_values/ranks=3"
  Kind kind = Kind::kValue;          ///< what is checked
  Status status = Status::kSkipped;  ///< what came of it
  std::string message;               ///< why it is not passed, for the student
  bool has_figure = false;           ///< measured, target and unit are there
  double measured = 0;               ///< the figure
  double target = 0;                 ///< what it has to be, or to stay below
  std::string unit;                  ///< "rounds", "bytes", ...
  double seconds = 0;                ///< wall-clock time
  /// What `message` says, as data for pictures and tables; every key may be missing.
  ///
  /// "tensor": the wrong tensor: {"what", "rank", "shape", "offset" (of the shard in the full tensor, or []), "index",
  ///     "full_index", "expected", "got", "ratio" (or null), "wrong" (how many), "of", "where" (how they cluster), and
  ///     for small tensors "cells": {"got": [...], "expected": [...], "wrong": [true, ...]}, row-major}
  /// "diagnosis": the sentence of the hypothesis that was tested and fits
  /// "figures": [{"what", "measured", "target", "unit", "met"}], all of them, on success and on failure
  /// "waits": [{"rank", "waits_for": [...], "operation", "where", "in_cycle"}], see Waiting
  /// "stacks": [{"rank", "why" ("SIGSEGV", "exception", "still running"), "frames": [{"function", "where"}]}]
  nlohmann::json evidence = nlohmann::json::object();
};

}  // namespace shardlab::grade
