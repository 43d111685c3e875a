#include "shardlab/comm/memory_store.hpp"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "shardlab/base/errors.hpp"

namespace shardlab {

namespace {

constexpr size_t kBytes = size_t{16} << 20;

using Value = std::vector<uint8_t>;

}  // namespace

/// The memory: a head, then entries (key length, value length, key, value), the latest of a key being the one that
/// counts. kDeleted as a value's length: there is none.
class StoreMemory::Log {
 public:
  Log() {
    void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw EnvironmentError(fmt::format("cannot share memory: {}", std::strerror(errno)));
    head_ = new (memory) Head();
    entries_ = static_cast<uint8_t*>(memory) + sizeof(Head);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&head_->mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
  }
  ~Log() { munmap(head_, kBytes); }
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  /// Holds the lock while it lives.
  class Guard {
   public:
    explicit Guard(Log& log) : mutex_(&log.head_->mutex) {
      // Its holder has died: an entry counts only once `used` says so, so whatever it left is whole.
      if (pthread_mutex_lock(mutex_) == EOWNERDEAD) pthread_mutex_consistent(mutex_);
    }
    ~Guard() { pthread_mutex_unlock(mutex_); }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    pthread_mutex_t* mutex_;
  };

  /// \name With the lock held
  ///@{
  std::optional<Value> Find(const std::string& key) const {
    std::optional<Value> found;
    ForEach([&](const std::string& name, std::optional<Value> value) {
      if (name == key) found = std::move(value);
    });
    return found;
  }

  void Append(const std::string& key, const Value* value) {
    const Sizes sizes{static_cast<uint32_t>(key.size()), value ? static_cast<uint32_t>(value->size()) : kDeleted};
    const size_t length = sizeof sizes + key.size() + (value ? value->size() : 0);
    const size_t used = head_->used;
    if (used + length > kBytes - sizeof(Head)) {
      throw EnvironmentError(fmt::format("the ranks' shared store is full: {} bytes", kBytes));
    }
    uint8_t* to = entries_ + used;
    std::memcpy(to, &sizes, sizeof sizes);
    std::memcpy(to + sizeof sizes, key.data(), key.size());
    if (value && !value->empty()) std::memcpy(to + sizeof sizes + key.size(), value->data(), value->size());
    head_->used = used + length;
    head_->version.fetch_add(1);
    syscall(SYS_futex, &head_->version, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
  }

  template <typename Visit>
  void ForEach(Visit visit) const {
    for (size_t at = 0; at < head_->used;) {
      Sizes sizes;
      std::memcpy(&sizes, entries_ + at, sizeof sizes);
      const uint8_t* key = entries_ + at + sizeof sizes;
      const uint8_t* value = key + sizes.key;
      const bool deleted = sizes.value == kDeleted;
      visit(std::string(reinterpret_cast<const char*>(key), sizes.key),
            deleted ? std::nullopt : std::optional<Value>(Value(value, value + sizes.value)));
      at += sizeof sizes + sizes.key + (deleted ? 0 : sizes.value);
    }
  }
  ///@}

  uint32_t Version() const { return head_->version; }

  /// Until there is another version than `seen`, or `limit` has passed.
  void AwaitChange(uint32_t seen, std::chrono::nanoseconds limit) {
    const timespec time{limit.count() / 1'000'000'000, limit.count() % 1'000'000'000};
    syscall(SYS_futex, &head_->version, FUTEX_WAIT, seen, &time, nullptr, 0);
  }

 private:
  static constexpr uint32_t kDeleted = UINT32_MAX;
  struct Sizes {
    uint32_t key;
    uint32_t value;
  };
  struct Head {
    pthread_mutex_t mutex;
    std::atomic<uint32_t> version{0};  // what waiting processes sleep on
    size_t used = 0;
  };

  Head* head_;
  uint8_t* entries_;
};

class StoreMemory::LogStore final : public c10d::Store {
 public:
  explicit LogStore(std::shared_ptr<Log> log) : log_(std::move(log)) {}

  void set(const std::string& key, const Value& value) override {
    const Log::Guard guard(*log_);
    log_->Append(key, &value);
  }

  Value compareSet(const std::string& key, const Value& expected, const Value& desired) override {
    const Log::Guard guard(*log_);
    const std::optional<Value> now = log_->Find(key);
    if (now ? *now != expected : !expected.empty()) return now ? *now : expected;
    log_->Append(key, &desired);
    return desired;
  }

  Value get(const std::string& key) override {
    wait({key}, timeout_);
    const Log::Guard guard(*log_);
    return log_->Find(key).value_or(Value{});
  }

  // The number is kept as text, as LibTorch's own stores keep it.
  int64_t add(const std::string& key, int64_t value) override {
    const Log::Guard guard(*log_);
    const std::optional<Value> now = log_->Find(key);
    if (now) value += std::stoll(std::string(now->begin(), now->end()));
    const std::string text = std::to_string(value);
    const Value next(text.begin(), text.end());
    log_->Append(key, &next);
    return value;
  }

  bool deleteKey(const std::string& key) override {
    const Log::Guard guard(*log_);
    const bool there = log_->Find(key).has_value();
    if (there) log_->Append(key, nullptr);
    return there;
  }

  bool check(const std::vector<std::string>& keys) override {
    const Log::Guard guard(*log_);
    for (const std::string& key : keys) {
      if (!log_->Find(key)) return false;
    }
    return true;
  }

  int64_t getNumKeys() override {
    const Log::Guard guard(*log_);
    std::unordered_set<std::string> keys;
    log_->ForEach([&](const std::string& key, const std::optional<Value>& value) {
      if (value) {
        keys.insert(key);
      } else {
        keys.erase(key);
      }
    });
    return static_cast<int64_t>(keys.size());
  }

  void wait(const std::vector<std::string>& keys) override { wait(keys, timeout_); }

  void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& limit) override {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    for (;;) {
      const uint32_t seen = log_->Version();
      if (check(keys)) return;
      const auto left = deadline - std::chrono::steady_clock::now();
      if (left <= left.zero()) {
        throw CommError(
            fmt::format("no other process has stored {} within {} ms", fmt::join(keys, ", "), limit.count()));
      }
      log_->AwaitChange(seen, left);
    }
  }

 private:
  std::shared_ptr<Log> log_;
};

StoreMemory::StoreMemory() : log_(std::make_shared<Log>()) {}
StoreMemory::~StoreMemory() = default;

c10::intrusive_ptr<c10d::Store> StoreMemory::Store() const { return c10::make_intrusive<LogStore>(log_); }

}  // namespace shardlab
