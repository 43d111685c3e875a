#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shardlab/grade/wire.hpp"

/// \file
/// Where a rank was when it crashed, threw or was asked: written down as addresses by the rank itself, and named by
/// another process, forked from the host, in which the same programs stand at the same addresses.

namespace shardlab::grade {

/// From now on writes to `area` the stack of whatever signal ends this process, of kStackSignal, and of the last
/// exception thrown. `terminated` is told, in std::terminate, what nobody caught; it may be in any thread.
void WriteStacksTo(StackArea* area, void (*terminated)(const std::string& what));

/// The stack of the caller, for the thrower of an exception; nothing before WriteStacksTo.
void NoteThrow();

/// What stands at `addresses`, the innermost first: the frames of the student's files, else those of the bodies; at
/// most six, a recursion once. Opens files and takes memory: for a process that ends soon.
std::vector<StackFrame> NameFrames(const std::vector<uint64_t>& addresses);

/// The library in which the innermost of `addresses` lies, "libtorch_cpu.so.2.6"; empty where it lies in none.
std::string LibraryOf(const std::vector<uint64_t>& addresses);

}  // namespace shardlab::grade
