#include <map>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "draw_common.hpp"
#include "shardlab/pipeline/dependencies.hpp"
#include "shardlab/pipeline/draw.hpp"

namespace shardlab {

std::string ToChromeTrace(const Schedule& schedule, const Simulation& simulation, double microseconds) {
  using nlohmann::json;
  constexpr int kProcess = 1;
  json events = json::array();
  const auto name = [&](const char* what, int thread, json args) {
    events.push_back({{"ph", "M"}, {"pid", kProcess}, {"tid", thread}, {"name", what}, {"args", std::move(args)}});
  };
  name("process_name", 0, {{"name", fmt::format("{} ({})", schedule.name, DescribeSize(schedule))}});

  std::map<uint64_t, const Span*> spans;  // of computations, by key
  for (size_t rank = 0; rank < simulation.ranks.size(); ++rank) {
    const int thread = static_cast<int>(rank);
    name("thread_name", thread, {{"name", fmt::format("rank {}", rank)}});
    name("thread_sort_index", thread, {{"sort_index", thread}});
    for (const Span& span : simulation.ranks[rank]) {
      const Action& action = span.action;
      if (IsMessage(action.kind)) continue;
      spans[Key(action)] = &span;
      json args = {{"chunk", action.chunk}, {"stage", schedule.layout.chunk(action.chunk).stage}};
      if (HasMicrobatch(action.kind)) args["micro-batch"] = action.microbatch;
      args["weight version"] = action.version;
      events.push_back({{"ph", "X"},
                        {"pid", kProcess},
                        {"tid", thread},
                        {"name", ToString(action)},
                        {"cat", std::string(Name(action.kind))},
                        {"ts", span.begin * microseconds},
                        {"dur", (span.end - span.begin) * microseconds},
                        {"args", std::move(args)}});
    }
    for (const auto& [time, live] : LiveOverTime(schedule, simulation.ranks[rank])) {
      events.push_back({{"ph", "C"},
                        {"pid", kProcess},
                        {"tid", thread},
                        {"name", fmt::format("live on rank {}", rank)},
                        {"ts", time * microseconds},
                        {"args", {{"micro-batches", live}}}});
    }
  }

  // An arrow leaves from the middle of the computation that made the tensor, and arrives where it is computed with: a
  // viewer draws only arrows that touch a slice.
  const auto find = [&](const std::vector<Action>& any_of) -> const Span* {
    for (const Action& action : any_of) {
      if (const auto found = spans.find(Key(action)); found != spans.end()) return found->second;
    }
    return nullptr;
  };
  int arrow = 0;
  for (const MessageSpan& message : simulation.messages) {
    const Action receive = ReceiverOf(schedule.layout, message.send);
    const bool forward = message.send.kind == ActionKind::kSendForward;
    const Span* from = find(Dependencies(schedule.layout, message.send).front().any_of);
    const Span* to = forward ? find({Action::Forward(receive.chunk, receive.microbatch)})
                             : find({Action::Backward(receive.chunk, receive.microbatch),
                                     Action::BackwardInput(receive.chunk, receive.microbatch)});
    if (from == nullptr || to == nullptr) continue;
    const auto end = [&](const char* phase, int rank, double time) {
      events.push_back({{"ph", phase},
                        {"pid", kProcess},
                        {"tid", rank},
                        {"id", arrow},
                        {"name", ToString(message.send)},
                        {"cat", "message"},
                        {"ts", time * microseconds}});
      if (*phase == 'f') events.back()["bp"] = "e";
    };
    end("s", message.from, (from->begin + from->end) / 2);
    end("f", message.to, to->begin);
    ++arrow;
  }
  return json{{"traceEvents", std::move(events)}, {"displayTimeUnit", "ms"}}.dump() + "\n";
}

}  // namespace shardlab
