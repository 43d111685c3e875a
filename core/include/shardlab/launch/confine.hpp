#pragma once

#include <string>
#include <vector>

/// \file
/// A compiler that reads a stranger's text reads files for it: `#include "/etc/passwd"` is quoted in an error message,
/// `.incbin` puts a file into the program, a section of an object names libraries to the linker.

namespace shardlab::launch {

/// What a confined program may touch besides the system's programs, headers and libraries (/usr and what is linked there).
struct Confinement {
  std::vector<std::string> reads;   ///< files and folders
  std::vector<std::string> writes;  ///< folders, also to make and remove files there
};

/// From now on, for this process and all that it starts, other files than these cannot be opened. Needs no rights; Linux
/// 5.13. What does not exist is left out. False where the kernel cannot do it: then nothing has changed.
bool Confine(const Confinement& confinement);

/// Whether Confine works here.
bool CanConfine();

/// What a call of a compiler or linker names that has to be readable: its files, folders of headers and libraries, and the
/// precompiled form of a header beside it. Relative ones count from the current folder.
std::vector<std::string> FilesNamedIn(const std::vector<std::string>& command);

}  // namespace shardlab::launch
