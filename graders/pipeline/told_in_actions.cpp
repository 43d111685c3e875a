#include "told_in_actions.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "planned_schedule.hpp"
#include "shardlab/pipeline/link.hpp"
#include "shardlab/plan/dependencies.hpp"
#include "shardlab/plan/schedule_error.hpp"

// A link's tag says over which boundary a message goes, in which direction and of which micro-batch: that is its
// action. Where a rank is follows from it: at the RECV itself, if a SEND that stands between the RECV and the computation
// was never posted, otherwise at the computation.

namespace shardlab::grade {
namespace {

// The chunks on both sides of each channel that is a boundary, as ConnectChunks counts them.
std::vector<std::pair<int, int>> Boundaries(const Layout& layout) {
  std::vector<std::pair<int, int>> boundaries;
  for (int chunk = 0; chunk < layout.chunks(); ++chunk) {
    if (layout.chunk(chunk).next >= 0) boundaries.emplace_back(chunk, layout.chunk(chunk).next);
  }
  return boundaries;
}

// What a rank did since the step began in which it hangs.
struct Rank {
  std::string step;              // the mark of that step
  std::vector<Action> posted;    // messages, in order
  std::optional<Record> waits;   // in what it is blocked
  std::optional<Action> action;  // the message that this is
  int entry = -1;                // of `action` in the list
  int at = -1;                   // the entry that it is at
};

class Story {
 public:
  Story(const Layout& layout, const CaseOutcome& outcome)
      : layout_(layout), boundaries_(Boundaries(layout)), ranks_(outcome.ranks.size()) {
    for (const Event& event : outcome.events) {
      Rank& rank = ranks_[static_cast<size_t>(event.rank)];
      const Record& record = event.record;
      if (record.kind == RecordKind::kMark) {
        rank = Rank();
        rank.step = record.name;
      } else if (record.kind == RecordKind::kPost) {
        if (const auto action = ActionOf(record)) rank.posted.push_back(*action);
      } else if (record.kind == RecordKind::kBlock) {
        rank.waits = record;
      } else if (rank.waits && rank.waits->id == record.id) {
        rank.waits.reset();
      }
    }
    for (Rank& rank : ranks_) {
      if (rank.waits) rank.action = ActionOf(*rank.waits);
    }
  }

  // Finds everybody's place. False: this is not the story of a list.
  bool Place(const Schedule& schedule) {
    schedule_ = &schedule;
    for (size_t r = 0; r < ranks_.size(); ++r) {
      Rank& rank = ranks_[r];
      if (!rank.waits) continue;
      if (!rank.action) return false;
      rank.entry = rank.at = EntryOf(static_cast<int>(r), *rank.action);
      if (rank.entry < 0) return false;
      const auto& list = schedule.ranks[r];
      if (!IsReceive(rank.action->kind)) {
        // A send that waits for an earlier one to arrive: the last that was posted of its kind.
        for (const Action& posted : rank.posted) {
          if (posted.kind == rank.action->kind) rank.at = std::max(rank.at, EntryOf(static_cast<int>(r), posted));
        }
        continue;
      }
      for (int entry = rank.entry + 1; entry < static_cast<int>(list.size()); ++entry) {
        const Action& action = list[static_cast<size_t>(entry)];
        if (IsCompute(action.kind) && action.chunk == rank.action->chunk &&
            action.microbatch == rank.action->microbatch && ReceiveOf(action) == *rank.action) {
          rank.at = entry;
          break;
        }
        if (IsSend(action.kind) && !Posted(rank, action)) break;
      }
    }
    return true;
  }

  // "rank 0 is at 0RECV_B0, entry 2 of its list (engine.cpp:372), and waits for 1SEND_B0, entry 4 of rank 1's".
  std::string Place(int r) const {
    const Rank& rank = ranks_[static_cast<size_t>(r)];
    const auto& list = schedule_->ranks[static_cast<size_t>(r)];
    const std::string line =
        rank.waits->line > 0 ? fmt::format(" ({}:{})", rank.waits->name, rank.waits->line) : std::string();
    return fmt::format("rank {} is at {}, entry {} of its list{}, and waits for {}", r,
                       ToString(list[static_cast<size_t>(rank.at)]), rank.at, line, PartnerText(rank));
  }

  // The ranks that wait, beginning with the lowest, each followed by whom it waits for.
  std::vector<int> Chain() const {
    std::vector<int> chain;
    for (int r = 0; r < static_cast<int>(ranks_.size()); ++r) {
      if (!ranks_[static_cast<size_t>(r)].waits) continue;
      while (ranks_[static_cast<size_t>(r)].waits && std::count(chain.begin(), chain.end(), r) == 0) {
        chain.push_back(r);
        r = ranks_[static_cast<size_t>(r)].waits->peer;
      }
      // Only those of the cycle, if there is one.
      if (const auto again = std::find(chain.begin(), chain.end(), r); again != chain.end()) {
        chain.erase(chain.begin(), again);
      }
      return chain;
    }
    return chain;
  }

