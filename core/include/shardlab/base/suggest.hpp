#pragma once

#include <cstddef>
#include <string>
#include <vector>

/// \file
/// What somebody who mistyped a name probably meant.

namespace shardlab {

/// How many letters must be inserted, deleted, replaced or swapped with their neighbour to make `b` of `a`
/// (Damerau's distance, each pair swapped at most once). Case counts. O(|a| |b|).
size_t EditDistance(const std::string& a, const std::string& b);

/// The candidate that is nearest to `word`, without regard to case and with `-` equal to `_`; one that begins with
/// `word` counts as near. Empty if none is near enough to be what was meant (more than a third of the letters differ).
std::string Nearest(const std::string& word, const std::vector<std::string>& candidates);

/// A whole sentence for an error: "unknown module 'comunication': did you mean 'communication'? There are
/// communication, tensor_parallel." The question is left out where nothing is near.
/// \param what what kind of thing it is, "module", "model", ...
std::string UnknownName(const std::string& what, const std::string& word, const std::vector<std::string>& candidates);

}  // namespace shardlab
