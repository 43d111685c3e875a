#include "shardlab/report/chart.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/svg.hpp"
#include "shardlab/report/terminal.hpp"

namespace shardlab {
namespace {

//      left                                right
//   +---|-----------------------------------|--+
//   |   title                                  |
//   |   subtitle        (1) legend             |
//   |   +-----------------------------------+  | top
//   |2.5|                                   |  |
//   |2.0|           (2) the plot            |  |
//   |   +-----------------------------------+  | bottom
//   |   0        50       100      150         |
//   |                  step                    |
//   +------------------------------------------+

/// The colours of the lines, told apart also by people who do not see red and green alike (Okabe and Ito), with a
/// lighter variant for the dark ground.
struct LineColour {
  const char* light;
  const char* dark;
};
constexpr std::array<LineColour, 6> kColours = {{{"#0072b2", "#56b4e9"},
                                                 {"#d55e00", "#ff9248"},
                                                 {"#009e73", "#3fd0a4"},
                                                 {"#a83f82", "#e08fc3"},
                                                 {"#8a6d00", "#e6c84a"},
                                                 {"#444444", "#cccccc"}}};
constexpr LineColour kReferenceColour = {"#9aa5b1", "#7b8794"};

/// Maps values to pixels.
class Axis {
 public:
  Axis(double low, double high, double from_pixel, double to_pixel, bool log)
      : low_(log ? std::log10(low) : low),
        high_(log ? std::log10(high) : high),
        from_(from_pixel),
        to_(to_pixel),
        log_(log) {}

  bool log() const { return log_; }
  bool Shows(double value) const { return std::isfinite(value) && (!log_ || value > 0); }
  double Pixel(double value) const {
    const double at = log_ ? std::log10(value) : value;
    return from_ + (at - low_) / (high_ - low_) * (to_ - from_);
  }
  double low() const { return log_ ? std::pow(10, low_) : low_; }
  double high() const { return log_ ? std::pow(10, high_) : high_; }

