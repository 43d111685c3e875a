#pragma once

#include <string>

/// \file
/// Which system calls a sandboxed program may make.

namespace shardlab::launch {

/// The filter of a sandbox, as the kernel takes it (an array of sock_filter). It leaves what programs with threads, OpenMP,
/// sockets and files need: memory, processes, signals, clocks, reading and writing, the network. All else fails as if the
/// kernel did not know it (ENOSYS), what would lead from one sandbox to another above all: the keys that the kernel keeps
/// for a user, locks and watches on files that both can read, System V's and POSIX's queues, sockets other than IP, Unix
/// and netlink; and what programs have no use for: new namespaces, mounts, tracing, BPF, io_uring, kernel modules.
///
/// It holds what the kernel knew when libseccomp was made; newer calls are not in it and fail.
/// \throws EnvironmentError when libseccomp cannot make one for this machine
std::string SystemCallFilter();

/// Sets a filter up for this thread and all that it starts, which gain no rights any more (no_new_privs). False, with
/// errno, where the kernel refuses. Async-signal-safe.
bool EnterFilter(const std::string& filter);

}  // namespace shardlab::launch
