#include "shardlab/pipeline/engine.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include <torch/torch.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/balance.hpp"
#include "shardlab/pipeline/clip.hpp"
#include "shardlab/pipeline/link.hpp"
#include "shardlab/pipeline/micro_batches.hpp"
#include "shardlab/pipeline/recompute.hpp"
#include "shardlab/pipeline/skips.hpp"
#include "shardlab/plan/passes.hpp"
#include "shardlab/plan/validate.hpp"

namespace shardlab {

namespace {

using SharedLink = std::shared_ptr<Link>;

struct ChunkState {
  std::unique_ptr<Stage> stage;
  std::unique_ptr<WeightStore> weights;
  SharedLink in, out;  // null: the first, the last chunk
  bool in_is_local = false, out_is_local = false;
  std::map<std::string, SharedLink> skips;       // by name, at either end
  size_t inputs = 0;                             // tensors that the chunk before hands over
  std::map<int, Tensors> to_send, to_send_back;  // made, and not sent yet
  std::map<int, Checkpoint> checkpoints;
  std::set<int> recomputed;        // micro-batches with an R in the list
  std::map<int, size_t> last_use;  // of a weight version: the last entry of the list that computes with it
};

class SwitchEngine final : public Engine {
 public:
  SwitchEngine(PipelineSetup setup, std::shared_ptr<Communicator> comm)
      : setup_(std::move(setup)), comm_(std::move(comm)), updates_done_(setup_.first_update) {
    const Layout& layout = setup_.layout;
    if (layout.ranks() != comm_->size()) throw ContractError("the layout has another number of ranks than there are");
    if (layout.replicas() > 1) throw ContractError("this engine runs one copy of the model");
    RequireBalance(setup_.balance, static_cast<int>(setup_.model.size()), layout.stages());
    for (const int c : layout.ChunksOf(comm_->rank())) {
      ChunkState& mine = chunks_[c];
      const Chunk& where = layout.chunk(c);
      int begin = 0;
      for (int s = 0; s < where.stage; ++s) begin += setup_.balance[static_cast<size_t>(s)];
      const int end = begin + setup_.balance[static_cast<size_t>(where.stage)];
      const LossShare loss = where.next < 0 ? ShareOf(setup_.loss) : LossShare();
      const auto make = [model = setup_.model, begin, end, loss] {
        return std::make_shared<StageModule>(model, begin, end, loss);
      };
      mine.stage = setup_.stage ? setup_.stage(c) : MakeStage();
      const auto optimizer = [this, c](const std::vector<at::Tensor>& parameters) {
        return setup_.optimizer(c, parameters);
      };
      mine.weights = setup_.weights ? setup_.weights(make, optimizer) : MakeWeights(make, optimizer);
      if (where.previous >= 0) std::tie(mine.in, mine.in_is_local) = LinkWith(where.previous, where.previous);
      if (where.next >= 0) std::tie(mine.out, mine.out_is_local) = LinkWith(where.next, c);
    }
    const bool has_skips = std::any_of(setup_.model.begin(), setup_.model.end(), [](const LayerSpec& layer) {
      return !layer.stashes.empty() || !layer.pops.empty();
    });
    if (!has_skips) return;
    int channel = layout.chunks();
    for (const SkipRoute& skip : SkipRoutes(setup_.model, setup_.balance)) {
      if (chunks_.count(skip.from) != 0) chunks_[skip.from].skips[skip.name] = LinkWith(skip.to, channel).first;
      if (chunks_.count(skip.to) != 0) chunks_[skip.to].skips[skip.name] = LinkWith(skip.from, channel).first;
      ++channel;
    }
  }

  std::vector<double> Run(const Schedule& schedule, const MiniBatchSource& source, int m) override {
    Validate(schedule);
    if (setup_.clip_norm > 0 && !schedule.HasFlush())
      throw ContractError("only after a flush can gradients be clipped");
    per_update_ = m > 0 ? m : schedule.microbatches;
    const int updates = schedule.microbatches / per_update_;
    losses_.assign(static_cast<size_t>(updates), 0.0);
    batches_.clear();
    pieces_.clear();
    uses_.clear();
    source_ = source;
    clipped_ = 0;
    WorkOff(schedule, true);
    for (auto& [c, chunk] : chunks_) chunk.weights->Restart();
    updates_done_ += updates;
    const bool has_last = chunks_.count(setup_.layout.chunks() - 1) != 0;
    return has_last ? losses_ : std::vector<double>();
  }

