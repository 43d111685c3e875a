#pragma once

#include <cstddef>
#include <string>

namespace shardlab {

/// How many bytes the UTF-8 character at `at` takes; 0 if there is none, or one that XML forbids.
size_t CharacterBytes(const std::string& text, size_t at);

}  // namespace shardlab
