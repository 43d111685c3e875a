#include "shardlab/pipeline/deferred_statistics.hpp"

#include <map>
#include <vector>

#include <torch/torch.h>

// n values with mean a and sum of squared differences M are joined with n' values, a', M' (Chan's rule):
//
//     d = a' - a      a + d n' / (n + n')      M + M' + d^2 n n' / (n + n')      n + n'

namespace shardlab {

namespace {

class DeferredStatistics final : public BatchStatistics {
 public:
  void Track(MicroBatchNorm& norm, const at::Tensor& x, const MicroBatch& at) override {
    Pending& pending = pending_[norm.running_mean.data_ptr()];  // which all versions of a norm share
    if (at.index == 0) pending = {};

    std::vector<int64_t> all_but_channels{0};
    for (int64_t dim = 2; dim < x.dim(); ++dim) all_but_channels.push_back(dim);
    const double count = static_cast<double>(x.numel() / x.size(1));
    const at::Tensor mean_C = x.mean(all_but_channels);
    const at::Tensor squares_C = x.var(all_but_channels, /*unbiased=*/false) * count;
    if (pending.count == 0) {
      pending = {count, mean_C, squares_C};
    } else {
      const double sum = pending.count + count;
      const at::Tensor difference_C = mean_C - pending.mean_C;
      pending.squares_C = pending.squares_C + squares_C + difference_C.square() * (pending.count * count / sum);
      pending.mean_C = pending.mean_C + difference_C * (count / sum);
      pending.count = sum;
    }
    if (at.index + 1 < at.count) return;

    const at::Tensor variance_C = pending.squares_C / (pending.count - 1);
    norm.running_mean.mul_(1 - norm.momentum).add_(pending.mean_C, norm.momentum);
    norm.running_var.mul_(1 - norm.momentum).add_(variance_C, norm.momentum);
    norm.num_batches_tracked.add_(1);
    pending = {};
  }

 private:
  struct Pending {
    double count = 0;
    at::Tensor mean_C;
    at::Tensor squares_C;
  };
  std::map<const void*, Pending> pending_;
};

}  // namespace

std::shared_ptr<BatchStatistics> MakeDeferredStatistics() { return std::make_shared<DeferredStatistics>(); }

}  // namespace shardlab
