#pragma once

#include <cctype>
#include <string>
#include <type_traits>

/// \file
/// Pictures as SVG. Learning curves, timelines, wait-for graphs and schedules are written with this.
///
/// What an element looks like is said by its classes. A picture within a page gets its colours from the page, one that
/// stands alone (Svg::File) brings them, for a light and for a dark ground.

namespace shardlab {

/// A number of pixels as text, with one decimal at most: "12", "12.5".
std::string Pixels(double value);

/// The data of a path: words as they are, numbers as pixels. SvgPath("M", 1, 2, "L", 3, 4, "Z") is "M1 2L3 4Z".
template <typename... Parts>
std::string SvgPath(const Parts&... parts) {
  std::string path;
  const auto add = [&path](const auto& part) {
    if constexpr (std::is_arithmetic_v<std::decay_t<decltype(part)>>) {
      if (!path.empty() && std::isdigit(static_cast<unsigned char>(path.back())) != 0) path += ' ';
      path += Pixels(part);
    } else {
      path += part;
    }
  };
  (add(parts), ...);
  return path;
}

/// The distance between the ticks of an axis: the smallest of 1, 2 and 5 times a power of ten that is at least this.
double NiceStep(double at_least);

/// How many decimals tell a number from its neighbours `step` away, at most 8.
int DecimalsFor(double step);

/// Which end of a text is at its x.
enum class Anchor { kStart, kMiddle, kEnd };

/// A picture that grows element by element, later ones above earlier ones. Texts are escaped (EscapeXml). A title is what
/// is shown when one points at the element.
class Svg {
 public:
  /// \name Elements
  ///@{
  /// Its upper left corner is at (x, y).
  void Rect(const std::string& classes, double x, double y, double width, double height, const std::string& title = "");
  /// Its centre is at (x, y).
  void Circle(const std::string& classes, double x, double y, double radius);
  /// What SvgPath has written.
  void Path(const std::string& classes, const std::string& path, const std::string& title = "");
  /// Stands on the line y.
  void Text(const std::string& classes, double x, double y, const std::string& text, Anchor anchor = Anchor::kStart);
  ///@}

  /// \name Groups of elements
  ///@{
  void OpenGroup(const std::string& attributes = "", const std::string& title = "");
  /// What lies outside the rectangle is not drawn.
  void OpenClip(double x, double y, double width, double height);
  void CloseGroup() { elements_ += "</g>\n"; }
  void Append(const Svg& other) { elements_ += other.elements_; }
  ///@}

  /// The picture as part of a page that has a style for its classes. `label` is what a screen reader says.
  std::string Inline(const std::string& classes, double width, double height, const std::string& label) const;
  /// The picture as a file of its own, on a light or a dark ground as the reader's system prefers. It has a style for
  /// text and the classes sl-title, sl-quiet and sl-grid; `style` is that of the other classes, and `dark` what differs
  /// on a dark ground.
  std::string File(double width, double height, const std::string& label, const std::string& style,
                   const std::string& dark) const;

 private:
  std::string elements_;
};

}  // namespace shardlab
