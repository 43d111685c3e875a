// The structure of a chart: what is drawn where. How it looks is for eyes.
#include <cmath>
#include <limits>
#include <regex>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../texts.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/report/chart.hpp"

namespace shardlab {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

ChartSeries Series(const std::string& name, std::vector<double> y) {
  ChartSeries series;
  series.name = name;
  series.y = std::move(y);
  return series;
}

/// The labels of an axis, "sl-x" or "sl-y".
std::vector<std::string> Labels(const std::string& svg, const std::string& axis) {
  const std::regex label(axis + "\"[^>]*>([^<]*)<");
  std::vector<std::string> labels;
  for (auto at = std::sregex_iterator(svg.begin(), svg.end(), label); at != std::sregex_iterator(); ++at) {
    labels.push_back((*at)[1]);
  }
  return labels;
}

/// The path of the line of series `index` within the plot.
std::string Path(const std::string& svg, int index) {
  const std::regex path("sl-line" + std::to_string(index) + "\" d=\"([^\"]*)\"");
  std::smatch match;
  return std::regex_search(svg, match, path) ? match[1].str() : "";
}

TEST(Chart, HasTitleAxesLegendAndBothGrounds) {
  ChartOptions options;
  options.title = "a < b & \"c\"";
  const std::string svg = LineChartSvg({Series("one", {1, 2}), Series("two", {2, 1})}, options);
  EXPECT_THAT(svg, HasSubstr("a &lt; b &amp; &quot;c&quot;</text>"));
  EXPECT_THAT(svg, HasSubstr(">one</text>"));
  EXPECT_THAT(svg, HasSubstr(">two</text>"));
  EXPECT_THAT(svg, HasSubstr(">step</text>"));
  EXPECT_THAT(svg, HasSubstr(">loss</text>"));
  EXPECT_THAT(svg, HasSubstr("prefers-color-scheme:dark"));
  EXPECT_THAT(svg, HasSubstr("viewBox=\"0 0 800 500\""));
}

TEST(Chart, TicksAreRoundNumbers) {
  std::vector<double> falling;
  for (int step = 0; step < 200; ++step) falling.push_back(2.3 - 0.01 * step);
  const std::string svg = LineChartSvg({Series("loss", falling)});
  EXPECT_THAT(Labels(svg, "sl-y"), ElementsAre("0", "0.5", "1.0", "1.5", "2.0"));
  EXPECT_THAT(Labels(svg, "sl-x"), ElementsAre("50", "100", "150", "200"));
}

TEST(Chart, ALossThatFallsFarGetsALogarithmicAxis) {
  const std::string svg = LineChartSvg({Series("loss", {10, 1, 0.1, 0.01, 0.001})});
  EXPECT_THAT(svg, HasSubstr("loss (log)"));
  EXPECT_THAT(Labels(svg, "sl-y"), ElementsAre("0.001", "0.01", "0.1", "1", "10"));
  // Equal ratios are equal distances.
  double x[5], y[5];
  ASSERT_EQ(std::sscanf(Path(svg, 0).c_str(), "M%lf %lfL%lf %lfL%lf %lfL%lf %lfL%lf %lf", &x[0], &y[0], &x[1], &y[1],
                        &x[2], &y[2], &x[3], &y[3], &x[4], &y[4]),
            10);
  for (int i = 2; i < 5; ++i) EXPECT_NEAR(y[i] - y[i - 1], y[1] - y[0], 0.2);
}

TEST(Chart, ALogarithmicAxisLeavesOutWhatItCannotShow) {
  ChartOptions options;
  options.y_scale = ChartOptions::Scale::kLog;
  const std::string svg = LineChartSvg({Series("loss", {100, 0, 1})}, options);
  EXPECT_THAT(svg, HasSubstr("loss (1 of 3 values cannot be shown)"));
  EXPECT_EQ(Count(Path(svg, 0), "M"), 2u) << "the line has a gap";
}

TEST(Chart, ValuesThatAreNotFiniteLeaveAGapAndAreCounted) {
  const std::string svg = LineChartSvg({Series("loss", {1, 2, kNan, 2, 1})});
  EXPECT_EQ(Count(Path(svg, 0), "M"), 2u);
  EXPECT_THAT(svg, HasSubstr("loss (1 of 5 values not finite)"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(Chart, NothingAtAllIsStillAChart) {
  for (const auto& series : {std::vector<ChartSeries>{},
                             {Series("empty", {})},
                             {Series("none", {kNan, kNan})},
                             {Series("one", {3})},
                             {Series("zero", {0, 0})},
                             {Series("flat", {2, 2, 2})}}) {
    const std::string svg = LineChartSvg(series);
    EXPECT_THAT(svg, HasSubstr("</svg>"));
    EXPECT_THAT(svg, Not(HasSubstr("nan")));
    EXPECT_THAT(svg, Not(HasSubstr("inf")));
  }
}

TEST(Chart, TheBandIsDrawnOrGivenAsANumber) {
  EXPECT_THAT(LearningCurveSvg("t", {2, 1}, {2, 1}, {0.3, 0.3}), HasSubstr("class=\"sl-band sl-band0\""));
  EXPECT_THAT(LearningCurveSvg("t", {2, 1}, {2, 1}, {1e-10, 2e-10}), HasSubstr("one process, tolerance 2e-10"));
}

TEST(Chart, ALongLineIsThinnedButKeepsItsPeak) {
  std::vector<double> many(100000, 1.0);
  many[54321] = 5;
  const std::string svg = LineChartSvg({Series("loss", many)});
  EXPECT_LT(svg.size(), 100000u);
  double highest = 500;
  std::string path = Path(svg, 0);
  for (size_t at = path.find_first_of("ML"); at != std::string::npos; at = path.find_first_of("ML", at + 1)) {
    double x = 0, y = 0;
    ASSERT_EQ(std::sscanf(path.c_str() + at + 1, "%lf %lf", &x, &y), 2);
    highest = std::min(highest, y);
  }
  EXPECT_LT(highest, 120);
}

TEST(Chart, ManyNamesTakeSeveralRowsInsideThePicture) {
  std::vector<ChartSeries> series;
  for (int i = 0; i < 8; ++i) series.push_back(Series("a rather long name " + std::to_string(i), {1, 2}));
  const std::string svg = LineChartSvg(series);
  const std::regex label("<text x=\"([0-9.]+)\" y=\"([0-9.]+)\">a rather");
  std::vector<double> rows;
  for (auto at = std::sregex_iterator(svg.begin(), svg.end(), label); at != std::sregex_iterator(); ++at) {
    EXPECT_LT(std::stod((*at)[1]), 650);
    if (rows.empty() || std::stod((*at)[2]) != rows.back()) rows.push_back(std::stod((*at)[2]));
  }
  EXPECT_EQ(rows.size(), 3u);
}

TEST(Chart, ListsOfDifferentLengthsAreRefused) {
  ChartSeries series = Series("loss", {1, 2, 3});
  series.tolerance = {0.1};
  EXPECT_THROW(LineChartSvg({series}), ContractError);
}

}  // namespace
}  // namespace shardlab
