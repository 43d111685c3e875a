#include "random_programs.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <tuple>

#include <ATen/ATen.h>
#include <fmt/format.h>

namespace shardlab::test {
namespace {

bool IsMember(int group, int rank) { return group == 0 || rank < 2; }
std::vector<int> Members(const Program& program, int group) {
  std::vector<int> members;
  for (int rank = 0; rank < static_cast<int>(program.size()); ++rank) {
    if (IsMember(group, rank)) members.push_back(rank);
  }
  return members;
}

// The state of one program under way: who has posted what.
struct Machine {
  struct Posted {
    int rank = 0;
    Line line{Line::kWait};  // until something is posted here
    int64_t clock = 0;
    size_t index = 0;
    bool waited = false;
    uint64_t id = 0;
  };
  using Key = std::tuple<int, int, int, int>;  // group, from, to, tag

  const Program& program;
  std::vector<std::vector<Posted>> lines;  // by rank and line
  std::map<Key, std::vector<std::pair<int, size_t>>> sends, recvs;
  std::map<std::pair<int, size_t>, std::vector<std::pair<int, size_t>>> calls;  // group and number
  std::map<std::pair<int, int>, size_t> calls_of;                               // group and rank
  std::vector<size_t> next;

  explicit Machine(const Program& p) : program(p), lines(p.size()), next(p.size(), 0) {}

  Key KeyOf(const Posted& posted) const {
    const bool send = posted.line.kind == Line::kSend;
    return {posted.line.group, send ? posted.rank : posted.line.peer, send ? posted.line.peer : posted.rank,
            posted.line.tag};
  }

  void Post(int rank) {
    const size_t number = next[size_t(rank)];
    Posted posted{rank, program[size_t(rank)][number], 0, 0, false, 0};
    const std::pair<int, size_t> self{rank, number};
    if (posted.line.kind == Line::kCollective) {
      posted.index = calls_of[{posted.line.group, rank}]++;
      calls[{posted.line.group, posted.index}].push_back(self);
    } else {
      auto& side = (posted.line.kind == Line::kSend ? sends : recvs)[KeyOf(posted)];
      posted.index = side.size();
      side.push_back(self);
    }
    lines[size_t(rank)].resize(number + 1);
    lines[size_t(rank)][number] = posted;
  }

  Posted& At(std::pair<int, size_t> where) { return lines[size_t(where.first)][where.second]; }

