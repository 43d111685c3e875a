#pragma once

#include <cstdint>

namespace shardlab::grade {

/// \name How what a plain body hands back travels: as a tensor of this c10::ScalarType would
///@{
constexpr uint8_t kTextDtype = 0;      ///< uint8 [bytes]
constexpr uint8_t kIntegersDtype = 4;  ///< int64 [how many]
constexpr uint8_t kNumberDtype = 7;    ///< float64 []
///@}

}  // namespace shardlab::grade
