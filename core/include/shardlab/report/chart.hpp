#pragma once

#include <string>
#include <vector>

/// \file
/// Line charts as self-contained SVG: learning curves over their reference.

namespace shardlab {

/// One line of a chart.
struct ChartSeries {
  std::string name;       ///< in the legend
  std::vector<double> y;  ///< one value a point
  /// As long as `y`; empty: 1, 2, 3, ...
  std::vector<double> x;
  /// As long as `y`: a band y +- tolerance is drawn around the line. Empty: no band.
  std::vector<double> tolerance;
  /// A reference is drawn wide and pale below the others, so that a line which follows it is seen on top of it.
  bool reference = false;
};

/// How a chart looks.
struct ChartOptions {
  /// How values become heights.
  enum class Scale {
    kLinear,  ///< evenly
    kLog,     ///< by their logarithm
    kAuto,    ///< logarithmic if every value is positive and the largest is more than 50 times the smallest
  };
  std::string title;             ///< above the chart
  std::string subtitle;          ///< below the title, smaller; may be empty
  std::string x_label = "step";  ///< below the axis
  std::string y_label = "loss";  ///< above the axis
  Scale y_scale = Scale::kAuto;  ///< of the y axis
  int width = 800;               ///< pixels, at least 320
  int height = 500;              ///< pixels, at least 200
};

/// Draws the series, with axes, ticks and a legend, on a light or a dark ground as the reader's system prefers.
///
/// Values that are not finite (or, on a logarithmic axis, not positive) leave a gap in the line and are counted in the
/// legend. A band that is narrower than a line is given as a number in the legend, since it cannot be seen.
/// Cost: linear in the number of values; a line of more than 2,000 points is thinned to its smallest and largest values
/// a column.
/// \throws ContractError if `x` or `tolerance` of a series is neither empty nor as long as its `y`.
std::string LineChartSvg(const std::vector<ChartSeries>& series, const ChartOptions& options = {});

/// A learning curve over its reference, as `lab grade` and `lab train --compare` draw it: three lists of one value a
/// step. `tolerance` may be empty.
std::string LearningCurveSvg(const std::string& title, const std::vector<double>& run,
                             const std::vector<double>& reference, const std::vector<double>& tolerance = {});

}  // namespace shardlab
