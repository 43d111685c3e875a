#include "shardlab/base/errors.hpp"

namespace shardlab {

std::string Brief(const std::exception& error) {
  std::string text = error.what();
  const auto cut = text.find("\nException raised from");
  if (cut != std::string::npos) text.resize(cut);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace shardlab
