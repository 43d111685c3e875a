#include "shardlab/base/svg.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "shardlab/base/xml.hpp"

namespace shardlab {

namespace {

const char kSvgLight[] =
    ".sl-ground{fill:#fff} text{fill:#1f2933;font:13px system-ui,'DejaVu Sans',sans-serif}"
    ".sl-quiet{fill:#56616c} .sl-title{font-size:17px;font-weight:600} .sl-grid{stroke:#dfe4e8}";
const char kSvgDark[] = ".sl-ground{fill:#14181d} text{fill:#e6eaee} .sl-quiet{fill:#a3afbb} .sl-grid{stroke:#303840}";

std::string SvgClass(const std::string& names) { return names.empty() ? "" : " class=\"" + names + "\""; }

std::string SvgTitle(const std::string& text) { return text.empty() ? "" : "<title>" + EscapeXml(text) + "</title>"; }

std::string SvgHead(const std::string& attributes, double width, double height, const std::string& label) {
  return fmt::format("<svg {0} viewBox=\"0 0 {1} {2}\" width=\"{1}\" height=\"{2}\" role=\"img\" aria-label=\"{3}\">\n",
                     attributes, Pixels(width), Pixels(height), EscapeXml(label));
}

}  // namespace

std::string Pixels(double value) {
  const double tenths = std::round(value * 10);
  return fmt::format("{}", tenths == 0 ? 0 : tenths / 10);  // and never -0
}

double NiceStep(double at_least) {
  const double power = std::pow(10, std::floor(std::log10(at_least)));
  for (const double factor : {1., 2., 5.}) {
    if (power * factor >= at_least * (1 - 1e-9)) return power * factor;
  }
  return power * 10;
}

int DecimalsFor(double step) { return std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 8); }

void Svg::Rect(const std::string& classes, double x, double y, double width, double height, const std::string& title) {
  elements_ += fmt::format("<rect{} x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\">{}</rect>\n", SvgClass(classes),
                           Pixels(x), Pixels(y), Pixels(width), Pixels(height), SvgTitle(title));
}

void Svg::Circle(const std::string& classes, double x, double y, double radius) {
  elements_ += fmt::format("<circle{} cx=\"{}\" cy=\"{}\" r=\"{}\"/>\n", SvgClass(classes), Pixels(x), Pixels(y),
                           Pixels(radius));
}

void Svg::Path(const std::string& classes, const std::string& path, const std::string& title) {
  elements_ += fmt::format("<path{} d=\"{}\">{}</path>\n", SvgClass(classes), path, SvgTitle(title));
}

void Svg::Text(const std::string& classes, double x, double y, const std::string& text, Anchor anchor) {
  const char* const anchors[] = {"", " text-anchor=\"middle\"", " text-anchor=\"end\""};
  elements_ += fmt::format("<text{} x=\"{}\" y=\"{}\"{}>{}</text>\n", SvgClass(classes), Pixels(x), Pixels(y),
                           anchors[static_cast<int>(anchor)], EscapeXml(text));
}

void Svg::OpenGroup(const std::string& attributes, const std::string& title) {
  elements_ += "<g" + (attributes.empty() ? "" : " " + attributes) + ">" + SvgTitle(title);
}

void Svg::OpenClip(double x, double y, double width, double height) {
  elements_ += "<clipPath id=\"sl-clip\">";
  Rect("", x, y, width, height);
  elements_ += "</clipPath>\n";
  OpenGroup("clip-path=\"url(#sl-clip)\"");
}

std::string Svg::Inline(const std::string& classes, double width, double height, const std::string& label) const {
  return SvgHead("class=\"" + classes + "\"", width, height, label) + elements_ + "</svg>\n";
}

std::string Svg::File(double width, double height, const std::string& label, const std::string& style,
                      const std::string& dark) const {
  return SvgHead("xmlns=\"http://www.w3.org/2000/svg\"", width, height, label) +
         fmt::format("<style>\n{}\n{}\n@media (prefers-color-scheme:dark){{\n{}\n{}\n}}\n</style>\n", kSvgLight, style,
                     kSvgDark, dark) +
         "<rect class=\"sl-ground\" width=\"100%\" height=\"100%\"/>\n" + elements_ + "</svg>\n";
}

}  // namespace shardlab