  // The round of an operation: one after the sender's, or the last rank's, clock; -1: some side is missing.
  int64_t Round(const Posted& posted) {
    if (posted.line.kind == Line::kCollective) {
      const auto& sides = calls[{posted.line.group, posted.index}];
      if (sides.size() < Members(program, posted.line.group).size()) return -1;
      int64_t latest = 0;
      for (const auto& side : sides) latest = std::max(latest, At(side).clock);
      return latest + 1;
    }
    const bool send = posted.line.kind == Line::kSend;
    const auto& others = (send ? recvs : sends)[KeyOf(posted)];
    if (others.size() <= posted.index) return -1;
    return (send ? posted.clock : At(others[posted.index]).clock) + 1;
  }
};

bool Fits(const Line& a, const Line& b) {
  if (a.kind != Line::kCollective) return a.size == b.size;
  if (a.op != b.op) return false;
  if (a.op == OpKind::kBarrier) return true;
  if (a.op == OpKind::kBroadcast && a.peer != b.peer) return false;
  return a.size == b.size;
}

}  // namespace

std::string Text(const Program& program) {
  std::string text;
  for (size_t rank = 0; rank < program.size(); ++rank) {
    text += fmt::format("rank {}:", rank);
    for (size_t i = 0; i < program[rank].size(); ++i) {
      const Line& line = program[rank][i];
      switch (line.kind) {
        case Line::kSend:
          text += fmt::format(" {}:send({}, tag {}, group {}, {})", i, line.peer, line.tag, line.group, line.size);
          break;
        case Line::kRecv:
          text += fmt::format(" {}:recv({}, tag {}, group {}, {})", i, line.peer, line.tag, line.group, line.size);
          break;
        case Line::kCollective:
          text += fmt::format(" {}:{}(group {}, {}, root {})", i, Name(line.op), line.group, line.size, line.peer);
          break;
        case Line::kWait:
          text += fmt::format(" wait({})", line.waits_for);
          break;
      }
    }
    text += '\n';
  }
  return text;
}

Program RandomProgram(std::mt19937& random, const Mischief& mischief) {
  const auto draw = [&](int bound) { return static_cast<int>(random() % static_cast<unsigned>(bound)); };
  const int ranks = 2 + draw(3);
  Program started(static_cast<size_t>(ranks));
  const int operations = 3 + draw(12);
  for (int i = 0; i < operations; ++i) {
    Line line;
    line.size = 1 + draw(3);
    if (draw(4) == 0) {
      line.kind = Line::kCollective;
      line.group = draw(2);
      const OpKind kinds[] = {OpKind::kAllReduce, OpKind::kBroadcast, OpKind::kBarrier};
      line.op = kinds[draw(3)];
      line.peer = line.op == OpKind::kBroadcast ? draw(2) : 0;
      for (int rank = 0; rank < ranks; ++rank) {
        if (!IsMember(line.group, rank)) continue;
        Line mine = line;
        if (mischief.wrong && draw(25) == 0) mine.size += 1;
        if (mischief.wrong && draw(25) == 0) mine.op = kinds[draw(3)];
        if (mischief.wrong && draw(25) == 0 && mine.op == OpKind::kBroadcast) mine.peer = 1 - mine.peer;
        if (mine.op != OpKind::kBroadcast) mine.peer = 0;
        if (!mischief.losses || draw(25) != 0) started[size_t(rank)].push_back(mine);
      }
      continue;
    }
    const int from = draw(ranks);
    const int to = (from + 1 + draw(ranks - 1)) % ranks;
    line.tag = draw(2);
    line.group = IsMember(1, from) && IsMember(1, to) ? draw(2) : 0;
    Line send = line, recv = line;
    send.kind = Line::kSend;
    send.peer = to;
    recv.kind = Line::kRecv;
    recv.peer = from;
    if (mischief.wrong && draw(20) == 0) recv.size += 1;
    if (mischief.losses && draw(20) == 0) recv.tag += 1;
    if (!mischief.losses || draw(20) != 0) started[size_t(from)].push_back(send);
    if (!mischief.losses || draw(20) != 0) started[size_t(to)].push_back(recv);
  }

  Program program(static_cast<size_t>(ranks));
  for (size_t rank = 0; rank < started.size(); ++rank) {
    auto& lines = started[rank];
    for (size_t i = 0; mischief.order && i + 1 < lines.size(); ++i) {
      if (draw(3) == 0) std::swap(lines[i], lines[i + 1]);
    }
    // Waits, at random places after their starts. Without mischief all of them come at the end, so that it comes
    // through.
    std::vector<int> pending;
    const auto wait_for_one = [&] {
      const auto which = pending.begin() + draw(static_cast<int>(pending.size()));
      Line wait;
      wait.kind = Line::kWait;
      wait.waits_for = *which;
      if (!mischief.forgotten || draw(10) != 0) program[rank].push_back(wait);
      pending.erase(which);
    };
    for (const Line& line : lines) {
      pending.push_back(static_cast<int>(program[rank].size()));
      program[rank].push_back(line);
      while (mischief.order && !pending.empty() && draw(3) == 0) wait_for_one();
    }
    while (!pending.empty()) wait_for_one();
  }
  return program;
}

std::string Truth::Text() const {
  return fmt::format("deadlock {}, mismatch {}, leftover {}", deadlock, mismatch, leftover);
}

Truth Simulate(const Program& program) {
  Machine machine(program);
  Truth truth;
  truth.stuck.resize(program.size());
  truth.rounds.resize(program.size());
  for (bool moved = true; moved;) {
    moved = false;
    for (size_t rank = 0; rank < program.size(); ++rank) {
      size_t& next = machine.next[rank];
      while (next < program[rank].size()) {
        const Line& line = program[rank][next];
        if (line.kind == Line::kWait) {
          auto& waited = machine.lines[rank][static_cast<size_t>(line.waits_for)];
          if (machine.Round(waited) < 0) break;
          waited.waited = true;
        } else {
          machine.Post(static_cast<int>(rank));
        }
        ++next;
        moved = true;
      }
    }
  }
  // Rounds: clocks only grow, so going through all ranks until nothing changes finds them.
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t rank = 0; rank < program.size(); ++rank) {
      int64_t clock = 0;
      for (size_t i = 0; i < machine.next[rank]; ++i) {
        const Line& line = program[rank][i];
        if (line.kind == Line::kWait) {
          clock = std::max(clock, machine.Round(machine.lines[rank][static_cast<size_t>(line.waits_for)]));
        } else {
          changed = changed || machine.lines[rank][i].clock != clock;
          machine.lines[rank][i].clock = clock;
        }
      }
    }
  }
  for (size_t rank = 0; rank < program.size(); ++rank) {
    truth.stuck[rank] = machine.next[rank] < program[rank].size();
    truth.deadlock = truth.deadlock || truth.stuck[rank];
    for (auto& posted : machine.lines[rank]) {
      if (posted.line.kind == Line::kWait) continue;
      const int64_t round = machine.Round(posted);
      truth.rounds[rank] = std::max(truth.rounds[rank], round);
      truth.leftover = truth.leftover || round < 0 || !posted.waited;
    }
  }
  truth.leftover = truth.leftover && !truth.deadlock;
  for (const auto& [key, sends] : machine.sends) {
    const auto& recvs = machine.recvs[key];
    for (size_t k = 0; k < std::min(sends.size(), recvs.size()); ++k) {
      truth.mismatch = truth.mismatch || !Fits(machine.At(sends[k]).line, machine.At(recvs[k]).line);
    }
  }
  for (const auto& [key, sides] : machine.calls) {
    for (const auto& side : sides) {
      truth.mismatch = truth.mismatch || !Fits(machine.At(sides[0]).line, machine.At(side).line);
    }
  }
  return truth;
}

