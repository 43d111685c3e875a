#include "shardlab/report/wait_graph.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/base/svg.hpp"

namespace shardlab {

using grade::Waiting;

namespace {

constexpr size_t kMaxRanks = 16;
constexpr double kNode = 27;    // radius of a rank
constexpr double kMargin = 14;  // around the picture

struct Point {
  double x = 0, y = 0;
};

/// Whether rank `rank` is in the cycle, and so its arrow to `to`.
bool InCycle(const std::vector<Waiting>& waits, int rank) {
  return std::any_of(waits.begin(), waits.end(),
                     [&](const Waiting& wait) { return wait.rank == rank && wait.in_cycle; });
}

/// The picture in words, for who cannot see it.
std::string Summary(const std::vector<Waiting>& waits) {
  std::string text = "Wait-for graph.";
  for (const Waiting& wait : waits) {
    const std::string whom = wait.waits_for.empty() ? "nobody who could still come"
                                                    : fmt::format("rank {}", fmt::join(wait.waits_for, " and "));
    text += fmt::format(" Rank {} waits for {}{}.", wait.rank, whom, wait.in_cycle ? ", in the cycle" : "");
  }
  return text;
}

/// An arrow between two nodes, bent to the side so that there and back are two lines, with its head.
void Arrow(Svg& svg, Point from, Point to, bool in_cycle) {
  const double dx = to.x - from.x, dy = to.y - from.y, length = std::hypot(dx, dy);
  const double ux = dx / length, uy = dy / length;
  const double bend = std::min(30.0, 0.18 * length);
  const Point control = {(from.x + to.x) / 2 + uy * bend, (from.y + to.y) / 2 - ux * bend};
  // The line ends at the nodes' edges, on the way to the control point.
  const auto edge = [&](Point node, double gap) {
    const double ex = control.x - node.x, ey = control.y - node.y, e = std::hypot(ex, ey);
    return Point{node.x + ex / e * (kNode + gap), node.y + ey / e * (kNode + gap)};
  };
  const Point begin = edge(from, 1), tip = edge(to, 2), neck = edge(to, 13);
  const double hx = (tip.x - neck.x) / 11, hy = (tip.y - neck.y) / 11;
  const std::string kind = in_cycle ? " wg-cycle" : "";
  svg.Path("wg-edge" + kind, SvgPath("M", begin.x, begin.y, "Q", control.x, control.y, neck.x, neck.y));
  svg.Path("wg-head" + kind, SvgPath("M", neck.x - hy * 6, neck.y + hx * 6, "L", tip.x, tip.y, "L", neck.x + hy * 6,
                                     neck.y - hx * 6, "Z"));
}

}  // namespace

std::string WaitGraphSvg(const std::vector<Waiting>& waits) {
  // Who is drawn: the cycle, then who waits, then who is waited for.
  std::vector<int> ranks;
  std::set<int> waiting;
  const auto add = [&](int rank) {
    if (rank >= 0 && std::find(ranks.begin(), ranks.end(), rank) == ranks.end()) ranks.push_back(rank);
  };
  for (const Waiting& wait : waits) {
    if (wait.in_cycle) add(wait.rank);
  }
  for (const Waiting& wait : waits) {
    waiting.insert(wait.rank);
    add(wait.rank);
  }
  for (const Waiting& wait : waits) {
    for (const int other : wait.waits_for) add(other);
  }
  const size_t left_out = ranks.size() > kMaxRanks ? ranks.size() - kMaxRanks : 0;
  ranks.resize(ranks.size() - left_out);
  std::sort(ranks.begin(), ranks.end());
  if (ranks.empty()) return "";

  const auto count = static_cast<double>(ranks.size());
  const double radius = ranks.size() < 2 ? 0 : std::max(78.0, 40 * count / 3.14159);
  const double half = radius + kNode + kMargin;
  std::map<int, Point> at;
  double top = 0, bottom = 0;
  for (size_t i = 0; i < ranks.size(); ++i) {
    // Two ranks stand side by side, more begin at the top and go clockwise.
    const double angle = (ranks.size() == 2 ? 3.14159265 : -1.57079633) + 6.28318531 * static_cast<double>(i) / count;
    at[ranks[i]] = {half + radius * std::cos(angle), radius * std::sin(angle)};
    top = std::min(top, at[ranks[i]].y);
    bottom = std::max(bottom, at[ranks[i]].y);
  }
  // The arrows of the outermost ranks bend out of the circle.
  const double room = kNode + kMargin + (ranks.size() == 2 ? 6 : 0);
  for (auto& [rank, point] : at) point.y += room - top;
  const double height = bottom - top + 2 * room + (left_out > 0 ? 22 : 0);
  Svg svg;
  for (const bool cycle : {false, true}) {  // the cycle on top
    for (const Waiting& wait : waits) {
      const auto from = at.find(wait.rank);
      if (from == at.end()) continue;
      for (const int other : wait.waits_for) {
        const auto to = at.find(other);
        if (to == at.end() || other == wait.rank) continue;
        const bool in_cycle = wait.in_cycle && InCycle(waits, other);
        if (in_cycle == cycle) Arrow(svg, from->second, to->second, in_cycle);
      }
    }
  }
  for (const Waiting& wait : waits) {  // who waits for itself
    const auto node = at.find(wait.rank);
    const bool self = std::find(wait.waits_for.begin(), wait.waits_for.end(), wait.rank) != wait.waits_for.end();
    if (node == at.end() || !self) continue;
    svg.Circle("wg-edge wg-self wg-cycle", node->second.x, node->second.y, kNode + 6);
  }
  for (const auto& [rank, point] : at) {
    const char* kind = waiting.count(rank) == 0 ? " wg-gone" : InCycle(waits, rank) ? " wg-cycle" : "";
    svg.Circle(std::string("wg-node") + kind, point.x, point.y, kNode);
    svg.Text("wg-text", point.x, point.y + 4.5, fmt::format("rank {}", rank), Anchor::kMiddle);
  }
  if (left_out > 0) svg.Text("wg-text", half, height - 6, fmt::format("and {} more ranks", left_out), Anchor::kMiddle);
  return svg.Inline("waits", 2 * half, height, Summary(waits));
}

}  // namespace shardlab
