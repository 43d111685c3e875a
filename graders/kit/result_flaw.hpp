#pragma once

namespace shardlab::grade {

/// What is wrong with a result besides its values, as a rank reports it to the referee.
enum ResultFlaw { kNoFlaw = 0, kNotContiguous = 1, kSharesInput = 2 };

}  // namespace shardlab::grade
