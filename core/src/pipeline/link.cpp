#include "shardlab/pipeline/link.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/comm/announcer.hpp"
#include "shardlab/comm/operation.hpp"
#include "shardlab/plan/validate.hpp"

namespace shardlab {

namespace {

constexpr int kMostTensors = kMostBoundaryTensors;
constexpr int kMostDims = 12;
constexpr int kTagWindow = 1024;

// What a tensor is, without what is in it.
struct Spec {
  at::ScalarType dtype;
  std::vector<int64_t> sizes;
  bool wants_gradient;

  bool operator==(const Spec& other) const {
    return dtype == other.dtype && sizes == other.sizes && wants_gradient == other.wants_gradient;
  }
};
using Specs = std::vector<Spec>;

Specs SpecsOf(const Tensors& tensors) {
  Specs specs;
  for (const at::Tensor& tensor : tensors) {
    specs.push_back({tensor.scalar_type(), tensor.sizes().vec(), tensor.requires_grad()});
  }
  return specs;
}

std::string ToString(const Specs& specs) {
  std::vector<std::string> words;
  for (const Spec& spec : specs) {
    words.push_back(fmt::format("{} [{}]{}", at::toString(spec.dtype), fmt::join(spec.sizes, ", "),
                                spec.wants_gradient ? " with gradient" : ""));
  }
  return fmt::format("({})", fmt::join(words, "; "));
}

// The description as a message of fixed size: how many tensors, and of each the dtype, whether it wants a gradient, the
// number of dimensions and the sizes.
constexpr int64_t kHeaderEntry = 3 + kMostDims;
constexpr int64_t kHeaderSize = 1 + kMostTensors * kHeaderEntry;

at::Tensor Encode(const Specs& specs) {
  at::Tensor header = at::zeros({kHeaderSize}, at::kLong);
  auto* values = header.data_ptr<int64_t>();
  *values++ = static_cast<int64_t>(specs.size());
  for (const Spec& spec : specs) {
    values[0] = static_cast<int64_t>(spec.dtype);
    values[1] = spec.wants_gradient ? 1 : 0;
    values[2] = static_cast<int64_t>(spec.sizes.size());
    std::copy(spec.sizes.begin(), spec.sizes.end(), values + 3);
    values += kHeaderEntry;
  }
  return header;
}

Specs Decode(const at::Tensor& header) {
  const auto* values = header.data_ptr<int64_t>();
  Specs specs(static_cast<size_t>(*values++));
  for (Spec& spec : specs) {
    spec.dtype = static_cast<at::ScalarType>(values[0]);
    spec.wants_gradient = values[1] != 0;
    spec.sizes.assign(values + 3, values + 3 + values[2]);
    values += kHeaderEntry;
  }
  return specs;
}

// Tensors on their way, in either direction. An undefined tensor is one that does not travel.
struct Parcel {
  Tensors tensors;
  std::vector<std::unique_ptr<Work>> works;

  void Wait() {
    for (const auto& work : works) work->Wait();
    works.clear();
  }
};

class RemoteLink final : public Link {
 public:
  RemoteLink(std::shared_ptr<Communicator> comm, int peer, int channel, at::Device device)
      : comm_(std::move(comm)), peer_(peer), channel_(channel), device_(device) {}

  void Send(int number, const MicroBatch& at, const Tensors& tensors, Where where) override {
    where_ = where;
    const WaitsAt waits(where);
    const Specs specs = SpecsOf(tensors);
    Check(specs);
    Parcel parcel;
    const auto known = specs_.find(KeyOf(at));
    if (known == specs_.end()) {
      specs_.emplace(KeyOf(at), specs);
      parcel.tensors.push_back(Encode(specs));
      parcel.works.push_back(comm_->ISend(parcel.tensors.back(), peer_, Tag(kForward, number, kMostTensors), where_));
    } else if (!(known->second == specs)) {
      throw ContractError(
          fmt::format("a stage gave {} for a micro-batch of {} samples, after {} for one of as many: the sizes may "
                      "depend on the number of samples alone",
                      ToString(specs), at.samples.size(), ToString(known->second)));
    }
    Start(parcel, tensors, Tag(kForward, number, 0));
    if (at.training) specs_of_[number] = specs;
    if (WantsGradient(specs)) {
      answered_.emplace(number, std::move(parcel));
    } else {
      KeepInWindow(unanswered_, std::move(parcel));
    }
  }

