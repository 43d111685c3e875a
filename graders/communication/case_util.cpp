#include "case_util.hpp"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "result_flaw.hpp"

namespace shardlab::grade {

Calls::Calls(const std::string& body, bool point_to_point_only) {
  spec.body = body;
  spec.params["calls"] = nlohmann::json::array();
  spec.point_to_point_only = point_to_point_only;
}

int Calls::Add(const std::string& what, const std::vector<at::Tensor>& inputs, nlohmann::json params) {
  const int number = static_cast<int>(what_.size());
  if (params.is_null()) params = nlohmann::json::object();
  params["what"] = what;
  spec.params["calls"].push_back(std::move(params));
  spec.inputs["x" + std::to_string(number)] = inputs;
  what_.push_back(what);
  inputs_.push_back(inputs);
  labels_.emplace_back();
  return number;
}

void Calls::Explain(int i, std::function<Label(int rank)> label) { labels_[i] = std::move(label); }

void Calls::Expect(CaseContext& t, const Run& run, int i, int rank, const at::Tensor& expected,
                   const std::vector<at::Tensor>& of_ranks) const {
  const std::string number = std::to_string(i);
  const std::string here = "rank " + std::to_string(rank) + ", with " + what_[i];
  if (expected.defined()) {
    Label label = labels_[i] ? labels_[i](rank) : Label{};
    label.what = "the result with " + what_[i];
    if (label.of_ranks.empty()) label.of_ranks = of_ranks;
    t.ExpectEqual(run, rank, "y" + number, expected, label);
    const double flaw = run.Number(rank, "flaw" + number);
    t.Expect(flaw != kNotContiguous, here + ": the result is not contiguous; .contiguous() makes it so");
    t.Expect(flaw != kSharesInput,
             here +
                 ": the result shares memory with the input; it must be a new tensor, so that whoever changes one "
                 "of them does not change the other");
  } else {
    t.Expect(!run.Output(rank, "y" + number).defined(),
             here + ": this rank is not the root and returns an undefined tensor, at::Tensor()");
  }
  Label untouched{"the input after the call (it must be left as it is) with " + what_[i]};
  untouched.hypotheses = {{"the result is written into the input", [&] { return run.Output(rank, "y" + number); }}};
  t.ExpectEqual(run, rank, "after" + number, inputs_[i][rank], untouched);
}

void Calls::Expect(CaseContext& t, const Run& run, int i, const std::vector<at::Tensor>& expected) const {
  const auto defined = [](const at::Tensor& tensor) { return tensor.defined(); };
  const auto root = std::find_if(expected.begin(), expected.end(), defined) - expected.begin();
  if (expected.size() > 1 && std::count_if(expected.begin(), expected.end(), defined) == 1) {
    for (int rank = 0; rank < static_cast<int>(expected.size()); ++rank) {
      const at::Tensor got = run.Output(rank, "y" + std::to_string(i));
      const bool in_its_place = rank != root && got.defined() && got.sizes() == expected[root].sizes() &&
                                got.scalar_type() == expected[root].scalar_type() && got.equal(expected[root]);
      t.Expect(!in_its_place || run.Output(static_cast<int>(root), "y" + std::to_string(i)).defined(),
               "with " + what_[i] + ": rank " + std::to_string(rank) + " returns what the root should, and rank " +
                   std::to_string(root) + " nothing\n  this is what you get when the root is ignored");
    }
  }
  const bool same_everywhere = expected.size() > 1 && expected[0].is_same(expected[1]);
  for (size_t rank = 0; rank < expected.size(); ++rank) {
    Expect(t, run, i, static_cast<int>(rank), expected[rank], same_everywhere ? std::vector<at::Tensor>() : expected);
  }
}

at::Tensor SumOf(const std::vector<at::Tensor>& tensors) {
  at::Tensor sum = tensors[0].clone();
  for (size_t i = 1; i < tensors.size(); ++i) sum.add_(tensors[i]);
  return sum;
}

std::vector<Hypothesis> AverageMistakes(const std::vector<at::Tensor>& gradients, int rank, const std::string& alone) {
  const auto ranks = static_cast<double>(gradients.size());
  return {
      {alone + ": it is rank " + std::to_string(rank) + "'s own gradient", [=] { return gradients[rank]; }},
      {"the gradients are added up, and not divided by the number of ranks", [=] { return SumOf(gradients); }},
      {"the gradients are divided by the number of ranks twice", [=] { return SumOf(gradients) / (ranks * ranks); }},
      {"this rank's gradient is divided by the number of ranks, and the others' are never added",
       [=] { return gradients[rank] / ranks; }}};
}

at::Tensor RowsOf(const at::Tensor& whole, const std::vector<int64_t>& rows, int rank) {
  int64_t begin = 0;
  for (int r = 0; r < rank; ++r) begin += rows[r];
  return whole.narrow(0, begin, rows[rank]).contiguous();
}

std::string DtypeName(at::ScalarType dtype) {
  switch (dtype) {
    case at::kBool:
      return "bool";
    case at::kByte:
      return "uint8";
    case at::kInt:
      return "int32";
    case at::kLong:
      return "int64";
    case at::kHalf:
      return "float16";
    case at::kFloat:
      return "float32";
    case at::kDouble:
      return "float64";
    default:
      return c10::toString(dtype);
  }
}

int64_t CeilLog2(int64_t n) {
  int64_t steps = 0;
  while ((int64_t{1} << steps) < n) ++steps;
  return steps;
}

namespace {

/// One message and what had to come before it.
struct Message {
  std::vector<int> before;  ///< messages that its sender had received, its sender's last one, its receiver's last one
  int64_t step = -1;        ///< -1: not known yet, 0: being worked out
};

int64_t StepOf(std::vector<Message>& messages, int index) {
  Message& message = messages[index];
  if (message.step >= 0) return message.step;  // 0 only within a circle of messages, which cannot take part
  message.step = 0;
  int64_t step = 1;
  for (int before : message.before) step = std::max(step, StepOf(messages, before) + 1);
  return messages[index].step = step;
}

}  // namespace

int64_t OneAtATimeSteps(const CaseOutcome& outcome) {
  using Link = std::tuple<int, int, int>;  // from, to, tag: messages on a link are received in order
  std::vector<Message> messages;
  std::map<Link, std::vector<int>> sent;                                // messages by link
  std::map<Link, size_t> receives;                                      // posted so far
  std::map<std::pair<int, uint64_t>, std::pair<Link, size_t>> pending;  // (rank, operation) -> the receive it is
  std::map<int, std::vector<int>> received;                             // by rank, in the order of completion
  std::map<int, int> last_sent;

  for (const Event& event : outcome.events) {
    const Record& record = event.record;
    if (record.kind == RecordKind::kPost && record.op == OpKind::kSend) {
      const int index = static_cast<int>(messages.size());
      messages.push_back({received[event.rank], -1});
      if (last_sent.count(event.rank)) messages.back().before.push_back(last_sent[event.rank]);
      last_sent[event.rank] = index;
      sent[{event.rank, record.peer, record.tag}].push_back(index);
    } else if (record.kind == RecordKind::kPost && record.op == OpKind::kRecv) {
      const Link link{record.peer, event.rank, record.tag};
      pending[{event.rank, record.id}] = {link, receives[link]++};
    } else if (record.kind == RecordKind::kUnblock) {
      const auto receive = pending.find({event.rank, record.id});
      if (receive == pending.end()) continue;
      const auto& [link, position] = receive->second;
      if (position >= sent[link].size()) continue;
      const int index = sent[link][position];
      auto& arrived = received[event.rank];
      if (!arrived.empty()) messages[index].before.push_back(arrived.back());
      arrived.push_back(index);
      pending.erase(receive);
    }
  }

  int64_t steps = 0;
  for (size_t i = 0; i < messages.size(); ++i) steps = std::max(steps, StepOf(messages, static_cast<int>(i)));
  return steps;
}

}  // namespace shardlab::grade
