#pragma once

#include <cstddef>
#include <functional>

#include <nlohmann/json_fwd.hpp>

/// \file
/// Several processes that work through a list. Processes and not threads: a grading session claims all children of its
/// process, and the variables of its environment.

namespace shardlab::mutants {

/// Calls `work(i)` for each i below `count`, in `workers` forked processes, the lower i first; `done(i, what work
/// returned)` is called here, as they end. A process that dies makes {"died": "was killed by SIGSEGV (...)"} of its
/// item, and another takes its place.
///
/// The caller has one thread. The processes end with the calling one, also when that is killed.
/// \throws EnvironmentError if no process can be started
void WorkThrough(size_t count, int workers, const std::function<nlohmann::json(size_t)>& work,
                 const std::function<void(size_t, const nlohmann::json&)>& done);

}  // namespace shardlab::mutants