  Tensors Evaluate(const MiniBatch& batch, int microbatches) override {
    const torch::NoGradGuard no_grad;
    auto pieces = MicroBatches(batch.samples, microbatches);
    for (MicroBatch& at : pieces) at.training = false;
    per_update_ = static_cast<int>(pieces.size());
    batches_ = {{0, batch}};
    pieces_ = {{0, std::move(pieces)}};
    uses_.clear();
    outputs_.clear();
    for (const auto& [c, chunk] : chunks_) Module(c).eval();
    WorkOff(AddCommunication(ForwardOnly(setup_.layout, per_update_)), false);
    for (const auto& [c, chunk] : chunks_) Module(c).train();
    Tensors whole;
    for (const std::vector<at::Tensor>& pieces : outputs_) whole.push_back(at::cat(pieces));
    outputs_.clear();
    return whole;
  }

  StageModule& Module(int chunk) override {
    const auto found = chunks_.find(chunk);
    if (found == chunks_.end()) throw ContractError("chunk " + std::to_string(chunk) + " is on another rank");
    return found->second.weights->At(found->second.weights->Newest());
  }

 private:
  // The link of this channel, whose other end is chunk `other`; and whether that is on this rank.
  std::pair<SharedLink, bool> LinkWith(int other, int channel) {
    const int peer = setup_.layout.chunk(other).rank;
    const bool local = peer == comm_->rank();
    SharedLink& link = links_[channel];
    if (!link) {
      if (local) {
        link = MakeLocalLink();
      } else {
        link = MakeLink(comm_, peer, channel, setup_.device);
      }
    }
    return {link, local};
  }

  void WorkOff(const Schedule& schedule, bool training) {
    const auto& list = schedule.ranks[static_cast<size_t>(comm_->rank())];
    for (auto& [channel, link] : links_) link->SetWindow(SendWindow(schedule));
    for (auto& [c, chunk] : chunks_) {
      chunk.recomputed.clear();
      chunk.last_use.clear();
    }
    for (size_t step = 0; step < list.size(); ++step) {
      ChunkState& chunk = chunks_.at(list[step].chunk);
      if (list[step].kind == ActionKind::kRecompute) chunk.recomputed.insert(list[step].microbatch);
      if (IsCompute(list[step].kind)) chunk.last_use[list[step].version] = step;
    }
    for (size_t step = 0; step < list.size(); ++step) {
      const Action& action = list[step];
      try {
        ChunkState& chunk = chunks_.at(action.chunk);
        Do(action, chunk, training);
        if (training && IsCompute(action.kind) && chunk.last_use[action.version] == step) {
          chunk.weights->Release(action.version);
        }
        if (step + 1 < list.size()) continue;
        for (auto& [channel, link] : links_) link->Finish();
      } catch (const NotImplemented&) {
        throw;
      } catch (const std::exception& error) {
        throw FailureAt(schedule, comm_->rank(), static_cast<int>(step), Brief(error));
      }
    }
  }

  void Do(const Action& action, ChunkState& chunk, bool training) {
    const int i = action.microbatch;
    switch (action.kind) {
      case ActionKind::kForward:
        Forward(action, chunk, training);
        break;
      case ActionKind::kBackward:
        GiveBack(chunk, i, chunk.stage->Backward(i, Incoming(chunk, i)));
        break;
      case ActionKind::kBackwardInput:
        GiveBack(chunk, i, chunk.stage->BackwardInput(i, Incoming(chunk, i)));
        break;
      case ActionKind::kBackwardWeight:
        chunk.stage->BackwardWeight(i);
        break;
      case ActionKind::kRecompute:
        RunAgain(*chunk.stage, chunk.checkpoints.at(i));
        chunk.checkpoints.erase(i);
        break;
      case ActionKind::kSendForward:
        chunk.out->Send(i, Piece(i), chunk.to_send.at(i));
        chunk.to_send.erase(i);
        break;
      case ActionKind::kReceiveForward:
        chunk.in->Post(i, Piece(i));
        break;
      case ActionKind::kSendBackward:
        chunk.in->SendGradients(i, chunk.to_send_back.at(i));
        chunk.to_send_back.erase(i);
        break;
      case ActionKind::kReceiveBackward:
        chunk.out->PostGradients(i);
        break;
      case ActionKind::kReduceGradients:
        if (!setup_.same_weights) break;
        for (at::Tensor gradient : chunk.weights->Gradients()) {
          setup_.same_weights->AllReduce(gradient);
        }
        break;
      case ActionKind::kStep:
        if (setup_.clip_norm > 0 && clipped_ < action.version) {
          clipped_ = action.version;
          Tensors all;
          std::vector<double> counts;
          for (auto& [c, each] : chunks_) {
            const Tensors mine = each.weights->Gradients();
            all.insert(all.end(), mine.begin(), mine.end());
            for (size_t i = 0; i < mine.size(); ++i) counts.push_back(setup_.norm_count ? setup_.norm_count(c, i) : 1);
          }
          ClipGradients(all, setup_.clip_norm, setup_.norm_ranks ? *setup_.norm_ranks : *comm_, counts);
        }
        chunk.weights->Update(setup_.learning_rate ? setup_.learning_rate(updates_done_ + action.version - 1) : 1);
        break;
    }
  }