std::string AskMatcher(const Program& program, const Truth& truth, std::mt19937& random) {
  const int ranks = static_cast<int>(program.size());
  Machine machine(program);
  std::vector<std::deque<Record>> pipes(program.size());
  std::vector<bool> blocked(program.size(), false), returned(program.size(), false);
  std::vector<uint64_t> ids(program.size(), 0);
  for (int rank = 0; rank < 2; ++rank) {
    Record group;
    group.kind = RecordKind::kGroup;
    group.group = 1;
    group.members[0] = 3;
    pipes[size_t(rank)].push_back(group);
  }

  // One turn of a rank: one record, or nothing when it cannot move.
  const auto turn = [&](size_t rank) {
    size_t& next = machine.next[rank];
    if (returned[rank]) return false;
    Record record;
    if (next == program[rank].size()) {
      record.kind = RecordKind::kReturn;
      returned[rank] = true;
      pipes[rank].push_back(record);
      return true;
    }
    const Line& line = program[rank][next];
    if (line.kind == Line::kWait) {
      auto& waited = machine.lines[rank][static_cast<size_t>(line.waits_for)];
      record.id = waited.id;
      if (!blocked[rank]) {
        record.kind = RecordKind::kBlock;
        blocked[rank] = true;
      } else if (machine.Round(waited) >= 0) {
        record.kind = RecordKind::kUnblock;
        blocked[rank] = false;
        ++next;
      } else {
        return false;
      }
      pipes[rank].push_back(record);
      return true;
    }
    record.kind = RecordKind::kPost;
    record.id = ++ids[rank];
    record.group = static_cast<uint64_t>(line.group);
    record.group_rank = static_cast<int32_t>(rank);
    record.tag = line.tag;
    record.dims = 1;
    record.shape[0] = line.size;
    record.op = line.kind == Line::kSend ? OpKind::kSend : line.kind == Line::kRecv ? OpKind::kRecv : line.op;
    if (line.kind != Line::kCollective || line.op == OpKind::kBroadcast) record.peer = line.peer;
    (line.kind == Line::kRecv ? record.bytes_received : record.bytes_sent) = 4 * line.size;
    pipes[rank].push_back(record);
    machine.Post(static_cast<int>(rank));
    machine.lines[rank][next].id = record.id;
    ++next;
    return true;
  };

  Matcher matcher(ranks);
  const auto read_some = [&](size_t rank, size_t most) {
    while (most-- > 0 && !pipes[rank].empty()) {
      matcher.Feed(static_cast<int>(rank), pipes[rank].front());
      pipes[rank].pop_front();
    }
  };
  for (bool moved = true; moved;) {
    moved = false;
    for (int i = 0; i < 4 * ranks; ++i) {
      moved = turn(random() % program.size()) || moved;
      if (random() % 3 == 0) read_some(random() % program.size(), random() % 5);
      if (random() % 4 == 0) {
        const Verdict verdict = matcher.Check();
        if (verdict.kind == VerdictKind::kMismatch && !truth.mismatch)
          return "a mismatch that is none: " + verdict.Text();
        if (verdict.kind != VerdictKind::kDeadlock) continue;
        if (!truth.deadlock) return "a deadlock that is none: " + verdict.Text();
      }
    }
    if (moved) continue;
    for (size_t rank = 0; rank < program.size(); ++rank) moved = turn(rank) || moved;
  }
  for (size_t rank = 0; rank < program.size(); ++rank) read_some(rank, pipes[rank].size());

  const Verdict verdict = matcher.Finish();
  const VerdictKind expected = truth.mismatch   ? VerdictKind::kMismatch
                               : truth.deadlock ? VerdictKind::kDeadlock
                               : truth.leftover ? VerdictKind::kLeftover
                                                : VerdictKind::kNone;
  if (verdict.kind != expected) {
    return fmt::format("verdict {} where {} is right: {}", int(verdict.kind), int(expected), verdict.Text());
  }
  for (int rank = 0; rank < ranks; ++rank) {
    if (verdict.kind == VerdictKind::kDeadlock &&
        (verdict.ranks[size_t(rank)].kind == RankState::Kind::kBlocked) != truth.stuck[size_t(rank)]) {
      return fmt::format("rank {} is named wrongly: {}", rank, verdict.Text());
    }
    const int64_t rounds = matcher.Statistics(rank).rounds;
    if (rounds != truth.rounds[size_t(rank)]) {
      return fmt::format("rank {}: {} rounds, {} is right", rank, rounds, truth.rounds[size_t(rank)]);
    }
  }
  return "";
}

void RunRank(const Program& program, Communicator& comm) {
  const auto pair = comm.Subgroup({0, 1}, "pair");
  const auto& lines = program[static_cast<size_t>(comm.rank())];
  std::vector<std::unique_ptr<Work>> works(lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    const Line& line = lines[i];
    Communicator& through = line.group == 0 ? comm : *pair;
    // All-reduces stand for every collective: Gloo's broadcast lets some ranks go on before others have called it, so
    // that what a wrong program does depends on luck. A barrier has no size.
    const bool barrier = line.kind == Line::kCollective && line.op == OpKind::kBarrier;
    const at::Tensor tensor = at::ones({barrier ? 1 : line.size});
    switch (line.kind) {
      case Line::kSend:
        works[i] = through.ISend(tensor, line.peer, line.tag);
        break;
      case Line::kRecv:
        works[i] = through.IRecv(tensor, line.peer, line.tag);
        break;
      case Line::kWait:
        works[static_cast<size_t>(line.waits_for)]->Wait();
        break;
      case Line::kCollective:
        works[i] = through.IAllReduce(tensor);
        break;
    }
  }
}

}  // namespace shardlab::test
