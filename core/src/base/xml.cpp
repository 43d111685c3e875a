#include "shardlab/base/xml.hpp"

#include "utf8.hpp"

namespace shardlab {
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
