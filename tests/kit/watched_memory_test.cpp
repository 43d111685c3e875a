#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include <gtest/gtest.h>

#include "kit/watched_memory.hpp"

namespace shardlab::grade {
namespace {

/// What `copy` does, once in this thread and once in another, which comes late.
double ShareOfALateSecond(const std::function<void(int thread, volatile char* block, size_t i)>& copy) {
  WatchedMemory memory(64);
  const auto each = [&](int thread) {
    for (size_t i = 0; i < memory.blocks(); ++i) {
      copy(thread, static_cast<char*>(memory.data()) + i * WatchedMemory::kBlockBytes, i);
    }
  };
  memory.Watch();
  std::thread second([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    each(1);
  });
  each(0);
  second.join();
  return memory.ShareOfOthers();
}

TEST(WatchedMemory, ASerialCopyHasNoShareOfOthersAndWaitsForNobody) {
  WatchedMemory memory(64);
  EXPECT_EQ(static_cast<char*>(memory.data())[WatchedMemory::kBlockBytes * 64 - 1], 0);
  memory.Watch();
  for (size_t i = 0; i < memory.blocks(); ++i) {
    static_cast<char*>(memory.data())[i * WatchedMemory::kBlockBytes] = static_cast<char>(i);
  }
  EXPECT_EQ(memory.ShareOfOthers(), 0);
  EXPECT_EQ(static_cast<char*>(memory.data())[WatchedMemory::kBlockBytes * 9], 9) << "what was written stays";
}

TEST(WatchedMemory, HalvesAreHalvesHoweverLateASecondThreadIs) {
  EXPECT_EQ(ShareOfALateSecond([](int thread, volatile char* block, size_t i) {
              if ((i < 32) == (thread == 0)) *block = 1;
            }),
            0.5);
}

TEST(WatchedMemory, WhoTakesPieceByPieceLeavesALateSecondThreadItsPart) {
  std::atomic<size_t> next{0};
  const double share = ShareOfALateSecond([&](int, volatile char* block, size_t i) {
    size_t mine = i;
    if (next.compare_exchange_strong(mine, i + 1)) *block = 1;
  });
  EXPECT_GE(share, 0.4);
}

}  // namespace
}  // namespace shardlab::grade
