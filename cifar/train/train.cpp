#include "train.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "checkpoint.hpp"
#include "runner.hpp"
#include "shardlab/report/progress.hpp"

namespace shardlab::train {
namespace {

constexpr int64_t kEvaluated = 250;  // images at a time: enlarged, all of them would take too much memory

class Trainer {
 public:
  Trainer(const Task& task, DeviceMesh& mesh, const Tiles& tiles, const ShardBoxes& boxes, Runner& runner)
      : task_(task), mesh_(mesh), tiles_(tiles), boxes_(boxes), runner_(runner) {}

  Figures Train() {
    if (!task_.request.resume.empty()) {
      const SavedTensors saved(task_.request.resume, task_.record);
      for (const Held& held : runner_.Holds()) saved.Restore(held, boxes_);
    }
    Figures figures;
    figures.losses = task_.record.losses;
    const auto start = std::chrono::steady_clock::now();
    const std::vector<double> losses = RunSteps();
    figures.losses.insert(figures.losses.end(), losses.begin(), losses.end());
    figures.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    runner_.Show();
    figures.accuracy = TestAccuracy();
    if (!task_.request.save.empty()) Save(figures.losses);
    return figures;
  }

 private:
  std::vector<double> RunSteps() {
    const int64_t first = task_.first_step(), steps = task_.request.steps;
    std::unique_ptr<Progress> progress;
    if (mesh_.world().rank() == 0) progress = std::make_unique<Progress>("training on the mesh", steps);
    const int64_t together = runner_.AllAtOnce() ? steps : 1;
    const auto begun = [&](int64_t step) {
      if (progress && together > 1) progress->Update(step - first, "in flight");
    };
    std::vector<double> losses;
    for (int64_t done = 0; done < steps; done += together) {
      std::vector<double> mine = runner_.Run(first + done, together, begun);
      mine.resize(static_cast<size_t>(together), 0);
      for (const double share : mine) losses.push_back(Sum(at::scalar_tensor(share, at::kDouble)).item().toDouble());
      if (progress) progress->Update(done + together, fmt::format("loss {:.3f}", losses.back()));
    }
    return losses;
  }

  // What the ranks with a last chunk know of all replicas, added up, on every rank; the others know nothing, and add 0.
  at::Tensor Sum(const at::Tensor& value) {
    const auto all = mesh_.Together({"data", "pipe", "spatial"});
    if (all->size() > 1) all->AllReduce(value);
    return value;
  }

  double TestAccuracy() {
    const int64_t n = task_.test.images.size(0);
    const at::Tensor right = at::zeros({}, at::kLong);
    int chunk = 0;
    for (int64_t begin = 0; begin < n; begin += kEvaluated) {
      if (chunk++ % mesh_.Size("data") != mesh_.Coordinate("data")) continue;
      const int64_t end = std::min(begin + kEvaluated, n);
      const Tensors logits = runner_.Evaluate(task_.Enlarged(task_.test.images.slice(0, begin, end)));
      if (!logits.empty() && tiles_.tile() == 0)
        right.add_(logits[0].argmax(1).eq(task_.test.labels.slice(0, begin, end)).sum());
    }
    return static_cast<double>(Sum(right).item().toLong()) / static_cast<double>(n);
  }

  // Replicas and the ranks of tiles are equal, so the first ones write.
  void Save(const std::vector<double>& losses) {
    RunRecord record = RecordOf(task_.request);
    record.losses = losses;
    record.steps = static_cast<int64_t>(losses.size());
    if (mesh_.Coordinate("data") == 0 && tiles_.tile() == 0) {
      Pieces pieces;
      for (const Held& held : runner_.Holds()) AddPieces(held, boxes_, &pieces);
      const int part = tiles_.position() * mesh_.Size("tensor") + mesh_.Coordinate("tensor");
      WritePart(task_.request.save, record, part, pieces);
    }
    mesh_.world().Barrier();  // the record is written when all parts are there
    if (mesh_.world().rank() == 0) WriteRecord(task_.request.save, record);
  }

  const Task& task_;
  DeviceMesh& mesh_;
  const Tiles& tiles_;
  const ShardBoxes& boxes_;
  Runner& runner_;
};

}  // namespace

Trained TrainOnMesh(const Task& task, DeviceMesh& mesh) {
  Trained trained;
  Tiles tiles(task.request, mesh);
  trained.cut = MakeCut(task, mesh, tiles);
  const ShardBoxes boxes(task, mesh);
  const auto runner = task.request.pipeline ? MakePipelineRunner(task, trained.cut, boxes, mesh, tiles)
                                            : MakeWholeModelRunner(task, trained.cut, boxes, mesh, tiles);
  if (task.request.pipeline && mesh.world().rank() == 0) {
    fmt::print("\n{}\n", trained.cut.Text());
    std::fflush(stdout);
  }
  trained.figures = Trainer(task, mesh, tiles, boxes, *runner).Train();
  return trained;
}

}  // namespace shardlab::train
