#pragma once

/// \file
/// The host: the program in which a module's bodies, and with them the student's code, run. `shardlab_host_main` is a
/// library with a main() that calls HostMain; a host is that, the bodies and a flavour of the module.

namespace shardlab::grade {

/// Runs cases for the supervisor at the other end of `--supervisor-fd=N` until that goes; returns the exit status.
///
/// The process stays single-threaded and never runs a tensor operation, because a process that is forked while another
/// thread holds a lock, or after OpenMP has started its threads, hangs: it forks the ranks, and each of them connects
/// to the others, runs the body, writes its outputs to the memory that the supervisor gave it, and ends.
int HostMain(int argc, char** argv);

}  // namespace shardlab::grade
