#pragma once

#include <string>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

#include "shardlab/comm/communicator.hpp"

/// The exercise of these tests: the sum over all ranks, on every rank, by passing round the ring: T-1 messages of S
/// bytes a rank. `attack` says in which way this submission goes about it, "" is honest; `targets` holds what it is
/// after.
at::Tensor SumOverRanks(shardlab::Communicator& comm, const at::Tensor& mine, const std::string& attack,
                        const nlohmann::json& targets);

/// Turns the clock of this process on by an hour, as every program asks for it; \returns by how much it went, seconds.
double TurnTheClock();