  void Forward(const Action& action, ChunkState& chunk, bool training) {
    const int i = action.microbatch;
    const MicroBatch at = Piece(i);
    const MiniBatch batch = batches_.at(i / per_update_);
    if (++uses_[i / per_update_] == per_update_ * static_cast<int>(chunks_.size())) batches_.erase(i / per_update_);
    StageModule& module = training ? chunk.weights->At(action.version) : Module(action.chunk);
    Tensors x = chunk.in ? chunk.in->Take(i, at) : SamplesOf(batch.inputs, at);
    chunk.inputs = x.size();
    for (const std::string& name : module.skips_in()) x.push_back(chunk.skips.at(name)->Take(i, at).at(0));
    if (!chunk.out && training) x.push_back(SamplesOf({batch.targets}, at)[0]);
    for (at::Tensor& tensor : x) tensor = tensor.to(setup_.device);
    Tensors y;
    if (chunk.recomputed.count(i) != 0) {
      y = ForwardAndForget(*chunk.stage, i, at, x, module, chunk.checkpoints[i]);
    } else {
      y = chunk.stage->Forward(i, at, x, module);
      if (!training) chunk.stage->Forget(i);
    }
    const auto& leaving = module.skips_out();
    const size_t own = y.size() - leaving.size();
    for (size_t k = 0; k < leaving.size(); ++k) chunk.skips.at(leaving[k])->Send(i, at, {y[own + k]});
    y.resize(own);
    if (chunk.out && chunk.out_is_local) {
      chunk.out->Send(i, at, y);
    } else if (chunk.out) {
      chunk.to_send[i] = y;
    } else if (training) {
      losses_[static_cast<size_t>(i / per_update_)] += y[0].item<double>();
    } else {
      outputs_.resize(y.size());
      for (size_t k = 0; k < y.size(); ++k) outputs_[k].push_back(y[k]);
    }
  }

  Tensors Incoming(ChunkState& chunk, int i) {
    if (!chunk.out) return {};
    Tensors gradients = chunk.out->TakeGradients(i);
    for (const std::string& name : AnyModule(chunk).skips_out()) {
      gradients.push_back(chunk.skips.at(name)->TakeGradients(i).at(0));
    }
    return gradients;
  }

  void GiveBack(ChunkState& chunk, int i, Tensors gradients) {
    const auto& came = AnyModule(chunk).skips_in();
    for (size_t k = 0; k < came.size(); ++k) {
      chunk.skips.at(came[k])->SendGradients(i, {gradients[chunk.inputs + k]});
    }
    gradients.resize(chunk.inputs);
    if (chunk.in && chunk.in_is_local) chunk.in->SendGradients(i, gradients);
    if (chunk.in && !chunk.in_is_local) chunk.to_send_back[i] = gradients;
  }

  StageModule& AnyModule(ChunkState& chunk) { return chunk.weights->At(chunk.weights->Newest()); }
  // Asks for the mini-batch when the first of its micro-batches comes.
  const MicroBatch& Piece(int i) {
    const int u = i / per_update_;
    auto& pieces = pieces_[u];
    if (pieces.empty()) {
      const MiniBatch& batch = batches_[u] = source_(u);
      pieces = MicroBatches(batch.samples, per_update_, updates_done_ + u);
      for (MicroBatch& at : pieces) {
        at.statistics = setup_.statistics.get();
        at.first = batch.first;
        at.update_samples = batch.update_samples;
      }
    }
    return pieces.at(static_cast<size_t>(i % per_update_));
  }

  const PipelineSetup setup_;
  const std::shared_ptr<Communicator> comm_;
  std::map<int, SharedLink> links_;  // by channel
  std::map<int, ChunkState> chunks_;
  int64_t updates_done_;

  int per_update_ = 1;
  int clipped_ = 0;
  MiniBatchSource source_;
  std::map<int, MiniBatch> batches_;  // by update, until the last forward of this rank
  std::map<int, int> uses_;           // how many there were
  std::map<int, std::vector<MicroBatch>> pieces_;
  std::vector<double> losses_;
  std::vector<Tensors> outputs_;  // of an evaluation: of each output its pieces
};

}  // namespace

std::unique_ptr<Engine> MakeEngine(PipelineSetup setup, std::shared_ptr<Communicator> comm) {
  return std::make_unique<SwitchEngine>(std::move(setup), std::move(comm));
}

}  // namespace shardlab
