#include "shardlab/communication/overlapped_average.hpp"

#include <ATen/ATen.h>

#include <memory>
#include <numeric>

#include "shardlab/autograd/on_gradient_ready.hpp"
#include "shardlab/comm/worker.hpp"
#include "shardlab/communication/buckets.hpp"

namespace shardlab {
namespace {

std::shared_ptr<Communicator> OwnGroup(Communicator& comm) {
  std::vector<int> everybody(comm.size());
  std::iota(everybody.begin(), everybody.end(), 0);
  return comm.Subgroup(everybody, "buckets");
}

class ByThread : public OverlappedAverage {
 public:
  ByThread(Communicator& comm, std::vector<at::Tensor> parameters, int64_t bucket_bytes)
      : parameters_(std::move(parameters)), comm_(OwnGroup(comm)), helper_(comm_) {
    std::vector<int64_t> bytes;
    for (const at::Tensor& parameter : parameters_) bytes.push_back(parameter.numel() * parameter.element_size());
    buckets_ = AssignBuckets(bytes, bucket_bytes);
    flat_.resize(buckets_.size());
    ready_.assign(parameters_.size(), false);
    for (size_t i = 0; i < parameters_.size(); ++i) {
      hooks_.push_back(OnGradientReady(parameters_[i], [this, i](const at::Tensor&) {
        if (!last_) return;
        ready_[i] = true;
        SubmitReady();
      }));
    }
  }

  void Begin(bool last) override {
    last_ = last;
    next_ = 0;
    ready_.assign(parameters_.size(), false);
  }

  void Finish() override {
    ready_.assign(parameters_.size(), true);
    SubmitReady();
    helper_.Wait();
    for (size_t b = 0; b < buckets_.size(); ++b) {
      int64_t begin = 0;
      for (int64_t i : buckets_[b]) {
        const int64_t size = parameters_[i].numel();
        parameters_[i].mutable_grad() = flat_[b].narrow(0, begin, size).view(parameters_[i].sizes()).clone();
        begin += size;
      }
    }
    last_ = false;
  }

 private:
  bool IsReady(const std::vector<int64_t>& bucket) const {
    for (int64_t i : bucket) {
      if (!ready_[i]) return false;
    }
    return true;
  }

  void SubmitReady() {
    for (; next_ < buckets_.size() && IsReady(buckets_[next_]); ++next_) {
      std::vector<at::Tensor> rows;
      for (int64_t i : buckets_[next_]) {
        const at::Tensor gradient = parameters_[i].grad();
        rows.push_back((gradient.defined() ? gradient : at::zeros_like(parameters_[i])).detach().reshape({-1}));
      }
      flat_[next_] = at::cat(rows) / comm_->size();
      helper_.Submit([this, flat = flat_[next_]] { comm_->AllReduce(flat); });
    }
  }

  std::vector<at::Tensor> parameters_;
  Buckets buckets_;
  std::vector<at::Tensor> flat_;
  std::vector<char> ready_;
  size_t next_ = 0;
  bool last_ = false;
  std::shared_ptr<Communicator> comm_;
  Worker helper_;
  std::vector<GradientHook> hooks_;
};

}  // namespace

std::unique_ptr<OverlappedAverage> MakeOverlappedAverage(std::shared_ptr<Communicator> comm,
                                                         std::vector<at::Tensor> parameters, int64_t bucket_bytes) {
  return std::make_unique<ByThread>(*comm, std::move(parameters), bucket_bytes);
}

}  // namespace shardlab
