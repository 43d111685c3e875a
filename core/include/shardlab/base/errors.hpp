#pragma once

#include <stdexcept>
#include <string>

/// \file
/// The errors of shardlab. Every message is one sentence that says what is wrong and what would be right; whoever
/// catches one at the top prints it as it is.

namespace shardlab {

/// A function was called against its contract: a wrong shape, a rank that does not exist, sizes that do not fit.
class ContractError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// An operation between ranks failed or did not complete in time; the message names the operation, the other side and
/// the tag.
class CommError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The task of a stub that nobody has filled in yet.
///
/// `what()` is "not implemented yet: " and the task as the stub names it, for example
/// "not implemented yet: communication.ring: RingAllGather (exercises/communication/ring_all_gather.cpp)".
class NotImplemented : public std::logic_error {
 public:
  /// \param task the part's id, the function and its file, as above.
  explicit NotImplemented(const std::string& task) : std::logic_error("not implemented yet: " + task) {}
};

/// Bad input from the command line, a configuration or a data file. Ends a program with exit status 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The machine cannot do what was asked (a full disk, a missing package, no user namespaces). Exit status 3.
class EnvironmentError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What of an exception's message a person needs: LibTorch appends a C++ backtrace from "Exception raised from" on,
/// which is cut off here.
std::string Brief(const std::exception& error);

}  // namespace shardlab
