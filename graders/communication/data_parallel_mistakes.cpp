#include "data_parallel_mistakes.hpp"

#include <torch/torch.h>

#include <algorithm>

#include "kit/parts.hpp"
#include "shardlab/base/split.hpp"

namespace shardlab::grade {

std::vector<Hypothesis> AverageMistakes(const std::vector<at::Tensor>& gradients, int rank, const std::string& alone) {
  const auto ranks = static_cast<double>(gradients.size());
  return {
      {alone + ": it is rank " + std::to_string(rank) + "'s own gradient", [=] { return gradients[rank]; }},
      {"the gradients are added up, and not divided by the number of ranks", [=] { return SumOf(gradients); }},
      {"the gradients are divided by the number of ranks twice", [=] { return SumOf(gradients) / (ranks * ranks); }},
      {"this rank's gradient is divided by the number of ranks, and the others' are never added",
       [=] { return gradients[rank] / ranks; }}};
}

std::vector<BatchPiece> MicroBatchesOf(int rank, const std::vector<int64_t>& samples, int64_t micro_batches) {
  std::vector<BatchPiece> all;
  if (samples[rank] == 0) return all;
  const std::vector<int64_t> sizes = SplitSizes(samples[rank], std::min(micro_batches, samples[rank]));
  for (size_t i = 0; i < sizes.size(); ++i) {
    BatchPiece one;
    one.rank = rank;
    one.ranks = static_cast<int>(samples.size());
    one.index = static_cast<int64_t>(i);
    one.count = static_cast<int64_t>(sizes.size());
    one.samples = sizes[i];
    one.rank_samples = samples[rank];
    one.batch = Total(samples);
    all.push_back(one);
  }
  return all;
}

const std::vector<StepMistake>& StepMistakes() {
  using M = const BatchPiece&;
  static const std::vector<StepMistake> mistakes = {
      {"AverageGradients' division by the number of ranks is not made up for: the weights n_i / B add up to 1 already",
       [](M m) { return m.RightWeight() / m.ranks; }},
      {"the ranks' shares are multiplied by the number of ranks, and never divided by it",
       [](M m) { return m.RightWeight() * m.ranks; }},
      {EqualWeights("micro-batch"), [](M m) { return static_cast<double>(m.rank_samples) / m.batch / m.count; }},
      {EqualWeights("rank"), [](M m) { return static_cast<double>(m.samples) / m.rank_samples / m.ranks; }},
      {EqualWeights("rank and every micro-batch"), [](M m) { return 1.0 / m.count / m.ranks; }},
      {"the micro-batches' means are added up as if each were the whole batch of its rank",
       [](M m) { return static_cast<double>(m.rank_samples) / m.batch; }},
      {"the micro-batches' means are added up, and only the number of ranks is divided by",
       [](M m) { return 1.0 / m.ranks; }},
      {LastOverwrites("micro-batch"), [](M m) { return m.index + 1 == m.count ? m.RightWeight() : 0; }},
      {"the first micro-batch is missing", [](M m) { return m.index == 0 ? 0 : m.RightWeight(); }},
      {"the last micro-batch is missing", [](M m) { return m.index + 1 == m.count ? 0 : m.RightWeight(); }},
      {"nothing is added up over the ranks: it is the rank's own share", [](M m) { return m.RightWeight(); }, true},
      {"nothing is added up over the ranks: it is the rank's own share, times the number of ranks",
       [](M m) { return m.RightWeight() * m.ranks; }, true},
      {"nothing is averaged over the ranks: it is the mean of the rank's own samples",
       [](M m) { return static_cast<double>(m.samples) / m.rank_samples; }, true}};
  return mistakes;
}

std::vector<Hypothesis> StepHypotheses(int rank, const std::vector<int64_t>& samples, int64_t micro_batches,
                                       const std::function<at::Tensor(const BatchPiece&)>& gradient) {
  std::vector<Hypothesis> all;
  for (const StepMistake& mistake : StepMistakes()) {
    all.push_back({mistake.meaning, [=] {
                     at::Tensor sum;
                     for (int r = 0; r < static_cast<int>(samples.size()); ++r) {
                       if (mistake.alone && r != rank) continue;
                       for (const BatchPiece& one : MicroBatchesOf(r, samples, micro_batches)) {
                         const at::Tensor term = gradient(one) * mistake.weight(one);
                         sum = sum.defined() ? sum + term : term;
                       }
                     }
                     return sum;
                   }});
  }
  return all;
}

namespace {

/// One model and its optimizer; all ranks share it unless the mistake lets them drift apart.
struct Trainee {
  std::shared_ptr<ImageClassifier> model;
  std::unique_ptr<torch::optim::Optimizer> optimizer;
};

MistakenRun::Outputs Repeat(const DataParallelTraining& training, const StepMistake& mistake) {
  const int ranks = static_cast<int>(training.images.size());
  std::vector<Trainee> trainees;
  for (int i = 0; i < (mistake.alone ? ranks : 1); ++i) {
    Trainee one{training.make_model(), nullptr};
    one.model->train();
    one.optimizer = MakeOptimizer(training.options.recipe, one.model->parameters());
    trainees.push_back(std::move(one));
  }
  std::vector<double> losses, weighted;
  for (int64_t step = 0; step < training.options.steps; ++step) {
    std::vector<int64_t> samples;
    for (int r = 0; r < ranks; ++r) samples.push_back(training.labels[r][step].size(0));
    losses.push_back(0);
    weighted.push_back(0);
    for (Trainee& one : trainees) one.optimizer->zero_grad();
    for (int r = 0; r < ranks; ++r) {
      Trainee& one = trainees[mistake.alone ? r : 0];
      int64_t begin = 0;
      for (const BatchPiece& part : MicroBatchesOf(r, samples, training.micro_batches)) {
        const at::Tensor loss =
            at::cross_entropy_loss(one.model->forward(training.images[r][step].narrow(0, begin, part.samples)),
                                   training.labels[r][step].narrow(0, begin, part.samples));
        begin += part.samples;
        losses.back() += part.RightWeight() * loss.item<double>();
        weighted.back() += mistake.weight(part) * loss.item<double>();
        (loss * mistake.weight(part)).backward();
      }
    }
    for (Trainee& one : trainees) one.optimizer->step();
  }
  MistakenRun::Outputs outputs{{"losses", at::tensor(losses, at::kDouble)},
                               {"weighted", at::tensor(weighted, at::kDouble)}};
  for (int r = 0; r < ranks; ++r) {
    for (const auto& parameter : trainees[mistake.alone ? r : 0].model->named_parameters()) {
      outputs[std::to_string(r) + "." + parameter.key()] = parameter.value().detach();
    }
  }
  return outputs;
}

}  // namespace

std::vector<MistakenRun> MistakenTrainings(const DataParallelTraining& training) {
  std::vector<MistakenRun> all;
  for (const StepMistake& mistake : StepMistakes()) {
    all.emplace_back(mistake.meaning, [=] { return Repeat(training, mistake); });
  }
  return all;
}

}  // namespace shardlab::grade
