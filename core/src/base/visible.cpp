#include "shardlab/base/visible.hpp"

#include <fmt/format.h>

#include "utf8.hpp"

namespace shardlab {
namespace {

bool ChangesTheLine(unsigned code) {
  return code == 0x200e || code == 0x200f || (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

}  // namespace

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

std::string Visible(const std::string& text) {
  std::string visible;
  visible.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte >= 0x80) {
      const size_t bytes = CharacterBytes(text, i);
      unsigned code = byte;
      if (bytes == 2) code = (byte & 0x1fu) << 6 | (static_cast<unsigned char>(text[i + 1]) & 0x3fu);
      if (bytes == 3) {
        code = (byte & 0xfu) << 12 | (static_cast<unsigned char>(text[i + 1]) & 0x3fu) << 6 |
               (static_cast<unsigned char>(text[i + 2]) & 0x3fu);
      }
      if (bytes == 0 || (bytes == 2 && code < 0xa0)) {
        visible += fmt::format("\\x{:02x}", code);
      } else if (bytes == 3 && ChangesTheLine(code)) {
        visible += fmt::format("\\u{:04x}", code);
      } else {
        visible.append(text, i, bytes);
      }
      i += bytes > 0 ? bytes - 1 : 0;
    } else if (byte == '\r' && i + 1 < text.size() && text[i + 1] == '\n') {
      continue;  // the end of a line, as Windows writes it
    } else if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f) {
      visible += fmt::format("\\x{:02x}", byte);
    } else {
      visible += text[i];
    }
  }
  return visible;
}

}  // namespace shardlab
