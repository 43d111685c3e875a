#include "shardlab/pipeline/deferred_statistics.hpp"

#include <map>
#include <vector>

#include <torch/torch.h>

namespace shardlab {

namespace {

class KeptSamples final : public BatchStatistics {
 public:
  void Track(MicroBatchNorm& norm, const at::Tensor& x, const MicroBatch& at) override {
    std::vector<at::Tensor>& kept = kept_[norm.running_mean.data_ptr()];
    if (at.index == 0) kept.clear();
    kept.push_back(x.detach().clone().transpose(0, 1).flatten(1));  // [C, samples and places]
    if (static_cast<int>(kept.size()) < at.count) return;
    const at::Tensor all = at::cat(kept, 1);
    kept.clear();
    norm.running_mean.lerp_(all.mean(1), norm.momentum);
    norm.running_var.lerp_(all.var(1), norm.momentum);
    norm.num_batches_tracked += 1;
  }

 private:
  std::map<const void*, std::vector<at::Tensor>> kept_;
};

}  // namespace

std::shared_ptr<BatchStatistics> MakeDeferredStatistics() { return std::make_shared<KeptSamples>(); }

}  // namespace shardlab
