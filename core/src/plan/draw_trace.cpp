#include <map>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "draw_common.hpp"
#include "shardlab/plan/dependencies.hpp"
#include "shardlab/plan/draw.hpp"

namespace shardlab {

using nlohmann::json;

namespace {

// Of the names that chrome://tracing knows colours by; Perfetto has its own, one for each kind too.
const char* CatapultColour(ActionKind kind) {
  switch (kind) {
    case ActionKind::kForward:
      return "rail_response";  // blue
    case ActionKind::kBackward:
      return "rail_load";  // green
    case ActionKind::kBackwardInput:
      return "background_memory_dump";  // turquoise
    case ActionKind::kBackwardWeight:
      return "rail_idle";  // orange
    case ActionKind::kRecompute:
      return "startup";  // yellow
    default:
      return "generic_work";  // grey
  }
}

class PlanTraceWriter {
 public:
  explicit PlanTraceWriter(double microseconds) : microseconds_(microseconds) {}

  void Add(const TracedRun& run) {
    ++process_;
    spans_.clear();
    const Schedule& schedule = run.schedule;
    Label("process_name", process_,
          fmt::format("{}{}{} ({})", run.title, run.title.empty() ? "" : ": ", schedule.name, DescribeSize(schedule)));
    Sort("process_sort_index", process_, process_);
    for (size_t rank = 0; rank < run.simulation.ranks.size(); ++rank) {
      const int thread = Thread(static_cast<int>(rank));
      Label("thread_name", thread, fmt::format("rank {}", rank));
      Sort("thread_sort_index", thread, static_cast<int>(rank));
      for (const Span& span : run.simulation.ranks[rank]) {
        if (!IsMessage(span.action.kind)) Slice(schedule, span, thread);
      }
      for (const auto& [time, live] : LiveOverTime(schedule, run.simulation.ranks[rank])) {
        Put("C", thread, fmt::format("live on rank {}", rank), time, {{"args", {{"micro-batches", live}}}});
      }
    }
    for (const auto& [key, span] : spans_) Arrows(schedule, *span);
  }

  std::string Text() const { return json{{"traceEvents", events_}, {"displayTimeUnit", "ms"}}.dump() + "\n"; }

 private:
  // No thread has the number of its process: viewers put that one first, as the main thread.
  int Thread(int rank) const { return 1000 * process_ + rank; }

  void Put(const char* phase, int thread, const std::string& name, double time, const json& more) {
    json event = {{"ph", phase}, {"pid", process_}, {"tid", thread}, {"name", name}, {"ts", time * microseconds_}};
    event.update(more);
    events_.push_back(std::move(event));
  }
  void Label(const char* what, int thread, const std::string& name) {
    events_.push_back({{"ph", "M"}, {"pid", process_}, {"tid", thread}, {"name", what}, {"args", {{"name", name}}}});
  }
  void Sort(const char* what, int thread, int index) {
    events_.push_back(
        {{"ph", "M"}, {"pid", process_}, {"tid", thread}, {"name", what}, {"args", {{"sort_index", index}}}});
  }

  // What takes no time is a mark.
  void Slice(const Schedule& schedule, const Span& span, int thread) {
    const Action& action = span.action;
    json args = {{"chunk", action.chunk}, {"stage", schedule.layout.chunk(action.chunk).stage}};
    if (HasMicrobatch(action.kind)) args["micro-batch"] = action.microbatch;
    args["weight version"] = action.version;
    json more = {{"cat", std::string(Name(action.kind))}, {"args", std::move(args)}};
    if (span.end > span.begin) {
      spans_[Key(action)] = &span;
      more["dur"] = (span.end - span.begin) * microseconds_;
      more["cname"] = CatapultColour(action.kind);
      Put("X", thread, ToString(action), span.begin, more);
    } else {
      more["s"] = "t";
      Put("i", thread, ToString(action), span.begin, more);
    }
  }

  // An arrow leaves from the middle of the computation that made a tensor, and arrives where another rank computes with
  // it: a viewer draws only arrows that touch a slice.
  void Arrows(const Schedule& schedule, const Span& to) {
    for (const Dependency& need : Dependencies(schedule.layout, to.action)) {
      if (need.via != Via::kMessage) continue;
      for (const Action& option : need.any_of) {
        const auto from = spans_.find(Key(option));
        if (from == spans_.end()) continue;
        const std::string name = ToString(SendOf(schedule.layout, ReceiveOf(to.action)));
        const auto thread = [&](const Span* span) { return Thread(schedule.layout.chunk(span->action.chunk).rank); };
        json more = {{"cat", "message"}, {"id", ++arrow_}};
        Put("s", thread(from->second), name, (from->second->begin + from->second->end) / 2, more);
        more["bp"] = "e";
        Put("f", thread(&to), name, to.begin, more);
        break;
      }
    }
  }

  double microseconds_;
  json events_ = json::array();
  std::map<uint64_t, const Span*> spans_;  // of this run's actions that take time, by key
  int process_ = 0;
  int arrow_ = 0;
};

}  // namespace

std::string ToChromeTrace(const std::vector<TracedRun>& runs, double microseconds) {
  PlanTraceWriter writer(microseconds);
  for (const TracedRun& run : runs) writer.Add(run);
  return writer.Text();
}

std::string ToChromeTrace(const Schedule& schedule, const Simulation& simulation, double microseconds) {
  return ToChromeTrace({{"", schedule, simulation}}, microseconds);
}

}  // namespace shardlab
