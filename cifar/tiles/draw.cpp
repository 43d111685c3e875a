#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "halo_plan.hpp"
#include "shardlab/base/svg.hpp"
#include "shardlab/spatial/window.hpp"

// A picture a rank, placed as the tiles are. In each the image is grey, (1) the rank's own pixels, (2) what it gets from
// others with the owner's number, (3) padding, where its windows reach beyond the image.
//
//     +--------------------+
//     | . . . . . .        |
//     | . +------+--+      |
//     | . | (1)  |1 | (2)  |
//     | . +------+--+      |
//     |(3)|2     |3 |      |

namespace shardlab::tiles {
namespace {

constexpr double kSide = 190;  // of the image's longer side
constexpr double kGap = 46;
constexpr double kMargin = 24;
constexpr double kHead = 62;

const char kStyle[] =
    R"(text{font-size:12px} .image{fill:#eef1f4;stroke:#9aa5b1} .tile{fill:none;stroke:#9aa5b1;stroke-dasharray:3 3}
.own{fill:#1f5fa8} .halo{fill:#f2d24b;stroke:#7a6512} .pad{fill:none;stroke:#a65a14;stroke-dasharray:2 2} .n{font-size:10px;text-anchor:middle;fill:#0d1b2a}
.w{font-size:13px;fill:#fff;text-anchor:middle})";
const char kDark[] = ".image{fill:#262d35;stroke:#6b7783} .own{fill:#2f74c0} .pad{stroke:#e6bf96}";

class Picture {
 public:
  explicit Picture(const ChainPlan& plan) : plan_(plan), layer_(plan.layers.front()) {
    const double longer = static_cast<double>(std::max(layer_.inputs.height(), layer_.inputs.width()));
    scale_ = kSide / longer;
  }

  std::string Draw() {
    const double width = 2 * kMargin + plan_.grid.columns * (Wide() + kGap);
    const double height = kHead + kMargin + plan_.grid.rows * (High() + kGap);
    svg_.Text("sl-title", kMargin, 26,
              fmt::format("{} x {} pixels, {} tiles: what each rank reads", layer_.inputs.height(),
                          layer_.inputs.width(), ToString(plan_.grid)));
    svg_.Rect("own", kMargin, 38, 12, 12);
    svg_.Text("sl-quiet", kMargin + 18, 48, "has");
    svg_.Rect("halo", kMargin + 56, 38, 12, 12);
    svg_.Text("sl-quiet", kMargin + 74, 48, "gets, from rank");
    svg_.Rect("pad", kMargin + 180, 38, 12, 12);
    svg_.Text("sl-quiet", kMargin + 198, 48, "padding");
    for (int rank = 0; rank < plan_.grid.size(); ++rank) Rank(rank);
    return svg_.File(std::max(width, 380.0), height, "Which pixels each rank has and gets", kStyle, kDark);
  }

 private:
  double Wide() const { return scale_ * static_cast<double>(layer_.inputs.width()); }
  double High() const { return scale_ * static_cast<double>(layer_.inputs.height()); }

  void Box4(const std::string& classes, const Box& box, const std::string& title) {
    const Range rows = box.ranges[0], columns = box.ranges[1];
    svg_.Rect(classes, x_ + scale_ * static_cast<double>(columns.begin), y_ + scale_ * static_cast<double>(rows.begin),
              scale_ * static_cast<double>(columns.size()), scale_ * static_cast<double>(rows.size()), title);
  }

  void Rank(int rank) {
    x_ = kMargin + (rank % plan_.grid.columns) * (Wide() + kGap) + kGap / 2;
    y_ = kHead + (rank / plan_.grid.columns) * (High() + kGap) + kGap / 2;
    Box4("image", Box{{{0, layer_.inputs.height()}, {0, layer_.inputs.width()}}}, "");
    for (int other = 0; other < plan_.grid.size(); ++other) Box4("tile", layer_.inputs.TileOf(other), "");
    const Box outputs = layer_.outputs.TileOf(rank);
    if (!outputs.empty()) {
      Box4("pad",
           Box{{InputsOf(layer_.window.rows, outputs.ranges[0]), InputsOf(layer_.window.columns, outputs.ranges[1])}},
           "all that its windows read");
    }
    for (const Move& move : layer_.moves) {
      if (move.to != rank || move.from != rank) continue;
      Box4("own", move.box, fmt::format("rank {} has {}", rank, ToString(move.box)));
    }
    for (const Move& move : layer_.moves) {
      if (move.to != rank || move.from == rank) continue;
      Box4("halo", move.box, fmt::format("rank {} gets {} from rank {}", rank, ToString(move.box), move.from));
      const Range rows = move.box.ranges[0], columns = move.box.ranges[1];
      svg_.Text("n", x_ + scale_ * static_cast<double>(columns.begin + columns.end) / 2,
                y_ + scale_ * static_cast<double>(rows.begin + rows.end) / 2 + 3.5, std::to_string(move.from));
    }
    const Box own = layer_.inputs.TileOf(rank);
    svg_.Text("w", x_ + scale_ * static_cast<double>(own.ranges[1].begin + own.ranges[1].end) / 2,
              y_ + scale_ * static_cast<double>(own.ranges[0].begin + own.ranges[0].end) / 2 + 4,
              fmt::format("rank {}", rank));
  }

  const ChainPlan& plan_;
  const LayerPlan& layer_;
  Svg svg_;
  double scale_ = 1, x_ = 0, y_ = 0;
};

}  // namespace

std::string SvgOf(const ChainPlan& plan) { return Picture(plan).Draw(); }

}  // namespace shardlab::tiles
