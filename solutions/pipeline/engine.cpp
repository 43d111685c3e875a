#include "shardlab/pipeline/engine.hpp"

#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <torch/torch.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/pipeline/balance.hpp"
#include "shardlab/pipeline/clip.hpp"
#include "shardlab/pipeline/micro_batches.hpp"
#include "shardlab/pipeline/ports.hpp"
#include "shardlab/pipeline/recompute.hpp"
#include "shardlab/pipeline/skips.hpp"
#include "shardlab/plan/passes.hpp"
#include "shardlab/plan/validate.hpp"

// One method an action kind, and a loop over the list: what happens when is all in the schedule. Between two actions of
// a micro-batch its tensors lie in one of three places:
//
//     RECV_F          F                    SEND_F                  RECV_B           B                  SEND_B
//       |      (1)    |        (2)           |                       |      (1)     |        (2)         |
//       +--> link --> [stage] --> outbox_ ---+--> link               +--> link ---> [stage] --> outbox_ -+--> link
//
// (1) A link holds what is on its way and gives it to whoever computes. (2) The outbox holds what is made until its
// SEND, which stands right behind. A chunk's neighbour on the same rank has no SEND: there the link is local, and
// filled at once. A skip has a link of its own, which works the same way; it has no actions and goes along with the
// boundary's.
//
// Who is first and last, what a chunk is made of and whom it talks to is the layout's to say. Where that has two copies
// of the model, each rank has a chunk of both, and its list says which micro-batch runs through which:
//
//     bidirectional 3    rank 0    stage 0 of copy 0, stage 2 of copy 1     data and targets: the first and the last rank
//                        rank 1    stage 1 of both                          (3) adds its two gradients by itself
//                        rank 2    stage 2 of copy 0, stage 0 of copy 1

namespace shardlab {

namespace {

class ScheduleEngine final : public Engine {
 public:
  ScheduleEngine(PipelineSetup setup, std::shared_ptr<Communicator> comm);

  std::vector<double> Run(const Schedule& schedule, const MiniBatchSource& source, int per_update) override;
  Tensors Evaluate(const MiniBatch& batch, int microbatches) override;
  StageModule& Module(int chunk) override {
    WeightStore& weights = *At(chunk).weights;
    return weights.At(weights.Newest());
  }

 private:
  // One chunk of this rank.
  struct ChunkState {
    std::vector<Port> in;  // in the order of the stage's inputs and outputs: the neighbour, then the skips
    std::vector<Port> out;
    bool is_first = false;
    bool is_last = false;
    std::vector<int> twins;  // (3) other chunks of this rank with the same weights
    int summed = 0;          // the version whose gradients had their REDUCE_GRAD
    std::unique_ptr<WeightStore> weights;
    std::unique_ptr<Stage> stage;
  };
  // One update of the run under way.
  struct Update {
    MiniBatch data;
    std::vector<MicroBatch> pieces;
    std::map<int, std::set<int>> of_copy;  // which micro-batches run through each copy of the model
    int forwards_left = 0;                 // then the data are not needed any more
  };
  using Key = std::pair<int, int>;  // chunk, micro-batch
  static Key KeyOf(const Action& action) { return {action.chunk, action.microbatch}; }

  /// \name One method an action kind
  ///@{
  void Forward(const Action& action);
  void Backward(const Action& action);
  void BackwardInput(const Action& action);
  void BackwardWeight(const Action& action) { At(action.chunk).stage->BackwardWeight(action.microbatch); }
  void Recompute(const Action& action);
  void SendForward(const Action& action);
  void ReceiveForward(const Action& action);
  void SendBackward(const Action& action);
  void ReceiveBackward(const Action& action);
  void ReduceGradients(const Action& action);
  void Step(const Action& action);
  ///@}

  using Method = void (ScheduleEngine::*)(const Action&);
  static Method MethodOf(ActionKind kind) {
    static const std::map<ActionKind, Method> kTable = {
        {ActionKind::kForward, &ScheduleEngine::Forward},
        {ActionKind::kBackward, &ScheduleEngine::Backward},
        {ActionKind::kBackwardInput, &ScheduleEngine::BackwardInput},
        {ActionKind::kBackwardWeight, &ScheduleEngine::BackwardWeight},
        {ActionKind::kRecompute, &ScheduleEngine::Recompute},
        {ActionKind::kSendForward, &ScheduleEngine::SendForward},
        {ActionKind::kReceiveForward, &ScheduleEngine::ReceiveForward},
        {ActionKind::kSendBackward, &ScheduleEngine::SendBackward},
        {ActionKind::kReceiveBackward, &ScheduleEngine::ReceiveBackward},
        {ActionKind::kReduceGradients, &ScheduleEngine::ReduceGradients},
        {ActionKind::kStep, &ScheduleEngine::Step},
    };
    return kTable.at(kind);
  }