  void PostGradients(int number, Where where) override {
    where_ = where;
    const auto sent = specs_of_.find(number);
    if (sent == specs_of_.end() || gradients_.count(number) != 0) return;
    Parcel parcel;
    for (size_t i = 0; i < sent->second.size(); ++i) {
      const Spec& spec = sent->second[i];
      Receive(parcel, spec.wants_gradient ? &spec : nullptr, Tag(kBackward, number, static_cast<int>(i)));
    }
    gradients_.emplace(number, std::move(parcel));
  }

  Tensors TakeGradients(int number, Where where) override {
    const WaitsAt waits(where);
    PostGradients(number, where);
    const auto found = gradients_.find(number);
    if (found == gradients_.end()) return {};
    found->second.Wait();
    Tensors gradients = std::move(found->second.tensors);
    gradients_.erase(found);
    const auto sent = answered_.find(number);
    if (sent != answered_.end()) {
      sent->second.Wait();  // at once: the answer is here, so what it answers has arrived
      answered_.erase(sent);
    }
    specs_of_.erase(number);
    return gradients;
  }

  void Post(int number, const MicroBatch& at, Where where) override {
    where_ = where;
    const auto known = specs_.find(KeyOf(at));
    if (known != specs_.end()) PostKnown(number, known->second);
  }

  Tensors Take(int number, const MicroBatch& at, Where where) override {
    where_ = where;
    const WaitsAt waits(where);
    auto known = specs_.find(KeyOf(at));
    if (known == specs_.end()) {
      const at::Tensor header = at::empty({kHeaderSize}, at::kLong);
      comm_->Recv(header, peer_, Tag(kForward, number, kMostTensors), where_);
      known = specs_.emplace(KeyOf(at), Decode(header)).first;
    }
    PostKnown(number, known->second);
    Parcel& parcel = incoming_.at(number);
    parcel.Wait();
    Tensors tensors = std::move(parcel.tensors);
    incoming_.erase(number);
    for (size_t i = 0; i < tensors.size(); ++i) tensors[i].set_requires_grad(known->second[i].wants_gradient);
    if (at.training) specs_of_[number] = known->second;
    return tensors;
  }

  void SendGradients(int number, const Tensors& gradients, Where where) override {
    where_ = where;
    const WaitsAt waits(where);
    const auto taken = specs_of_.find(number);
    if (taken == specs_of_.end()) return;
    Tensors travelling(taken->second.size());
    for (size_t i = 0; i < travelling.size(); ++i) {
      if (taken->second[i].wants_gradient) travelling[i] = gradients.at(i);
    }
    specs_of_.erase(taken);
    Parcel parcel;
    Start(parcel, travelling, Tag(kBackward, number, 0));
    KeepInWindow(unanswered_gradients_, std::move(parcel));
  }

  void SetWindow(int window) override { window_ = static_cast<size_t>(std::max(window, 1)); }

  void Finish() override {
    for (auto* window : {&unanswered_, &unanswered_gradients_}) {
      for (Parcel& parcel : *window) parcel.Wait();
      window->clear();
    }
    for (auto& [number, parcel] : answered_) parcel.Wait();
    answered_.clear();
    specs_of_.clear();
  }

 private:
  enum Direction { kForward, kBackward };

  static std::pair<int64_t, bool> KeyOf(const MicroBatch& at) { return {at.samples.size(), at.training}; }

  // MessageOf is its inverse.
  int Tag(Direction direction, int number, int tensor) const {
    return ((channel_ * 2 + direction) * kTagWindow + number % kTagWindow) * (kMostTensors + 1) + tensor;
  }

  static bool WantsGradient(const Specs& specs) {
    return std::any_of(specs.begin(), specs.end(), [](const Spec& spec) { return spec.wants_gradient; });
  }

