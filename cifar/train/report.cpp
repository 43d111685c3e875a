#include "report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <vector>

#include <fmt/format.h>

#include "shardlab/report/chart.hpp"
#include "shardlab/report/files.hpp"

namespace shardlab::train {
namespace {

// The mean of the last tenth of the steps: one step's loss is as much its batch's as the model's.
double LastLoss(const Figures& figures) {
  const size_t count = std::max<size_t>(1, figures.losses.size() / 10);
  double sum = 0;
  for (size_t i = figures.losses.size() - count; i < figures.losses.size(); ++i) sum += figures.losses[i];
  return sum / static_cast<double>(count);
}

}  // namespace

void PrintFigures(const std::string& who, const Figures& figures) {
  fmt::print("{:<24} loss {:.4f} to {:.4f}   test accuracy {:5.2f} %   {:.1f} s\n", who, figures.losses.front(),
             LastLoss(figures), 100 * figures.accuracy, figures.seconds);
  std::fflush(stdout);
}

void ReportComparison(const TrainRequest& request, const Figures& mesh, const Figures& single) {
  double worst = 0;
  int64_t worst_step = 0;
  int64_t first_apart = -1;
  std::vector<double> tolerance;
  for (int64_t step = 0; step < static_cast<int64_t>(mesh.losses.size()); ++step) {
    const double reference = single.losses[static_cast<size_t>(step)];
    const double apart = std::abs(mesh.losses[static_cast<size_t>(step)] - reference);
    tolerance.push_back(1e-10 * static_cast<double>(step + 1) * std::max(1.0, std::abs(reference)));
    if (!(apart <= worst)) {
      worst = apart;
      worst_step = step;
    }
    if (first_apart < 0 && !(apart <= tolerance.back())) first_apart = step;
  }
  const bool exact = request.dtype == "float64";
  if (!request.chart.empty()) {
    WriteFileSafely(request.chart,
                    LearningCurveSvg(fmt::format("{} on {}, {}", request.model, request.mesh, request.data),
                                     mesh.losses, single.losses, exact ? tolerance : std::vector<double>{}));
    fmt::print("both curves: {}\n", request.chart);
  }
  fmt::print("largest difference of a step's loss: {:.1e} (step {})\n", worst, worst_step + 1);
  std::fflush(stdout);
  if (exact && first_apart >= 0) {
    const auto step = static_cast<size_t>(first_apart);
    throw std::runtime_error(
        fmt::format("the mesh does not train as one process does: from step {} on the losses are "
                    "apart, {:.9g} on the mesh and {:.9g} in one process, {:.1e} allowed",
                    first_apart + 1, mesh.losses[step], single.losses[step], tolerance[step]));
  }
}

void DrawCurve(const TrainRequest& request, const Figures& mesh) {
  ChartSeries series;
  series.name = request.model;
  series.y = mesh.losses;
  ChartOptions options;
  options.title = fmt::format("{} on {}, {}", request.model, request.mesh, request.data);
  WriteFileSafely(request.chart, LineChartSvg({series}, options));
  fmt::print("curve: {}\n", request.chart);
}

}  // namespace shardlab::train