  void WorkOff(const Schedule& schedule);
  ChunkState& At(int chunk) {
    const auto found = chunks_.find(chunk);
    if (found != chunks_.end()) return found->second;
    throw ContractError(fmt::format("chunk {} is not on rank {}", chunk, comm_->rank()));
  }
  Update& UpdateOf(int microbatch) { return updates_[microbatch / per_update_]; }
  const MicroBatch& PieceOf(int microbatch);
  Tensors TakeOutputGradients(ChunkState& chunk, int microbatch);
  void GiveInputGradients(ChunkState& chunk, const Action& action, const Tensors& gradients);

  const PipelineSetup setup_;
  const std::shared_ptr<Communicator> comm_;
  int position_ = 0;  // in the layout: this rank's number, where no position has several ranks
  std::shared_ptr<Communicator> same_weights_;  // null: no other rank has them
  std::map<int, ChunkState> chunks_;
  int64_t updates_done_;  // before this run, over all runs

  // Of the run under way.
  bool training_ = true;
  int per_update_ = 1;
  MiniBatchSource source_;
  std::map<int, Update> updates_;
  std::map<int, double> losses_;
  std::set<Key> recomputed_;  // those with an R in the list
  std::map<Key, Checkpoint> checkpoints_;
  std::map<Key, Tensors> outbox_;  // made, and not sent yet
  std::vector<Tensors> evaluated_;
  int clipped_version_ = 0;
};

ScheduleEngine::ScheduleEngine(PipelineSetup setup, std::shared_ptr<Communicator> comm)
    : setup_(std::move(setup)), comm_(std::move(comm)), updates_done_(setup_.first_update) {
  const Layout& layout = setup_.layout;
  const int ranks = setup_.tiles.positions.ranks.empty() ? layout.ranks() : setup_.tiles.positions.size();
  if (ranks != comm_->size()) {
    throw ContractError(
        fmt::format("the layout '{}' is for {} ranks, and there are {}", ToString(layout), ranks, comm_->size()));
  }
  position_ = setup_.tiles.positions.ranks.empty() ? comm_->rank() : setup_.tiles.positions.Of(comm_->rank());
  RequireBalance(setup_.balance, static_cast<int>(setup_.model.size()), layout.stages());
  const StageMaker make_stage = setup_.stage ? setup_.stage : StageMaker([](int) { return MakeStage(); });
  const WeightStoreFactory make_weights = setup_.weights ? setup_.weights : WeightStoreFactory(MakeWeights);
  const std::vector<SkipRoute> skips = SkipRoutes(setup_.model, setup_.balance);
  auto ports = ConnectChunks(layout, setup_.model, setup_.balance, skips, comm_, setup_.device, setup_.tiles);
  for (const int chunk : layout.ChunksOf(position_)) {
    const Chunk& where = layout.chunk(chunk);
    ChunkState& state = chunks_[chunk];
    state.in = std::move(ports[chunk].in);
    state.out = std::move(ports[chunk].out);
    state.is_first = where.previous < 0;
    state.is_last = where.next < 0;
    for (const int twin : layout.TwinsOf(chunk)) {
      if (layout.chunk(twin).rank == where.rank) state.twins.push_back(twin);
    }
    const Range layers = LayersOf(setup_.balance, where.stage);
    const LossShare loss = state.is_last ? ShareOf(setup_.loss) : LossShare();
    state.weights = make_weights(
        [model = setup_.model, layers, loss] {
          return std::make_shared<StageModule>(model, static_cast<int>(layers.begin), static_cast<int>(layers.end),
                                               loss);
        },
        [this, chunk](const Tensors& parameters) { return setup_.optimizer(chunk, parameters); });
    state.stage = make_stage(chunk);
  }
  same_weights_ = setup_.same_weights;
  if (!same_weights_ && layout.replicas() > 1) same_weights_ = SameWeights(layout, position_, *comm_);
  if (same_weights_ && same_weights_->size() == 1) same_weights_ = nullptr;
}

std::vector<double> ScheduleEngine::Run(const Schedule& schedule, const MiniBatchSource& source, int per_update) {
  per_update_ = per_update > 0 ? per_update : schedule.microbatches;
  if (schedule.layout != setup_.layout) {
    throw ContractError(fmt::format("the schedule '{}' is for the layout '{}', and the engine for '{}'", schedule.name,
                                    ToString(schedule.layout), ToString(setup_.layout)));
  }
  if (schedule.microbatches % per_update_ != 0) {
    throw ContractError(
        fmt::format("{} micro-batches are not whole updates of {}", schedule.microbatches, per_update_));
  }
  if (setup_.clip_norm > 0 && !schedule.HasFlush()) {
    throw ContractError(
        fmt::format("the norm of all gradients is known only after a flush, and '{}' updates without one: do not clip",
                    schedule.name));
  }
  training_ = true;
  source_ = source;
  const int updates = schedule.microbatches / per_update_;
  for (const auto& [index, chunk] : chunks_) {
    for (int update = 0; chunk.is_last && update < updates; ++update) losses_[update] = 0;
  }
  WorkOff(schedule);

  std::vector<double> losses;
  for (const auto& [update, loss] : losses_) losses.push_back(loss);
  losses_.clear();
  for (auto& [index, chunk] : chunks_) {
    chunk.weights->Restart();
    chunk.summed = 0;
  }
  clipped_version_ = 0;
  updates_done_ += updates;
  return losses;
}

Tensors ScheduleEngine::Evaluate(const MiniBatch& batch, int microbatches) {
  const int pieces = static_cast<int>(MicroBatches(batch.samples, microbatches).size());
  const Schedule schedule = AddCommunication(ForwardOnly(setup_.layout, pieces));
  per_update_ = pieces;
  training_ = false;
  source_ = [&](int64_t) { return batch; };
  const torch::NoGradGuard no_grad;
  for (const auto& [index, chunk] : chunks_) Module(index).eval();
  evaluated_.clear();
  WorkOff(schedule);
  for (const auto& [index, chunk] : chunks_) Module(index).train();
  training_ = true;

  Tensors outputs;
  if (evaluated_.empty()) return outputs;
  for (size_t i = 0; i < evaluated_.front().size(); ++i) {
    Tensors parts;
    for (const Tensors& piece : evaluated_) parts.push_back(piece[i]);
    outputs.push_back(at::cat(parts));
  }
  evaluated_.clear();
  return outputs;
}

void ScheduleEngine::WorkOff(const Schedule& schedule) {
  const int window = SendWindow(schedule);
  for (auto& [index, chunk] : chunks_) {
    for (const Port& port : chunk.in) port.link->SetWindow(window);
    for (const Port& port : chunk.out) port.link->SetWindow(window);
  }
  const auto& list = schedule.ranks[static_cast<size_t>(position_)];

  updates_.clear();
  recomputed_.clear();
  std::map<Key, int> last_use;  // of a chunk's weight version: the last entry that computes with it
  for (int step = 0; step < static_cast<int>(list.size()); ++step) {
    const Action& action = list[static_cast<size_t>(step)];
    if (action.kind == ActionKind::kRecompute) recomputed_.insert(KeyOf(action));
    if (IsCompute(action.kind)) last_use[{action.chunk, action.version}] = step;
    if (action.kind != ActionKind::kForward) continue;
    Update& update = UpdateOf(action.microbatch);
    update.of_copy[setup_.layout.chunk(action.chunk).replica].insert(action.microbatch % per_update_);
    ++update.forwards_left;
  }
  std::map<int, Key> released_after;
  for (const auto& [version, step] : last_use) released_after[step] = version;

  int step = 0;
  try {
    for (; step < static_cast<int>(list.size()); ++step) {
      const Action& action = list[static_cast<size_t>(step)];
      (this->*MethodOf(action.kind))(action);
      const auto released = released_after.find(step);
      if (released != released_after.end() && training_) {
        At(released->second.first).weights->Release(released->second.second);
      }
    }
    --step;  // what the last entries left under way
    for (auto& [index, chunk] : chunks_) {
      for (const Port& port : chunk.in) port.link->Finish();
      for (const Port& port : chunk.out) port.link->Finish();
    }
  } catch (const NotImplemented&) {
    throw;
  } catch (const std::exception& error) {
    throw FailureAt(schedule, position_, step, Brief(error));
  } catch (...) {
    throw FailureAt(schedule, position_, step, "something was thrown that is no std::exception");
  }
}

// ---------------------------------------------------------------------------------------------- forward and backward

const MicroBatch& ScheduleEngine::PieceOf(int microbatch) {
  const int number = microbatch / per_update_;
  Update& update = UpdateOf(microbatch);
  if (update.pieces.empty()) {
    update.data = source_(number);
    update.pieces = MicroBatches(update.data.samples, per_update_, updates_done_ + number);
    if (static_cast<int>(update.pieces.size()) != per_update_) {
      throw ContractError(
          fmt::format("a mini-batch of {} samples was given to a schedule of {} micro-batches: use at most {}",
                      update.data.samples, per_update_, update.data.samples));
    }
    for (MicroBatch& piece : update.pieces) {
      piece.first = update.data.first;
      piece.update_samples = update.data.update_samples;
      piece.training = training_;
      piece.statistics = setup_.statistics.get();
    }
    for (const auto& [copy, numbers] : update.of_copy) {
      int index = 0;
      for (const int i : numbers) {
        update.pieces[static_cast<size_t>(i)].index = index++;
        update.pieces[static_cast<size_t>(i)].count = static_cast<int>(numbers.size());
      }
    }
  }
  return updates_[number].pieces[static_cast<size_t>(microbatch % per_update_)];
}

void ScheduleEngine::Forward(const Action& action) {
  ChunkState& chunk = At(action.chunk);
  const MicroBatch at = PieceOf(action.microbatch);
  Update& update = UpdateOf(action.microbatch);

  Tensors inputs;
  if (chunk.is_first) {
    for (const at::Tensor& x : SamplesOf(update.data.inputs, at)) inputs.push_back(x.to(setup_.device));
  }
  for (const Port& port : chunk.in) {
    for (at::Tensor& x : port.link->Take(action.microbatch, at)) inputs.push_back(std::move(x));
  }
  if (chunk.is_last && training_) inputs.push_back(SamplesOf({update.data.targets}, at)[0].to(setup_.device));
  if (--update.forwards_left == 0) update.data = {};

  StageModule& module = chunk.weights->At(action.version);
  Tensors outputs =
      !training_ ? module.Forward(inputs, at)
      : recomputed_.count(KeyOf(action)) != 0
          ? ForwardAndForget(*chunk.stage, action.microbatch, at, inputs, module, checkpoints_[KeyOf(action)])
          : chunk.stage->Forward(action.microbatch, at, inputs, module);
  if (chunk.is_last) {
    // A number: a kept loss would keep its graph.
    if (training_) losses_[action.microbatch / per_update_] += outputs[0].item<double>();
    if (!training_) evaluated_.push_back(std::move(outputs));
    return;
  }
  const size_t skips = chunk.out.size() - 1;
  const auto first_skip = outputs.end() - static_cast<std::ptrdiff_t>(skips);
  for (size_t i = 0; i < skips; ++i) {
    chunk.out[i + 1].link->Send(action.microbatch, at, {first_skip[static_cast<std::ptrdiff_t>(i)]});
  }
  outputs.erase(first_skip, outputs.end());
  outbox_[KeyOf(action)] = std::move(outputs);
  if (!chunk.out[0].in_schedule) SendForward(action);
}

void ScheduleEngine::Backward(const Action& action) {
  ChunkState& chunk = At(action.chunk);
  const Tensors gradients = TakeOutputGradients(chunk, action.microbatch);
  GiveInputGradients(chunk, action, chunk.stage->Backward(action.microbatch, gradients));
}

void ScheduleEngine::BackwardInput(const Action& action) {
  ChunkState& chunk = At(action.chunk);
  const Tensors gradients = TakeOutputGradients(chunk, action.microbatch);
  GiveInputGradients(chunk, action, chunk.stage->BackwardInput(action.microbatch, gradients));
}

void ScheduleEngine::Recompute(const Action& action) {
  const auto checkpoint = checkpoints_.find(KeyOf(action));
  RunAgain(*At(action.chunk).stage, checkpoint->second);
  checkpoints_.erase(checkpoint);
}

// Of every output in its order; nothing where there is a loss.
Tensors ScheduleEngine::TakeOutputGradients(ChunkState& chunk, int microbatch) {
  Tensors gradients;
  for (const Port& port : chunk.out) {
    for (at::Tensor& gradient : port.link->TakeGradients(microbatch)) gradients.push_back(std::move(gradient));
  }
  return gradients;
}

void ScheduleEngine::GiveInputGradients(ChunkState& chunk, const Action& action, const Tensors& gradients) {
  if (chunk.is_first) return;
  const size_t skips = chunk.in.size() - 1;
  const size_t targets = chunk.is_last ? 1 : 0;
  const auto first_skip = gradients.end() - static_cast<std::ptrdiff_t>(skips + targets);
  for (size_t i = 0; i < skips; ++i) {
    chunk.in[i + 1].link->SendGradients(action.microbatch, {first_skip[static_cast<std::ptrdiff_t>(i)]});
  }
  const Tensors boundary(gradients.begin(), first_skip);
  if (chunk.in[0].in_schedule) {
    outbox_[KeyOf(action)] = boundary;
  } else {
    chunk.in[0].link->SendGradients(action.microbatch, boundary);
  }
}

// ---------------------------------------------------------------------------------------------- messages

void ScheduleEngine::SendForward(const Action& action) {
  const auto made = outbox_.find(KeyOf(action));
  At(action.chunk).out[0].link->Send(action.microbatch, PieceOf(action.microbatch), made->second);
  outbox_.erase(made);
}

void ScheduleEngine::ReceiveForward(const Action& action) {
  for (const Port& port : At(action.chunk).in) port.link->Post(action.microbatch, PieceOf(action.microbatch));
}

void ScheduleEngine::SendBackward(const Action& action) {
  const auto made = outbox_.find(KeyOf(action));
  At(action.chunk).in[0].link->SendGradients(action.microbatch, made->second);
  outbox_.erase(made);
}

void ScheduleEngine::ReceiveBackward(const Action& action) {
  for (const Port& port : At(action.chunk).out) port.link->PostGradients(action.microbatch);
}

// ---------------------------------------------------------------------------------------------- updates

void ScheduleEngine::ReduceGradients(const Action& action) {
  ChunkState& chunk = At(action.chunk);
  chunk.summed = action.version;
  std::vector<Tensors> copies;  // (3)
  for (const int twin : chunk.twins) {
    if (At(twin).summed < action.version) return;  // its turn comes, and is for both: only then both are complete
    copies.push_back(At(twin).weights->Gradients());
  }
  const Tensors gradients = chunk.weights->Gradients();
  for (size_t i = 0; i < gradients.size(); ++i) {
    at::Tensor sum = gradients[i];
    for (const Tensors& copy : copies) sum.add_(copy[i]);
    if (same_weights_) same_weights_->AllReduce(sum);
    for (const Tensors& copy : copies) at::Tensor(copy[i]).copy_(sum);
  }
}

void ScheduleEngine::Step(const Action& action) {
  // Before the first STEP of an update the gradients of all chunks are complete, on every rank.
  if (setup_.clip_norm > 0 && clipped_version_ != action.version) {
    Tensors gradients;
    std::vector<double> counts;
    for (auto& [index, chunk] : chunks_) {
      size_t parameter = 0;
      for (const at::Tensor& gradient : chunk.weights->Gradients()) {
        gradients.push_back(gradient);
        const double once = setup_.norm_count ? setup_.norm_count(index, parameter++) : 1.0;
        counts.push_back(once / setup_.layout.replicas());  // each copy has the same ones
      }
    }
    ClipGradients(gradients, setup_.clip_norm, setup_.norm_ranks ? *setup_.norm_ranks : *comm_, counts);
    clipped_version_ = action.version;
  }
  const int64_t update = updates_done_ + action.version - 1;
  At(action.chunk).weights->Update(setup_.learning_rate ? setup_.learning_rate(update) : 1.0);
}

}  // namespace

std::unique_ptr<Engine> MakeEngine(PipelineSetup setup, std::shared_ptr<Communicator> comm) {
  return std::make_unique<ScheduleEngine>(std::move(setup), std::move(comm));
}

}  // namespace shardlab
