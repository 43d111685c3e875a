#include "shardlab/plan/layout.hpp"

#include <array>
#include <sstream>
#include <utility>

#include <fmt/format.h>

#include "shardlab/plan/action.hpp"
#include "shardlab/plan/schedule_error.hpp"

namespace shardlab {

namespace {

constexpr std::array<std::pair<LayoutKind, std::string_view>, 4> kLayoutNames = {{
    {LayoutKind::kLinear, "linear"},
    {LayoutKind::kLooped, "looped"},
    {LayoutKind::kVee, "vee"},
    {LayoutKind::kBidirectional, "bidirectional"},
}};

constexpr int kMostChunks = 65536;

bool TakesChunks(LayoutKind kind) { return kind == LayoutKind::kLooped || kind == LayoutKind::kVee; }

}  // namespace

Layout::Layout(LayoutKind kind, int ranks, int chunks_per_rank)
    : kind_(kind), ranks_(ranks), chunks_per_rank_(chunks_per_rank) {
  if (ranks < 1) throw ScheduleError(fmt::format("a pipeline needs at least 1 stage, not {}", ranks));
  if (chunks_per_rank < 1) throw ScheduleError(fmt::format("a rank needs at least 1 chunk, not {}", chunks_per_rank));
  if (chunks_per_rank > kMostChunks / ranks) {
    throw ScheduleError(
        fmt::format("{} ranks with {} chunks each are more than {} chunks", ranks, chunks_per_rank, kMostChunks));
  }
  // Walk along the model: round k is the k-th visit to every rank.
  for (int round = 0; round < chunks_per_rank; ++round) {
    const bool backwards = round % 2 == 1 && kind != LayoutKind::kLooped;
    const bool new_replica = kind == LayoutKind::kBidirectional;
    for (int place = 0; place < ranks; ++place) {
      const int index = round * ranks + place;
      Chunk chunk;
      chunk.rank = backwards ? ranks - 1 - place : place;
      chunk.stage = new_replica ? place : index;
      chunk.replica = new_replica ? round : 0;
      const bool first = new_replica ? place == 0 : index == 0;
      const bool last = new_replica ? place == ranks - 1 : index == ranks * chunks_per_rank - 1;
      chunk.previous = first ? -1 : index - 1;
      chunk.next = last ? -1 : index + 1;
      chunks_.push_back(chunk);
    }
  }
}

Layout Layout::Linear(int ranks) { return Layout(LayoutKind::kLinear, ranks, 1); }
Layout Layout::Looped(int ranks, int chunks_per_rank) { return Layout(LayoutKind::kLooped, ranks, chunks_per_rank); }
Layout Layout::Vee(int ranks, int chunks_per_rank) { return Layout(LayoutKind::kVee, ranks, chunks_per_rank); }
Layout Layout::Bidirectional(int ranks) { return Layout(LayoutKind::kBidirectional, ranks, 2); }

std::vector<int> Layout::ChunksOf(int rank) const {
  std::vector<int> mine;
  if (rank < 0 || rank >= ranks_) return mine;
  for (int first = 0; first < chunks(); first += ranks_) {  // of each round
    const bool backwards = chunk(first).rank != 0;
    mine.push_back(first + (backwards ? ranks_ - 1 - rank : rank));
  }
  return mine;
}

std::vector<int> Layout::TwinsOf(int index) const {
  if (kind_ != LayoutKind::kBidirectional) return {};
  return {(index + ranks_) % (2 * ranks_)};
}

bool operator==(const Layout& a, const Layout& b) {
  return a.kind() == b.kind() && a.ranks() == b.ranks() && a.chunks_per_rank() == b.chunks_per_rank();
}

std::string ToString(const Layout& layout) {
  const std::string_view name = kLayoutNames.at(static_cast<size_t>(layout.kind())).second;
  if (TakesChunks(layout.kind())) return fmt::format("{} {} {}", name, layout.ranks(), layout.chunks_per_rank());
  return fmt::format("{} {}", name, layout.ranks());
}

Layout ParseLayout(std::string_view text) {
  std::istringstream words{std::string(text)};
  std::string name;
  std::string extra;
  int ranks = 0;
  int chunks = 0;
  words >> name;
  for (const auto& [kind, known] : kLayoutNames) {
    if (name != known || !(words >> ranks)) continue;
    if (TakesChunks(kind) && !(words >> chunks)) break;
    if (words >> extra) break;
    switch (kind) {
      case LayoutKind::kLinear:
        return Layout::Linear(ranks);
      case LayoutKind::kLooped:
        return Layout::Looped(ranks, chunks);
      case LayoutKind::kVee:
        return Layout::Vee(ranks, chunks);
      case LayoutKind::kBidirectional:
        return Layout::Bidirectional(ranks);
    }
  }
  throw ScheduleError(fmt::format(
      "{} is not a layout: write linear RANKS, looped RANKS CHUNKS, vee RANKS CHUNKS or bidirectional RANKS",
      Quoted(text)));
}

}  // namespace shardlab