  static void Check(const Specs& specs) {
    if (specs.empty() || specs.size() > kMostTensors) {
      throw ContractError(
          fmt::format("1 to {} tensors can travel between two stages, not {}", kMostTensors, specs.size()));
    }
    for (const Spec& spec : specs) {
      if (spec.sizes.size() > kMostDims) {
        throw ContractError(
            fmt::format("tensors between two stages have up to {} dimensions, not {}", kMostDims, spec.sizes.size()));
      }
    }
  }

  void Start(Parcel& parcel, const Tensors& tensors, int tag) {
    for (const at::Tensor& tensor : tensors) {
      if (tensor.defined()) {
        parcel.tensors.push_back(tensor.detach().contiguous());
        parcel.works.push_back(comm_->ISend(parcel.tensors.back(), peer_, tag, where_));
      }
      ++tag;
    }
  }

  void Receive(Parcel& parcel, const Spec* spec, int tag) {
    parcel.tensors.emplace_back();
    if (spec == nullptr) return;
    parcel.tensors.back() = at::empty(spec->sizes, at::TensorOptions(spec->dtype).device(device_));
    parcel.works.push_back(comm_->IRecv(parcel.tensors.back(), peer_, tag, where_));
  }

  void PostKnown(int number, const Specs& specs) {
    if (incoming_.count(number) != 0) return;
    Parcel& parcel = incoming_[number];
    for (size_t i = 0; i < specs.size(); ++i) {
      Receive(parcel, &specs[i], Tag(kForward, number, static_cast<int>(i)));
    }
  }

  void KeepInWindow(std::deque<Parcel>& window, Parcel parcel) {
    window.push_back(std::move(parcel));
    while (window.size() > window_) {
      window.front().Wait();
      window.pop_front();
    }
  }

  std::shared_ptr<Communicator> comm_;
  const int peer_;
  const int channel_;
  const at::Device device_;
  size_t window_ = 2;
  Where where_;  // of the call under way

  std::map<std::pair<int64_t, bool>, Specs> specs_;  // by number of samples, and whether in training
  std::map<int, Specs> specs_of_;                    // of what went forward and has a gradient to come
  std::map<int, Parcel> answered_;                   // sent forward, kept until the gradient is here
  std::deque<Parcel> unanswered_;                    // sent forward, never answered
  std::deque<Parcel> unanswered_gradients_;          // sent back
  std::map<int, Parcel> incoming_;                   // posted: from the earlier chunk
  std::map<int, Parcel> gradients_;                  // posted: from the later chunk
};

class LocalLink final : public Link {
 public:
  void Send(int number, const MicroBatch&, const Tensors& tensors, Where) override { tensors_[number] = tensors; }
  void PostGradients(int, Where) override {}
  Tensors TakeGradients(int number, Where) override { return TakeFrom(gradients_, number); }
  void Post(int, const MicroBatch&, Where) override {}
  Tensors Take(int number, const MicroBatch&, Where) override { return TakeFrom(tensors_, number); }
  void SendGradients(int number, const Tensors& gradients, Where) override { gradients_[number] = gradients; }
  void SetWindow(int) override {}
  void Finish() override {}

 private:
  static Tensors TakeFrom(std::map<int, Tensors>& from, int number) {
    const auto found = from.find(number);
    if (found == from.end()) return {};
    Tensors tensors = std::move(found->second);
    from.erase(found);
    return tensors;
  }

  std::map<int, Tensors> tensors_, gradients_;
};

}  // namespace

std::unique_ptr<Link> MakeLink(std::shared_ptr<Communicator> comm, int peer, int channel, at::Device device) {
  return std::make_unique<RemoteLink>(std::move(comm), peer, channel, device);
}

LinkMessage MessageOf(int tag) {
  const int message = tag / (kMostTensors + 1);
  const int way = message / kTagWindow;
  return {way / 2, way % 2 == 0, message % kTagWindow};
}

std::unique_ptr<Link> MakeLocalLink() { return std::make_unique<LocalLink>(); }

int SendWindow(const Schedule& schedule) {
  for (int window = 2;; window *= 2) {
    RunRules rules;
    if (window <= schedule.microbatches) rules.forward_window = rules.backward_window = window;
    try {
      Validate(schedule, rules);
      return window;
    } catch (const ScheduleError&) {
      if (window > schedule.microbatches) throw;
    }
  }
}

}  // namespace shardlab
