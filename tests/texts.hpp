#pragma once

#include <cstddef>
#include <string>

#include "shardlab/base/errors.hpp"

/// \file
/// What tests ask of texts and of errors' messages.

namespace shardlab {

/// What `call` throws as an Error; "nothing was thrown" where it returns. Another error goes on, and fails the test.
template <typename Error = ContractError, typename Call>
std::string MessageOf(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

/// How often `part` occurs in `text`.
inline size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace shardlab
