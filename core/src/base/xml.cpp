#include "shardlab/base/xml.hpp"

#include <cstddef>

namespace shardlab {
namespace {

/// How many bytes the UTF-8 character at `at` takes; 0 if there is none, or one that XML forbids.
size_t CharacterBytes(const std::string& text, size_t at) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned first = byte(at);
  if (first < 0x80) return 1;
  const size_t bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4) return 0;
  unsigned code = first & (0xffu >> (bytes + 1));
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return 0;
    code = code << 6 | (byte(at + i) & 0x3f);
  }
  const bool too_long = (bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000);
  const bool forbidden = (code >= 0xd800 && code < 0xe000) || code == 0xfffe || code == 0xffff || code > 0x10ffff;
  return too_long || forbidden ? 0 : bytes;
}

}  // namespace

std::string EscapeXml(const std::string& text) {
  std::string escaped;
  for (size_t i = 0; i < text.size(); ++i) {
    const char letter = text[i];
    if (static_cast<unsigned char>(letter) >= 0x80) {
      const size_t bytes = CharacterBytes(text, i);
      escaped += bytes > 0 ? text.substr(i, bytes) : "\xef\xbf\xbd";
      i += bytes > 0 ? bytes - 1 : 0;
      continue;
    }
    switch (letter) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\n':
        escaped += "&#10;";
        break;
      case '\t':
        escaped += "&#9;";
        break;
      default:
        escaped += letter < 0x20 || letter == 0x7f ? '?' : letter;
    }
  }
  return escaped;
}

}  // namespace shardlab
