#include <cstdlib>

#include <ATen/Context.h>

// oneDNN, with which LibTorch computes convolutions, divides by zero on machines that do not tell the sizes of their caches.
// SHARDLAB_NO_ONEDNN has every program of the framework compute them otherwise: hosts, referees, lab train.

namespace shardlab {
namespace {

[[maybe_unused]] const bool no_onednn = [] {
  const bool wanted = std::getenv("SHARDLAB_NO_ONEDNN") != nullptr;
  if (wanted) at::globalContext().setUserEnabledMkldnn(false);
  return wanted;
}();

}  // namespace
}  // namespace shardlab