  std::string Advice(const std::vector<int>& chain) const {
    bool at_receive = false, at_send = false;
    for (const int r : chain) {
      const Rank& rank = ranks_[static_cast<size_t>(r)];
      const Action& at = schedule_->ranks[static_cast<size_t>(r)][static_cast<size_t>(rank.at)];
      at_receive = at_receive || IsReceive(at.kind);
      at_send = at_send || IsSend(at.kind);
    }
    if (at_receive) {
      return ": RECV only posts the receive (Link::Post, Link::PostGradients) and goes on; the computation that needs "
             "the message waits for it";
    }
    if (at_send) {
      return ": SEND only starts to send and goes on. A link keeps as many sends as SetWindow says; "
             "SendWindow(schedule) is the number that this schedule needs";
    }
    return "";
  }

  std::vector<ListMark> Marks() const {
    std::vector<ListMark> marks;
    for (int r = 0; r < static_cast<int>(ranks_.size()); ++r) {
      const Rank& rank = ranks_[static_cast<size_t>(r)];
      if (rank.waits) marks.push_back({r, rank.at, "waits for " + ToString(PartnerOf(*rank.action))});
    }
    return marks;
  }

  // The mark of the step in which all of them hang; "" where they are in several.
  std::string Step() const {
    std::string step;
    for (const Rank& rank : ranks_) {
      if (!rank.waits) continue;
      if (!step.empty() && step != rank.step) return "";
      step = rank.step;
    }
    return step;
  }

 private:
  // The SEND or RECV whose message a record is of.
  std::optional<Action> ActionOf(const Record& record) const {
    if (IsCollective(record.op)) return std::nullopt;
    const LinkMessage message = MessageOf(record.tag);
    if (message.channel >= static_cast<int>(boundaries_.size())) return std::nullopt;
    const auto [from, to] = boundaries_[static_cast<size_t>(message.channel)];
    const bool sends = record.op == OpKind::kSend;
    if (message.forward) {
      return sends ? Action{ActionKind::kSendForward, from, message.number}
                   : Action{ActionKind::kReceiveForward, to, message.number};
    }
    return sends ? Action{ActionKind::kSendBackward, to, message.number}
                 : Action{ActionKind::kReceiveBackward, from, message.number};
  }

  // The other end of a message.
  Action PartnerOf(const Action& action) const {
    return IsReceive(action.kind) ? SendOf(layout_, action) : ReceiverOf(layout_, action);
  }

  int EntryOf(int rank, const Action& action) const {
    const auto& list = schedule_->ranks[static_cast<size_t>(rank)];
    const auto found = std::find(list.begin(), list.end(), action);
    return found == list.end() ? -1 : static_cast<int>(found - list.begin());
  }

  static bool Posted(const Rank& rank, const Action& action) {
    return std::find(rank.posted.begin(), rank.posted.end(), action) != rank.posted.end();
  }

  // "1SEND_B0, entry 4 of rank 1's"; and where rank 1 is past it: what it has sent in its place.
  std::string PartnerText(const Rank& rank) const {
    const int peer = rank.waits->peer;
    const Action partner = PartnerOf(*rank.action);
    const int entry = EntryOf(peer, partner);
    std::string text = ToString(partner);
    if (entry < 0) return text + fmt::format(", which is not in rank {}'s list", peer);
    text += fmt::format(", entry {} of rank {}'s", entry, peer);
    const Rank& other = ranks_[static_cast<size_t>(peer)];
    if (!IsSend(partner.kind)) return text;
    std::optional<Action> last;
    for (const Action& posted : other.posted) {
      if (posted.kind == partner.kind && posted.chunk == partner.chunk && posted != partner) last = posted;
    }
    const bool past = !other.waits || other.step != rank.step || other.at > entry;
    if (last && (past || EntryOf(peer, *last) > entry)) {
      text += fmt::format("; rank {} is past it, and has sent {} last", peer, ToString(*last));
    } else if (past) {
      text += fmt::format("; rank {} is past it, and has sent nothing this way", peer);
    }
    return text;
  }

  const Layout& layout_;
  const std::vector<std::pair<int, int>> boundaries_;
  std::vector<Rank> ranks_;
  const Schedule* schedule_ = nullptr;
};

}  // namespace

std::string DeadlockInActions(PlainCase& t, const TrainingPlan& plan, const CaseOutcome& outcome) {
  const Layout layout = plan.MakeLayout();
  if (outcome.ranks.size() != static_cast<size_t>(layout.ranks())) return "";
  Story story(layout, outcome);
  const std::string step = story.Step();
  if (step.rfind("step ", 0) != 0) return "";
  const auto schedule = AskComplete(t, plan, static_cast<size_t>(std::stoi(step.substr(5))));
  if (!schedule || !story.Place(*schedule)) return "";
  const std::vector<int> chain = story.Chain();
  std::vector<std::string> places;
  for (const int rank : chain) places.push_back(story.Place(rank));
  if (places.empty()) return "";
  return fmt::format("{}{}\n{}", fmt::join(places, "; "), story.Advice(chain), ErrorTable(*schedule, story.Marks()));
}

}  // namespace shardlab::grade
