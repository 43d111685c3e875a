#pragma once

#include <string>
#include <string_view>
#include <vector>

/// \file
/// Where the pieces of a model live.
///
/// A *stage* is a run of consecutive layers. A *chunk* is one copy of a stage on one rank. How chunks follow each
/// other, and on which ranks they are, is said here and nowhere else: everything that asks "who sends to whom" asks the
/// layout.
///
///     linear 3          looped 3 2            vee 3               bidirectional 3
///
///     rank 0   0        rank 0   0  3         rank 0   0  5       rank 0   0  5     chunks 0 1 2: replica 0
///     rank 1   1        rank 1   1  4         rank 1   1  4       rank 1   1  4     chunks 3 4 5: replica 1,
///     rank 2   2        rank 2   2  5         rank 2   2  3       rank 2   2  3     stages 0 1 2 on ranks 2 1 0
///
/// Linear: one chunk a rank. Looped: after the last rank comes the first again. Vee: after the last rank comes the last
/// again, and back. Bidirectional: two replicas of the model, the second in mirrored rank order (GEMS), so that a rank
/// holds stage r and stage P-1-r.

namespace shardlab {

/// One copy of one stage.
struct Chunk {
  /// Who holds it.
  int rank = 0;
  /// The chunk whose output is this one's input; -1 for the first.
  int previous = -1;
  /// The chunk that this one's output goes to; -1 for the last.
  int next = -1;
  /// Which part of the model, from 0.
  int stage = 0;
  /// Which copy of the model: 0, or 1 for the second half of a bidirectional layout.
  int replica = 0;
};

/// The four layouts of the figure.
enum class LayoutKind { kLinear, kLooped, kVee, kBidirectional };

/// The chunks of a pipeline and their ranks. Immutable.
class Layout {
 public:
  /// \name The layouts of the figure
  /// \throws ScheduleError unless there is at least one rank and one chunk a rank, and at most 65536 chunks.
  ///@{

  /// One chunk a rank.
  static Layout Linear(int ranks);
  /// After the last rank comes the first again.
  static Layout Looped(int ranks, int chunks_per_rank);
  /// After the last rank comes the last again, and back.
  static Layout Vee(int ranks, int chunks_per_rank = 2);
  /// Two replicas, the second in mirrored rank order.
  static Layout Bidirectional(int ranks);
  ///@}

  /// Which of the four.
  LayoutKind kind() const { return kind_; }
  /// How many ranks.
  int ranks() const { return ranks_; }
  /// How many chunks each rank holds.
  int chunks_per_rank() const { return chunks_per_rank_; }
  /// How many chunks there are in all.
  int chunks() const { return static_cast<int>(chunks_.size()); }
  /// Into how many parts the model is cut: the number of chunks, or half of it when there are two replicas.
  int stages() const { return kind_ == LayoutKind::kBidirectional ? ranks_ : chunks(); }
  /// How many copies of the model.
  int replicas() const { return kind_ == LayoutKind::kBidirectional ? 2 : 1; }

  /// Chunk `index`, which exists.
  const Chunk& chunk(int index) const { return chunks_.at(static_cast<size_t>(index)); }
  /// Whether there is a chunk `index`.
  bool Has(int index) const { return index >= 0 && index < chunks(); }
  /// The chunks on a rank, in ascending order.
  std::vector<int> ChunksOf(int rank) const;
  /// The other chunks that hold the same weights: the mirrored one of a bidirectional layout, otherwise none.
  std::vector<int> TwinsOf(int chunk) const;

 private:
  Layout(LayoutKind kind, int ranks, int chunks_per_rank);

  LayoutKind kind_;
  int ranks_;
  int chunks_per_rank_;
  std::vector<Chunk> chunks_;
};

bool operator==(const Layout& a, const Layout& b);
inline bool operator!=(const Layout& a, const Layout& b) { return !(a == b); }

/// "linear 4", "looped 4 2", "vee 4 2", "bidirectional 4".
std::string ToString(const Layout& layout);

/// The layout that `text` prints.
/// \throws ScheduleError when it is none.
Layout ParseLayout(std::string_view text);

}  // namespace shardlab
