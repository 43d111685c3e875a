#pragma once

#include <string>

namespace shardlab {

/// Text for XML 1.0 (and so for SVG) and for HTML, between tags and in double quotes: the special characters escaped,
/// line ends and tabs kept as references, control characters, which XML forbids, shown as '?', and bytes that are not
/// UTF-8 as U+FFFD.
std::string EscapeXml(const std::string& text);

}  // namespace shardlab
