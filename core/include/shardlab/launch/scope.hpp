#pragma once

/// \file
/// What a process may do to the others of the same user. Neither function needs any rights; where the kernel lacks one
/// of them, the process goes on without.

namespace shardlab::launch {

/// Takes from this process, and all that it starts, what it could do to others: it gains no rights from programs that
/// it starts (no_new_privs), and root keeps only its rights to files; it can neither trace processes outside nor read
/// or write their memory (Linux 5.13, also root); it cannot send them signals (Linux 6.12). It remains visible to, and
/// can be ended by, those outside.
///
/// It is async-signal-safe: it may be called between fork and exec.
void EnterOwnScope();

/// Whether EnterOwnScope keeps signals inside.
bool ScopeHoldsSignals();

/// Closes this process's memory and descriptors under /proc to other processes of the same user, and to tracers. Holds
/// until the next exec; forked children have it too.
void HideMemory();

}  // namespace shardlab::launch
