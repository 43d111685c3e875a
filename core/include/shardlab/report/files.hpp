#pragma once

#include <string>

/// \file
/// Result files that are whole or not there: whoever reads one never sees half of it, also after a crash or on a full
/// disk.

namespace shardlab {

/// Writes `text` to `path`: into a temporary file in the same folder, to the disk, and then renamed. A path that is
/// there and is no regular file (/dev/stdout, a pipe) is written directly. \throws EnvironmentError that names the path
/// and the cause (no space left, no permission, no such folder, and what
///   can be done); the file that was there before is untouched.
/// \param durable wait until the disk has it, which can take tens of milliseconds; without, the file survives the end of
///   this process but perhaps not that of the machine.
void WriteFileSafely(const std::string& path, const std::string& text, bool durable = true);

/// Finds out, before hours of work, whether `path` can be written, and leaves nothing behind.
/// \param option the option that named the path, for the message: "--json".
/// \throws UsageError if the folder is not there or `path` is a folder; EnvironmentError if it cannot be written.
void RequireWritable(const std::string& path, const std::string& option);

/// The same for a folder that files are to be written to; it is made, with the folders above it, where it is not there.
/// \throws UsageError if `path` is a file; EnvironmentError if the folder cannot be made or written to.
void RequireWritableFolder(const std::string& path, const std::string& option);

/// The whole content of a file.
/// \throws EnvironmentError that names the path and the cause.
std::string ReadFile(const std::string& path);

}  // namespace shardlab
