#include "shardlab/communication/overlapped_average.hpp"

// Buckets that travel while backward runs
// =======================================
//     backward     | layer 3 | layer 2 | layer 1 | layer 0 |            Finish
//     gradients         2         2         1         1                   4
//     link                   |  bucket 0  |      |  bucket 1  |           | wait, divide, unpack
//                            3                   3
//
//     (1)  Every bucket counts the gradients that it still lacks.
//     (2)  When backward completes a gradient, its bucket lacks one less.
//     (3)  A bucket leaves when it lacks none AND the one before it has left. Gradients may come in another order on
//          another rank, but all-reduces are matched by their order: every rank must start the same ones in turn.
//     (4)  What has not left by then leaves now: a parameter may have taken no part in this rank's loss.
//     (5)  While gradients only accumulate, nothing is counted and nothing leaves.

#include <ATen/ATen.h>

#include "shardlab/autograd/on_gradient_ready.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/communication/buckets.hpp"
#include "shardlab/communication/flatten.hpp"

namespace shardlab {
namespace {

class Average : public OverlappedAverage {
 public:
  Average(std::shared_ptr<Communicator> comm, std::vector<at::Tensor> parameters, int64_t bucket_bytes)
      : comm_(std::move(comm)), parameters_(std::move(parameters)) {
    std::vector<int64_t> bytes;
    for (const at::Tensor& parameter : parameters_) bytes.push_back(static_cast<int64_t>(parameter.nbytes()));
    for (std::vector<int64_t>& members : AssignBuckets(bytes, bucket_bytes)) {
      buckets_.emplace_back();
      buckets_.back().members = std::move(members);
    }
    for (size_t b = 0; b < buckets_.size(); ++b) {
      for (int64_t i : buckets_[b].members) {
        hooks_.push_back(OnGradientReady(parameters_[i], [this, b](const at::Tensor&) { Ready(b); }));
      }
    }
  }

  ~Average() override { Abandon(); }

  void Begin(bool last) override {
    Abandon();
    last_ = last;
    for (Bucket& bucket : buckets_) bucket.missing = bucket.members.size();  // (1)
  }

  void Finish() override {
    while (left_ < buckets_.size()) Send(buckets_[left_++]);  // (4)
    for (Bucket& bucket : buckets_) {
      bucket.work->Wait();
      bucket.work.reset();
      Unflatten(bucket.flat.div_(comm_->size()), Gradients(bucket));
      bucket.flat.reset();
    }
    left_ = 0;
    last_ = false;
  }

 private:
  struct Bucket {
    std::vector<int64_t> members;
    size_t missing = 0;
    at::Tensor flat;
    std::unique_ptr<Work> work;  // from Send to Finish
  };

  void Ready(size_t b) {
    if (!last_) return;                                                                       // (5)
    --buckets_[b].missing;                                                                    // (2)
    while (left_ < buckets_.size() && buckets_[left_].missing == 0) Send(buckets_[left_++]);  // (3)
  }

  void Send(Bucket& bucket) {
    bucket.flat = Flatten(Gradients(bucket));
    bucket.work = comm_->IAllReduce(bucket.flat);
  }

  std::vector<at::Tensor> Gradients(const Bucket& bucket) {
    std::vector<at::Tensor> gradients;
    for (int64_t i : bucket.members) {
      at::Tensor& gradient = parameters_[i].mutable_grad();
      if (!gradient.defined()) gradient = at::zeros_like(parameters_[i]);
      gradients.push_back(gradient);
    }
    return gradients;
  }

  /// After a backward that threw, buckets may still be under way: nobody wants them, but they must have landed.
  void Abandon() {
    for (Bucket& bucket : buckets_) {
      if (!bucket.work) continue;
      try {
        bucket.work->Wait();
      } catch (const CommError&) {
      }
      bucket.work.reset();
    }
    left_ = 0;
  }

  std::shared_ptr<Communicator> comm_;
  std::vector<at::Tensor> parameters_;
  std::vector<Bucket> buckets_;
  size_t left_ = 0;  // how many buckets have left
  bool last_ = false;
  std::vector<GradientHook> hooks_;
};

}  // namespace

std::unique_ptr<OverlappedAverage> MakeOverlappedAverage(std::shared_ptr<Communicator> comm,
                                                         std::vector<at::Tensor> parameters, int64_t bucket_bytes) {
  return std::make_unique<Average>(std::move(comm), std::move(parameters), bucket_bytes);
}

}  // namespace shardlab