 private:
  double low_, high_, from_, to_;
  bool log_;
};

struct Tick {
  double value;
  std::string label;
};

/// A number with as many decimals as tell it from its neighbours `step` away.
std::string TickLabel(double value, double step) {
  const double size = std::abs(value);
  if (value != 0 && (size >= 1e6 || size < 1e-4)) return fmt::format("{:.3g}", value);
  const int decimals = DecimalsFor(step);
  if (value == 0) return "0";
  if (decimals == 0) return PrettyNumber(std::round(value));
  return fmt::format("{:.{}f}", value, decimals);
}

std::vector<Tick> LinearTicks(double low, double high, int count, bool whole) {
  double step = NiceStep((high - low) / count);
  if (whole) step = std::max(step, 1.0);
  std::vector<Tick> ticks;
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i) {
    ticks.push_back({i * step, TickLabel(i * step, step)});
  }
  return ticks;
}

std::vector<Tick> LogTicks(double low, double high) {
  const double decades = std::log10(high / low);
  std::vector<double> factors = {1};
  if (decades < 4) factors = {1, 2, 5};
  if (decades < 1.2) factors = {1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9};
  const int stride = std::max(1, static_cast<int>(std::ceil(decades / 10)));  // of decades, where there are many
  std::vector<Tick> ticks;
  for (int power = static_cast<int>(std::floor(std::log10(low))); power <= std::log10(high); ++power) {
    if (power % stride != 0) continue;
    for (const double factor : factors) {
      const double value = factor * std::pow(10, power);
      if (value < low * (1 - 1e-9) || value > high * (1 + 1e-9)) continue;
      ticks.push_back({value, power < -3 || power > 5 ? fmt::format("{:g}", value)
                                                      : TickLabel(value, factor == 1.5 ? value / 15 : value / factor)});
    }
  }
  return ticks;
}

double XOf(const ChartSeries& series, size_t i) { return series.x.empty() ? static_cast<double>(i + 1) : series.x[i]; }

struct Extent {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  bool empty() const { return low > high; }
  void Add(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

constexpr size_t kMaxPoints = 2000;

/// The indices to draw: all of them, or of each of kMaxPoints/2 columns the smallest and the largest value, so that no
/// peak is lost.
std::vector<size_t> Thinned(const ChartSeries& series) {
  const size_t count = series.y.size();
  std::vector<size_t> indices;
  if (count <= kMaxPoints) {
    for (size_t i = 0; i < count; ++i) indices.push_back(i);
    return indices;
  }
  const size_t columns = kMaxPoints / 2;
  for (size_t column = 0; column < columns; ++column) {
    const size_t begin = column * count / columns, end = (column + 1) * count / columns;
    size_t lowest = begin, highest = begin;
    for (size_t i = begin; i < end; ++i) {
      if (!std::isfinite(series.y[i])) {  // keep the gap
        lowest = highest = i;
        break;
      }
      if (series.y[i] < series.y[lowest]) lowest = i;
      if (series.y[i] > series.y[highest]) highest = i;
    }
    indices.push_back(std::min(lowest, highest));
    if (lowest != highest) indices.push_back(std::max(lowest, highest));
  }
  return indices;
}

class Chart {
 public:
  Chart(const std::vector<ChartSeries>& series, const ChartOptions& options)
      : series_(series),
        options_(options),
        width_(std::max(options.width, 320)),
        height_(std::max(options.height, 200)),
        left_(78),
        right_(width_ - 24.0),
        top_((options.title.empty() ? 20 : 46) + (options.subtitle.empty() ? 0 : 20) + 28),
        bottom_(height_ - 58.0),
        x_(XAxis()),
        y_(YAxis()),
        legend_(LegendEntries()) {
    if (!legend_.empty() && legend_.back().row > 0) {  // a legend of several rows pushes the plot down
      top_ += kLegendRow * legend_.back().row;
      y_ = YAxis();
    }
  }

  std::string Draw() {
    Title();
    Grid();
    svg_.OpenClip(left_, top_ - 2, right_ - left_, bottom_ - top_ + 4);
    for (size_t i = 0; i < series_.size(); ++i) Band(i);
    for (const bool reference : {true, false}) {
      for (size_t i = 0; i < series_.size(); ++i) {
        if (series_[i].reference == reference) Line(i);
      }
    }
    svg_.CloseGroup();
    Frame();
    Legend();
    return File();
  }

 private:
  Axis XAxis() const {
    Extent extent;
    for (const ChartSeries& series : series_) {
      for (size_t i = 0; i < series.y.size(); ++i) extent.Add(XOf(series, i));
    }
    if (extent.empty()) extent = {0, 1};
    if (extent.low == extent.high) extent = {extent.low - 0.5, extent.high + 0.5};
    return Axis(extent.low, extent.high, left_, right_, false);
  }

  Axis YAxis() const {
    Extent lines, all;
    bool positive = true;
    for (const ChartSeries& series : series_) {
      for (const double value : series.y) {
        lines.Add(value);
        all.Add(value);
        if (std::isfinite(value)) positive = positive && value > 0;
      }
    }
    bool log = options_.y_scale == ChartOptions::Scale::kLog;
    if (options_.y_scale == ChartOptions::Scale::kAuto) {
      log = !lines.empty() && positive && lines.high > 50 * lines.low;
    }
    if (log && !positive) {  // the axis can begin at the smallest value that it can show
      lines = {};
      for (const ChartSeries& series : series_) {
        for (const double value : series.y) {
          if (value > 0) lines.Add(value);
        }
      }
      all = lines;
    }
    // A band may widen the picture to twice the lines' height and no further: one loose step must not flatten them.
    const double room = lines.high - lines.low;
    for (const ChartSeries& series : series_) {
      for (size_t i = 0; i < series.tolerance.size(); ++i) {
        const double low = series.y[i] - series.tolerance[i], high = series.y[i] + series.tolerance[i];
        if (std::isfinite(low) && low >= lines.low - room / 2 && (!log || low > 0)) all.Add(low);
        if (std::isfinite(high) && high <= lines.high + room / 2) all.Add(high);
      }
    }
    if (all.empty()) all = {log ? 0.1 : 0.0, 1.0};
    if (log) {
      const double margin = std::max(std::pow(all.high / all.low, 0.05), 1.02);
      return Axis(all.low / margin, all.high * margin, bottom_, top_, true);
    }
    if (all.low == all.high) {
      const double half = all.low == 0 ? 1 : std::abs(all.low) * 0.1;
      return Axis(all.low - half, all.high + half, bottom_, top_, false);
    }
    const double margin = 0.06 * (all.high - all.low);
    double low = all.low - margin;
    if (all.low >= 0 && all.low < 0.35 * all.high) low = 0;  // near enough to zero to show the whole height
    return Axis(low, all.high + margin, bottom_, top_, false);
  }

  static LineColour Colour(size_t index, bool reference) {
    return reference ? kReferenceColour : kColours[index % kColours.size()];
  }

  std::string File() const {
    std::string light =
        ".sl-frame{stroke:#52606d;fill:none} .sl-line{fill:none;stroke-width:2;stroke-linejoin:round;"
        "stroke-linecap:round} .sl-reference{stroke-width:6;stroke-opacity:.55} .sl-band{fill-opacity:.22}";
    std::string dark = ".sl-frame{stroke:#9aa5b1}";
    size_t own = 0;
    for (size_t i = 0; i < series_.size(); ++i) {
      const LineColour colour = Colour(series_[i].reference ? 0 : own++, series_[i].reference);
      for (const auto& [rules, ink] : {std::pair(&light, colour.light), std::pair(&dark, colour.dark)}) {
        *rules += fmt::format("\n.sl-line{0}{{stroke:{1}}} .sl-band{0}{{fill:{1}}}", i, ink);
      }
    }
    return svg_.File(width_, height_, options_.title.empty() ? options_.y_label : options_.title, light, dark);
  }

  void Title() {
    double y = 32;
    if (!options_.title.empty()) {
      svg_.Text("sl-title", left_, y, options_.title);
      y += 21;
    }
    if (!options_.subtitle.empty()) svg_.Text("sl-quiet", left_, y, options_.subtitle);
  }

  void Grid() {
    const int y_count = std::max(2, static_cast<int>((bottom_ - top_) / 55));
    const auto y_ticks = y_.log() ? LogTicks(y_.low(), y_.high()) : LinearTicks(y_.low(), y_.high(), y_count, false);
    for (const Tick& tick : y_ticks) {
      const double y = y_.Pixel(tick.value);
      svg_.Path("sl-grid", SvgPath("M", left_, y, "H", right_));
      svg_.Text("sl-quiet sl-y", left_ - 9, y + 4.5, tick.label, Anchor::kEnd);
    }
    const int x_count = std::max(2, static_cast<int>((right_ - left_) / 90));
    for (const Tick& tick : LinearTicks(x_.low(), x_.high(), x_count, true)) {
      const double x = x_.Pixel(tick.value);
      svg_.Path("sl-grid", SvgPath("M", x, top_, "V", bottom_));
      svg_.Text("sl-quiet sl-x", x, bottom_ + 19, tick.label, Anchor::kMiddle);
    }
  }

  /// The axes, above the lines, and what they show.
  void Frame() {
    svg_.Path("sl-frame", SvgPath("M", left_, top_, "V", bottom_, "H", right_));
    svg_.Text("", (left_ + right_) / 2, height_ - 16, options_.x_label, Anchor::kMiddle);
    svg_.OpenGroup(fmt::format("transform=\"translate(20 {:.0f}) rotate(-90)\"", (top_ + bottom_) / 2));
    svg_.Text("", 0, 0, options_.y_label + (y_.log() ? " (log)" : ""), Anchor::kMiddle);
    svg_.CloseGroup();
  }

  void Band(size_t index) {
    const ChartSeries& series = series_[index];
    if (series.tolerance.empty()) return;
    std::vector<size_t> piece;
    const auto draw = [&] {
      if (piece.size() > 1) {
        std::string path;
        for (const size_t i : piece) Append(path, XOf(series, i), series.y[i] + series.tolerance[i]);
        for (auto i = piece.rbegin(); i != piece.rend(); ++i) {
          const double low = series.y[*i] - series.tolerance[*i];
          Append(path, XOf(series, *i), y_.Shows(low) ? low : y_.low());
        }
        svg_.Path(fmt::format("sl-band sl-band{}", index), path + "Z");
      }
      piece.clear();
    };
    for (const size_t i : Thinned(series)) {
      if (y_.Shows(series.y[i]) && std::isfinite(series.tolerance[i]) && std::isfinite(XOf(series, i))) {
        piece.push_back(i);
      } else {
        draw();
      }
    }
    draw();
  }

  void Line(size_t index) {
    const ChartSeries& series = series_[index];
    std::string path;
    bool gap = true;
    size_t alone = 0;  // points since the last gap: a single one would be invisible as a line
    const auto dot = [&] {
      if (alone == 1) path += "h0.01";
      alone = 0;
    };
    for (const size_t i : Thinned(series)) {
      const double x = XOf(series, i);
      if (!y_.Shows(series.y[i]) || !std::isfinite(x)) {
        dot();
        gap = true;
        continue;
      }
      path += SvgPath(gap ? "M" : "L", x_.Pixel(x), Clamped(y_.Pixel(series.y[i])));
      gap = false;
      ++alone;
    }
    dot();
    if (!path.empty()) svg_.Path(LineClasses(index), path);
  }

  std::string LineClasses(size_t index) const {
    return fmt::format("sl-line {}sl-line{}", series_[index].reference ? "sl-reference " : "", index);
  }

  void Append(std::string& path, double x, double y) const {
    path += SvgPath(path.empty() ? "M" : "L", x_.Pixel(x), Clamped(y_.Pixel(y)));
  }

  /// Far outside the plot is far enough: coordinates stay short and valid.
  double Clamped(double pixel) const { return std::clamp(pixel, -1.0 * height_, 2.0 * height_); }

  struct LegendEntry {
    std::string label;
    double x = 0;
    int row = 0;
  };

  /// Names and what has to be said beside them, in rows that are as wide as the plot.
  std::vector<LegendEntry> LegendEntries() const {
    std::vector<LegendEntry> entries;
    double x = left_;
    int row = 0;
    for (const ChartSeries& series : series_) {
      LegendEntry entry;
      entry.label = series.name;
      size_t hidden = 0;
      double widest = 0;  // of the band, in pixels
      for (size_t k = 0; k < series.y.size(); ++k) {
        if (!y_.Shows(series.y[k])) {
          ++hidden;
        } else if (!series.tolerance.empty() && std::isfinite(series.tolerance[k])) {
          const double above = y_.Pixel(series.y[k] + series.tolerance[k]);
          widest = std::max(widest, std::abs(y_.Pixel(series.y[k]) - above));
        }
      }
      if (hidden > 0) {
        entry.label += fmt::format(" ({} of {} values {})", PrettyNumber(static_cast<double>(hidden)),
                                   PrettyNumber(static_cast<double>(series.y.size())),
                                   y_.log() ? "cannot be shown" : "not finite");
      }
      if (!series.tolerance.empty()) {
        const double most = *std::max_element(series.tolerance.begin(), series.tolerance.end());
        entry.label += widest < 3 ? fmt::format(", tolerance {:.2g}", most) : ", with its tolerance";
      }
      const double width = 32 + 7.3 * static_cast<double>(DisplayWidth(entry.label));
      if (x > left_ && x + width > right_) {
        x = left_;
        ++row;
      }
      entry.x = x;
      entry.row = row;
      x += width + 24;
      entries.push_back(std::move(entry));
    }
    return entries;
  }

  void Legend() {
    const double first_row = top_ - 15 - kLegendRow * (legend_.empty() ? 0 : legend_.back().row);
    for (size_t i = 0; i < legend_.size(); ++i) {
      const double y = first_row + kLegendRow * legend_[i].row;
      svg_.Path(LineClasses(i), SvgPath("M", legend_[i].x, y - 4.5, "h22"));
      svg_.Text("", legend_[i].x + 32, y, legend_[i].label);
    }
  }

  static constexpr double kLegendRow = 20;  // pixels

  const std::vector<ChartSeries>& series_;
  const ChartOptions& options_;
  int width_, height_;
  double left_, right_, top_, bottom_;  // of the plot, in pixels
  Axis x_, y_;
  std::vector<LegendEntry> legend_;
  Svg svg_;
};

}  // namespace

std::string LineChartSvg(const std::vector<ChartSeries>& series, const ChartOptions& options) {
  for (const ChartSeries& one : series) {
    for (const auto& [what, size] : {std::pair("x", one.x.size()), std::pair("tolerance", one.tolerance.size())}) {
      if (size != 0 && size != one.y.size()) {
        throw ContractError(fmt::format("the series '{}' of the chart '{}' has {} values of y and {} of {}", one.name,
                                        options.title, one.y.size(), size, what));
      }
    }
  }
  return Chart(series, options).Draw();
}

std::string LearningCurveSvg(const std::string& title, const std::vector<double>& run,
                             const std::vector<double>& reference, const std::vector<double>& tolerance) {
  ChartOptions options;
  options.title = title;
  return LineChartSvg({{"one process", reference, {}, tolerance, true}, {"this run", run, {}, {}, false}}, options);
}

}  // namespace shardlab
