#pragma once

/// \file
/// A contract is a function that the course declares and a student (or the reference solution) defines.

/// Marks a contract. A module is a shared object with hidden visibility: its contracts are all that it exports, so that
/// a student's helper can neither replace one of ours nor be replaced by one that happens to have the same name.
#define SHARDLAB_CONTRACT __attribute__((visibility("default")))
