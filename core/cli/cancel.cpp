#include "cancel.hpp"

namespace shardlab::cli {
namespace {

std::atomic<bool> cancelled{false};
volatile std::sig_atomic_t cancel_signal = 0;

void Cancel(int signal) {
  cancel_signal = signal;
  cancelled = true;
}

}  // namespace

CancelOnSignal::CancelOnSignal() {
  cancelled = false;
  cancel_signal = 0;
  struct sigaction action {};
  action.sa_handler = Cancel;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &before_[i]);
  before_pipe_ = std::signal(SIGPIPE, SIG_IGN);
}

CancelOnSignal::~CancelOnSignal() {
  std::signal(SIGPIPE, before_pipe_);
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
}

const std::atomic<bool>* CancelOnSignal::flag() const { return &cancelled; }

int CancelOnSignal::signal() const { return cancel_signal; }

void CancelOnSignal::Check() const {
  if (cancel_signal != 0) throw Interrupted{cancel_signal};
}

}  // namespace shardlab::cli
