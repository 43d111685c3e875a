#pragma once

#include <string>
#include <vector>

/// \file
/// What `lab test fuzz` tries: everything that reads bytes which somebody else may have written.
///
/// A target is a file's worth of code, targets_<what>.cpp, that ends with
///
///     const fuzz::Registered kSchedule({"schedule", "lab schedule --check: shardlab's text form", Seeds, Try, {"rank "}});
///
/// and is listed in the CMakeLists.txt beside it.

namespace shardlab::fuzz {

/// One reader of bytes.
struct Target {
  std::string name;     ///< what `lab test fuzz NAME` calls it
  std::string subject;  ///< what reads, in a few words
  /// What mutation begins with: what the program itself writes.
  std::vector<std::string> (*seeds)() = nullptr;
  /// Reads an input. It may return, or refuse it: with a UsageError, ContractError, EnvironmentError or CommError, or by a
  /// call of CheckRefusal for an error of its own. Anything else is a failure: another exception, a signal, what a
  /// sanitizer reports, more than the limits of time and memory.
  void (*run)(const std::string& input) = nullptr;
  /// Words of the format, which mutation puts in.
  std::vector<std::string> words;
};

/// What a refusal must be: one line, no longer than a person reads. \throws std::logic_error when it is not.
void CheckRefusal(const std::string& message);

/// Makes a target known.
class Registered {
 public:
  explicit Registered(Target target);
};

/// All of them, by name.
const std::vector<Target>& Targets();

}  // namespace shardlab::fuzz
