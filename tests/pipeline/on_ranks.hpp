#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "shardlab/comm/mailbox.hpp"

namespace shardlab::test {

/// Runs `body` in one thread a rank. What a body throws ends the others' waits and is thrown from here, unless `throws`
/// says that one is expected to.
inline void OnRanks(int ranks, const std::function<void(std::shared_ptr<Communicator>)>& body, bool throws = false) {
  const auto world = MakeMailbox(ranks, throws ? std::chrono::seconds(1) : std::chrono::seconds(10));
  std::vector<std::exception_ptr> errors(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        body(world[static_cast<size_t>(rank)]);
      } catch (...) {
        errors[static_cast<size_t>(rank)] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors) {
    if (error && !throws) std::rethrow_exception(error);
  }
}

}  // namespace shardlab::test
