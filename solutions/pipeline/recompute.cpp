#include "shardlab/pipeline/recompute.hpp"

#include <mutex>

#include <torch/cuda.h>
#include <torch/torch.h>

//     F    (1) remember the generators   (2) forward, as always   (3) drop the graph, keep the inputs
//     ...  other micro-batches draw random numbers
//     R    (4) the generators as at (1)   (5) forward again, keep the graph   (6) the generators as before (4)
//     B
//
// (2) runs with autograd on although nothing of its graph is kept: whether an output wants a gradient is only known so,
// and the next stage has to know. Its activations live until (3), no longer than those of the micro-batch's R and B do.

namespace shardlab {

namespace {

at::Generator GeneratorOf(at::Device device) { return at::globalContext().defaultGenerator(device); }

at::Tensor StateOf(at::Device device) {
  at::Generator generator = GeneratorOf(device);
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return generator.get_state();
}

void SetState(at::Device device, const at::Tensor& state) {
  at::Generator generator = GeneratorOf(device);
  const std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_state(state);
}

at::Device Gpu(size_t index) { return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index)); }

}  // namespace

RandomState SaveRandomState() {
  RandomState state;
  state.cpu = StateOf(at::Device(at::kCPU));
  for (size_t gpu = 0; gpu < torch::cuda::device_count(); ++gpu) state.cuda.push_back(StateOf(Gpu(gpu)));
  return state;
}

void RestoreRandomState(const RandomState& state) {
  SetState(at::Device(at::kCPU), state.cpu);
  for (size_t gpu = 0; gpu < state.cuda.size(); ++gpu) SetState(Gpu(gpu), state.cuda[gpu]);
}

Tensors ForwardAndForget(Stage& stage, int number, const MicroBatch& at, const Tensors& inputs, StageModule& module,
                         Checkpoint& checkpoint) {
  checkpoint = {number, at, inputs, &module, SaveRandomState()};      // (1)
  const Tensors outputs = stage.Forward(number, at, inputs, module);  // (2)
  stage.Forget(number);                                               // (3)
  return outputs;
}

void RunAgain(Stage& stage, const Checkpoint& checkpoint) {
  const RandomState now = SaveRandomState();
  RestoreRandomState(checkpoint.random);  // (4)
  MicroBatch at = checkpoint.at;
  at.recomputed = true;
  stage.Forward(checkpoint.number, at, checkpoint.inputs, *checkpoint.module);  // (5)
  RestoreRandomState(now);                                                      // (6)
}

}  // namespace shardlab
