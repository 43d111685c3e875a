#pragma once

#include <string>
#include <vector>

#include "shardlab/base/contract.hpp"
#include "shardlab/base/split.hpp"

/// \file
/// Where to cut a model. A pipeline is as fast as its slowest stage, and needs ranks as large as its largest: a good
/// cut is one whose worst stage is as small as it can be.
///
///     layers   3  1  4  1  5        costs, in seconds or in bytes
///              --+--------+--
///     [1, 3, 1]   3    6    5       the largest is 6
///              --------+-----+
///     [2, 2, 1]   4     5    5      the largest is 5: no cut of these layers does better

namespace shardlab {

/// Contract: the cut of a sequence of layers into `parts` runs of consecutive layers, none empty, whose most expensive
/// run is as cheap as it can be. Of the cuts that reach this minimum, the one with the smallest sum of squared costs;
/// so that stages which do not matter are even, too.
///
/// A pure function: every rank finds the same cut.
///
/// \param costs what each layer takes, in order: measured seconds of forward and backward, or bytes; 0 or more.
/// \returns the number of layers of each part; they sum to the number of layers.
/// \throws ContractError unless 1 <= parts <= layers and every cost is a finite number of at least 0.
/// Cost: at most layers^2 * parts additions.
/// Source: the partition of GPipe (arXiv 1811.06965, section 2.1); torchgpipe approximates it by block partitions,
/// whose largest part need not be minimal.
SHARDLAB_CONTRACT std::vector<int> Balance(const std::vector<double>& costs, int parts);

/// The cost of the most expensive part of a cut.
/// \param sizes layers of each part, which sum to the number of costs.
double LargestPart(const std::vector<double>& costs, const std::vector<int>& sizes);

/// Checks a cut that somebody wrote by hand.
/// \param recommended what the message advises when it does not fit; empty: an even cut.
/// \throws ContractError, in one line, unless there is one size of at least 1 for each of `stages` stages and they sum to
/// `layers`: what is wrong with it, and a balance that would do.
void RequireBalance(const std::vector<int>& sizes, int layers, int stages, const std::vector<int>& recommended = {});

/// The layers of a stage, one of those that the balance has numbers for.
Range LayersOf(const std::vector<int>& sizes, int stage);

/// A balance as people write it on the command line: "3,3,4".
std::string BalanceText(const std::vector<int>& sizes);

}  // namespace shardlab
