#pragma once

#include <string>

namespace shardlab {

/// Text for XML 1.0 (and so for SVG): the special characters escaped, line ends and tabs kept as references, and
/// control characters, which XML forbids, shown as '?'.
std::string EscapeXml(const std::string& text);

}  // namespace shardlab
