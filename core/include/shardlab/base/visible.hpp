#pragma once

#include <string>

namespace shardlab {

/// Text that somebody else wrote, for a terminal: what a terminal would obey instead of showing it is written out. An
/// escape becomes `\x1b`, a byte that is no UTF-8 `\xff`, a mark that turns the direction of writing `\u202e`. Lines and
/// tabs stay. Done where such text comes in: what a rank prints, throws or announces, what a host or a compiler says.
std::string Visible(const std::string& text);

}  // namespace shardlab
