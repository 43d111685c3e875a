#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "shardlab/report/timeline.hpp"

namespace shardlab {

using nlohmann::json;

namespace {

// Process 0 is the idle process to Perfetto, and a thread whose number is its process's is the main one.
int ProcessOf(int rank) { return rank + 1; }
int ThreadOf(int rank, int thread) { return thread == 0 ? ProcessOf(rank) : 1000 * ProcessOf(rank) + thread; }

/// How long a post is drawn: its own time is not known, and an arrow needs something to begin at.
constexpr double kPostMicroseconds = 1;

class TraceWriter {
 public:
  explicit TraceWriter(const std::string& name) : name_(name) {}

  void Add(const Timeline& run, double offset_us) {
    offset_us_ = offset_us;
    for (size_t r = 0; r < run.ranks.size(); ++r) Rank(run.ranks[r], static_cast<int>(r));
    for (const TimelineSpan& span : run.spans) Span(span, run.end_us);
    for (const TimelineMessage& message : run.messages) Message(run.spans[message.send], run.spans[message.receive]);
    for (const TimelineMark& mark : run.marks) {
      Put("i", mark.rank, mark.thread, mark.name, mark.time_us, {{"cat", "mark"}, {"s", "t"}});
    }
  }

  std::string Text() const {
    const json all = {{"traceEvents", events_}, {"displayTimeUnit", "ms"}};
    return all.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  }

 private:
  void Put(const char* phase, int rank, int thread, const std::string& name, double time_us, const json& more) {
    json event = {{"ph", phase},
                  {"pid", ProcessOf(rank)},
                  {"tid", ThreadOf(rank, thread)},
                  {"name", name},
                  {"ts", time_us + offset_us_}};
    event.update(more);
    events_.push_back(std::move(event));
  }

  void Metadata(const char* what, int rank, int thread, const json& arguments) {
    if (!described_.insert(fmt::format("{} {} {}", what, rank, thread)).second) return;
    events_.push_back(
        {{"ph", "M"}, {"pid", ProcessOf(rank)}, {"tid", ThreadOf(rank, thread)}, {"name", what}, {"args", arguments}});
  }

  void Rank(const TimelineRank& rank, int number) {
    Metadata("process_name", number, 0, {{"name", fmt::format("rank {} of {}", number, name_)}});
    Metadata("process_sort_index", number, 0, {{"sort_index", number}});
    for (int thread = 0; thread < rank.threads; ++thread) {
      const std::string name = thread == 0 ? "main thread" : fmt::format("helper thread {}", thread);
      Metadata("thread_name", number, thread, {{"name", name}});
    }
    if (rank.first_us < 0) return;
    json more = {{"cat", "body"}, {"dur", rank.last_us - rank.first_us}, {"args", {{"status", Name(rank.status)}}}};
    if (!rank.message.empty()) more["args"]["message"] = rank.message;
    Put("X", number, 0, rank.returned ? "body" : "body, which did not return", rank.first_us, more);
  }

  void Span(const TimelineSpan& span, double run_end_us) {
    const double end_us = span.ended() ? span.ended_us : run_end_us;
    json arguments = {{"what", span.what}};
    if (!span.ended()) arguments["ended"] = span.waits() ? "never" : "nobody waited for it";
    if (span.failed) arguments["ended"] = "with an error";
    if (span.asynchronous || !span.waits()) {
      const json more = {{"cat", "in flight"}, {"id", ++asynchronous_}, {"args", arguments}};
      Put("X", span.rank, span.thread, fmt::format("post {}", Title(span)), span.posted_us,
          {{"cat", "post"}, {"dur", std::min(kPostMicroseconds, end_us - span.posted_us)}, {"args", arguments}});
      Put("b", span.rank, span.thread, Title(span), span.posted_us, more);
      Put("e", span.rank, span.thread, Title(span), end_us, {{"cat", "in flight"}, {"id", asynchronous_}});
    }
    if (!span.waits()) return;
    Put("X", span.rank, span.waiting_thread, Title(span), span.blocked_us,
        {{"cat", IsCollective(span.op) ? "collective" : "message"},
         {"dur", std::max(0.0, end_us - span.blocked_us)},
         {"args", std::move(arguments)}});
  }

  static std::string Title(const TimelineSpan& span) {
    if (IsCollective(span.op)) return Name(span.op);
    return fmt::format("{} {} {}", Name(span.op), span.op == OpKind::kSend ? "to" : "from", span.peer);
  }

  /// An arrow from where the message was handed over to the end of the wait for it.
  void Message(const TimelineSpan& send, const TimelineSpan& receive) {
    if (!receive.ended()) return;
    ++arrow_;
    const bool from_post = send.asynchronous || !send.waits();
    Put("s", send.rank, from_post ? send.thread : send.waiting_thread, "message",
        from_post ? send.posted_us : send.blocked_us, {{"cat", "message"}, {"id", arrow_}});
    // A nanosecond before the end, so that it lies inside the slice.
    Put("f", receive.rank, receive.waiting_thread, "message", receive.ended_us - 1e-3,
        {{"cat", "message"}, {"id", arrow_}, {"bp", "e"}});
  }

  std::string name_;
  json events_ = json::array();
  std::set<std::string> described_;
  double offset_us_ = 0;
  int asynchronous_ = 0;
  int arrow_ = 0;
};

}  // namespace

std::string ToChromeTrace(const std::vector<Timeline>& runs, const std::string& name) {
  TraceWriter writer(name);
  double offset_us = 0;
  for (const Timeline& run : runs) {
    writer.Add(run, offset_us);
    offset_us += run.end_us + 1000;  // apart, so that they are seen to be two
  }
  return writer.Text();
}

}  // namespace shardlab
