#include "shardlab/comm/worker.hpp"

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "shardlab/comm/announcer.hpp"

namespace shardlab {

struct Worker::Impl {
  std::shared_ptr<Communicator> comm;
  uint16_t number = 0;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> jobs;  // the first one is under way
  std::exception_ptr failure;
  bool stop = false;
  std::thread thread;

  Announcer* announcer() const { return comm->announcer(); }

  void Run() {
    Announcer::SetThread(number);
    std::unique_lock<std::mutex> lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return stop || !jobs.empty(); });
      if (jobs.empty()) return;
      if (!failure) {
        const auto job = jobs.front();
        lock.unlock();
        std::exception_ptr thrown;
        try {
          job();
        } catch (...) {
          thrown = std::current_exception();
        }
        lock.lock();
        failure = thrown;
      }
      jobs.pop_front();
      if (jobs.empty() && announcer() != nullptr) announcer()->ThreadEnds(number);
      changed.notify_all();
    }
  }
};

Worker::Worker(std::shared_ptr<Communicator> comm) : impl_(std::make_unique<Impl>()) {
  impl_->comm = std::move(comm);
  if (impl_->announcer() != nullptr) impl_->number = impl_->announcer()->NewThread();
  impl_->thread = std::thread([impl = impl_.get()] { impl->Run(); });
}

Worker::~Worker() {
  {
    const std::lock_guard<std::mutex> lock(impl_->mutex);
    impl_->stop = true;
  }
  impl_->changed.notify_all();
  impl_->thread.join();
}

void Worker::Submit(std::function<void()> job) {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  if (impl_->jobs.empty() && impl_->announcer() != nullptr) impl_->announcer()->ThreadStarts(impl_->number);
  impl_->jobs.push_back(std::move(job));
  impl_->changed.notify_all();
}

void Worker::Wait() {
  std::unique_lock<std::mutex> lock(impl_->mutex);
  if (!impl_->jobs.empty()) {
    if (impl_->announcer() != nullptr) impl_->announcer()->Join(impl_->number);
    impl_->changed.wait(lock, [this] { return impl_->jobs.empty(); });
    if (impl_->announcer() != nullptr) impl_->announcer()->Unblock(0);
  }
  if (impl_->failure) std::rethrow_exception(std::exchange(impl_->failure, nullptr));
}

}  // namespace shardlab
