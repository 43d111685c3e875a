#pragma once

namespace shardlab::grade {

/// What is wrong with a call besides the values of its result, as a rank reports it to the referee.
enum ResultFlaw { kNoFlaw = 0, kNotContiguous = 1, kSharesInput = 2, kInputAltered = 3, kChangedLater = 4 };

/// How a call ended that had to end with a CommError.
enum FailedCall { kReturned = 0, kCommError = 1, kOtherError = 2 };

}  // namespace shardlab::grade
