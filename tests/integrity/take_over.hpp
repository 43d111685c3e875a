#pragma once

/// Plays the host: gets the inputs of all ranks, computes their sum in one process, and announces the messages that a
/// ring would have sent. Of all that can be forged this forges most. In a replay, where it is given one rank's input,
/// it does as much as it can.
[[noreturn]] void TakeOver();
