#include "shardlab/comm/memory_store.hpp"
#include "../texts.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "shardlab/base/errors.hpp"

namespace shardlab {
namespace {

using std::chrono::milliseconds;
using Value = std::vector<uint8_t>;

/// Runs `body` in a child, which ends with status 0 if it returns true.
template <typename Body>
pid_t InChild(Body body) {
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(20);
    _exit(body() ? 0 : 1);
  }
  return pid;
}

int StatusOf(pid_t pid) {
  int status = -1;
  waitpid(pid, &status, 0);
  return status;
}

TEST(MemoryStore, WhatOneProcessStoresAnotherReads) {
  StoreMemory memory;
  const pid_t child = InChild([&] {
    const auto store = memory.Store();
    store->set("question", Value{1, 2, 3});
    return store->get("answer") == Value{4, 2};
  });
  const auto store = memory.Store();
  EXPECT_EQ(store->get("question"), (Value{1, 2, 3}));
  store->set("answer", Value{4, 2});
  EXPECT_EQ(StatusOf(child), 0);
  EXPECT_EQ(store->getNumKeys(), 2);
}

TEST(MemoryStore, AddIsOneStepForAllProcesses) {
  StoreMemory memory;
  constexpr int kProcesses = 4;
  constexpr int kTimes = 200;
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) {
    children.push_back(InChild([&] {
      const auto store = memory.Store();
      for (int n = 0; n < kTimes; ++n) store->add("count", 1);
      return true;
    }));
  }
  for (const pid_t child : children) EXPECT_EQ(StatusOf(child), 0);
  EXPECT_EQ(memory.Store()->add("count", 0), kProcesses * kTimes);
}

TEST(MemoryStore, AWaitEndsWithItsLimitAndNamesTheKey) {
  StoreMemory memory;
  const std::string message = MessageOf<CommError>([&] { memory.Store()->wait({"nobody"}, milliseconds(30)); });
  EXPECT_NE(message.find("nobody"), std::string::npos) << message;
}

TEST(MemoryStore, AProcessThatDiesDoesNotLockTheOthersOut) {
  StoreMemory memory;
  // Killed at some moment of a loop that holds the lock most of the time.
  const pid_t child = InChild([&] {
    const auto store = memory.Store();
    store->set("begun", Value{1});
    while (store->check({"begun"})) {
    }
    return false;
  });
  memory.Store()->wait({"begun"}, milliseconds(10000));
  kill(child, SIGKILL);
  StatusOf(child);
  memory.Store()->set("after", Value{7});
  EXPECT_EQ(memory.Store()->get("after"), Value{7});
}

TEST(MemoryStore, DeletesAndCompares) {
  StoreMemory memory;
  const auto store = memory.Store();
  store->set("key", Value{1});
  EXPECT_EQ(store->compareSet("key", Value{2}, Value{3}), Value{1});
  EXPECT_EQ(store->compareSet("key", Value{1}, Value{3}), Value{3});
  EXPECT_TRUE(store->check({"key"}));
  EXPECT_TRUE(store->deleteKey("key"));
  EXPECT_FALSE(store->deleteKey("key"));
  EXPECT_FALSE(store->check({"key"}));
  EXPECT_EQ(store->getNumKeys(), 0);
}

TEST(MemoryStore, SaysWhenItIsFull) {
  StoreMemory memory;
  const auto store = memory.Store();
  EXPECT_THROW(store->set("large", Value(size_t{17} << 20)), EnvironmentError);
  store->set("small", Value{1});
  EXPECT_TRUE(store->check({"small"}));
}

}  // namespace
}  // namespace shardlab
