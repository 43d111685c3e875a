#pragma once

#include <cstddef>

/// \file
/// What an input reached: the compiler puts a call into every branch (-fsanitize-coverage=trace-pc, which g++ has too).

namespace shardlab::fuzz {

/// Forgets the branches of the last input.
void ForgetBranches();
/// Whether the branches since ForgetBranches hold one that no input reached before, or reached that often.
bool FoundNewBranches();
/// How many are known.
size_t KnownBranches();

}  // namespace shardlab::fuzz
