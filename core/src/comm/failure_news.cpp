#include "shardlab/comm/failure_news.hpp"

#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace shardlab {
namespace {

constexpr char kKey[] = "shardlab/failure";
constexpr auto kLooks = std::chrono::milliseconds(50);

using Bytes = std::vector<uint8_t>;

}  // namespace

FailureNews::FailureNews(c10::intrusive_ptr<c10d::Store> store, int rank) : store_(std::move(store)), rank_(rank) {}

FailureNews::~FailureNews() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  if (watcher_.joinable()) watcher_.join();
}

void FailureNews::Tell(c10d::Store& store, int rank, const std::string& message) noexcept {
  try {
    std::string line = message.substr(0, message.find('\n'));
    if (line.rfind(fmt::format("rank {} ", rank), 0) != 0) line = fmt::format("rank {}: {}", rank, line);
    store.compareSet(kKey, Bytes(), Bytes(line.begin(), line.end()));
  } catch (const std::exception&) {
    // The store may have gone with the rank that kept it; its closed connections are then all there is.
  }
}

void FailureNews::Tell(const std::string& message) noexcept {
  if (!consequence_) Tell(*store_, rank_, message);
}

std::string FailureNews::Heard() noexcept {
  try {
    if (!known_) {
      if (!store_->check({kKey})) return {};
      const Bytes note = store_->get(kKey);
      const std::lock_guard<std::mutex> lock(mutex_);
      heard_.assign(note.begin(), note.end());
      known_ = true;
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    return heard_;
  } catch (const std::exception&) {
    return {};  // as in Tell
  }
}

std::string FailureNews::Await(double limit_s) noexcept {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(limit_s);
  std::string heard = Heard();
  while (heard.empty() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    heard = Heard();
  }
  return heard;
}

void FailureNews::Wait(const std::function<void()>& wait, const std::function<void()>& give_up) {
  int mine = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    mine = next_++;
    waiting_.emplace(mine, give_up);
    if (!watcher_.joinable()) watcher_ = std::thread([this] { Watch(); });
  }
  const auto leave = [&] {
    const std::lock_guard<std::mutex> lock(mutex_);
    waiting_.erase(mine);
  };
  try {
    wait();
  } catch (...) {
    leave();
    throw;
  }
  leave();
}

void FailureNews::Watch() {
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait_for(lock, kLooks, [this] { return ends_; });
      if (ends_) return;
      if (known_) {
        for (const auto& [number, give_up] : waiting_) give_up();
        continue;
      }
    }
    Heard();
  }
}

}  // namespace shardlab
