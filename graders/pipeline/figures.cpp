#include "figures.hpp"

#include <algorithm>

namespace shardlab::grade {

Figures OfNaive(const AskedSchedule& a, double tf, double tb) {
  return {a.microbatches * a.ranks * (tf + tb), std::vector<int>(static_cast<size_t>(a.ranks), 1), {}, {}, {}};
}

Figures OfGPipe(const AskedSchedule& a, double tf, double tb) {
  return {(a.microbatches + a.ranks - 1) * (tf + tb),
          std::vector<int>(static_cast<size_t>(a.ranks), a.microbatches),
          {},
          {},
          {}};
}

Figures OfOneFOneB(const AskedSchedule& a, double tf, double tb) {
  Figures figures{(a.microbatches + a.ranks - 1) * (tf + tb), {}, {}, {}, {}};
  for (int s = 0; s < a.ranks; ++s) figures.live.push_back(std::min(a.microbatches, a.ranks - s));
  return figures;
}

Figures OfInterleaved(const AskedSchedule& a, double tf, double tb) {
  const int P = a.ranks, v = a.chunks, m = a.microbatches;
  Figures figures{m * (tf + tb) + (P - 1) * (tf + tb) / v, {}, {}, {}, {}};
  for (int s = 0; s < P; ++s) figures.live.push_back(std::min(m * v, 2 * (P - s - 1) + (v - 1) * P + 1));
  return figures;
}

Figures OfH1(const AskedSchedule& a, double tf, double tb) {
  const double half = tb / 2;  // TB and TW
  Figures figures{a.microbatches * (tf + tb) + (a.ranks - 1) * (half + std::max(tf - half, 0.0)), {}, {}, {}, {}};
  figures.live.assign(static_cast<size_t>(a.ranks), std::min(a.microbatches, a.ranks));
  for (int s = 0; s < a.ranks; ++s) figures.live_until_input.push_back(std::min(a.microbatches, a.ranks - s));
  return figures;
}

Figures OfH2(const AskedSchedule& a, double, double) {
  Figures figures;
  figures.live.assign(static_cast<size_t>(a.ranks), 2 * a.ranks - 1);
  figures.gaps.assign(static_cast<size_t>(a.ranks), 0.0);
  return figures;
}

Figures OfPipeDream(const AskedSchedule& a, double tf, double tb) {
  const int P = a.ranks, m = a.microbatches * a.updates;
  Figures figures{(m + P - 1) * (tf + tb), {}, {}, {}, {}};
  for (int s = 0; s < P; ++s) figures.versions.push_back(P - s);
  return figures;
}

Figures OfTwoBuffered(const AskedSchedule& a, double tf, double tb) {
  Figures figures{(a.microbatches * a.updates + a.ranks - 1) * (tf + tb), {}, {}, {}, {}};
  for (int s = 0; s < a.ranks; ++s) figures.live.push_back(std::min(a.microbatches * a.updates, a.ranks - s));
  figures.versions.assign(static_cast<size_t>(a.ranks), 2);
  return figures;
}

Figures OfWPipe(const AskedSchedule& a, double tf, double tb) {
  const int P = a.ranks, m = a.microbatches * a.updates;
  Figures figures{m * (tf + tb) + (P - 1) * (tf + tb) / 2, {}, {}, {}, {}};
  for (int s = 0; s < P; ++s) figures.live.push_back(std::min(2 * m, 2 * P - s));
  figures.versions.assign(static_cast<size_t>(P), 2);
  figures.versions.insert(figures.versions.end(), static_cast<size_t>(P), 1);
  return figures;
}

}  // namespace shardlab::grade
