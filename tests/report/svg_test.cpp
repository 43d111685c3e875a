// What the drawings are written with.

#include <string>

#include <gtest/gtest.h>

#include "shardlab/base/svg.hpp"

namespace shardlab {
namespace {

TEST(Svg, NumbersAreShort) {
  EXPECT_EQ(Pixels(12), "12");
  EXPECT_EQ(Pixels(12.25), "12.3");
  EXPECT_EQ(Pixels(-0.04), "0");
  EXPECT_EQ(SvgPath("M", 1, 2.5, "L", 3, -4, "h22", "Z"), "M1 2.5L3 -4h22Z");
}

TEST(Svg, StepsOfAnAxis) {
  EXPECT_EQ(NiceStep(0.3), 0.5);
  EXPECT_EQ(NiceStep(2), 2);
  EXPECT_EQ(NiceStep(5.1), 10);
  EXPECT_EQ(DecimalsFor(0.05), 2);
  EXPECT_EQ(DecimalsFor(1), 0);
  EXPECT_EQ(DecimalsFor(100), 0);
  EXPECT_EQ(DecimalsFor(1e-30), 8);
}

TEST(Svg, ElementsStandInTheirOrder) {
  Svg above;
  above.Text("", 1, 2, "a < b", Anchor::kEnd);
  Svg svg;
  svg.OpenGroup("id=\"x\"", "a & b");
  svg.Rect("lane", 0, 0, 10, 5.5, "\"q\"");
  svg.CloseGroup();
  svg.Append(above);
  EXPECT_EQ(
      svg.Inline("page", 10, 20, "<label>"),
      "<svg class=\"page\" viewBox=\"0 0 10 20\" width=\"10\" height=\"20\" role=\"img\" "
      "aria-label=\"&lt;label&gt;\">\n"
      "<g id=\"x\"><title>a &amp; b</title>"
      "<rect class=\"lane\" x=\"0\" y=\"0\" width=\"10\" height=\"5.5\"><title>&quot;q&quot;</title></rect>\n</g>\n"
      "<text x=\"1\" y=\"2\" text-anchor=\"end\">a &lt; b</text>\n</svg>\n");
}

TEST(Svg, AFileBringsItsStyleAndItsGround) {
  const std::string file = Svg().File(10, 20, "x", ".own{fill:red}", ".own{fill:blue}");
  const size_t dark = file.find("@media (prefers-color-scheme:dark){");
  EXPECT_EQ(file.rfind("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 10 20\"", 0), 0u) << file;
  EXPECT_LT(file.find(".own{fill:red}"), dark);
  EXPECT_GT(file.find(".own{fill:blue}"), dark);
  EXPECT_NE(file.find("<rect class=\"sl-ground\" width=\"100%\" height=\"100%\"/>"), std::string::npos) << file;
}

}  // namespace
}  // namespace shardlab
