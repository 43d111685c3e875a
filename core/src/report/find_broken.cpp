#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

#include "shardlab/report/score_card.hpp"

namespace shardlab {

using grade::CaseResult;
using grade::Kind;
using grade::Status;

namespace {

/// "RingAllGather" of "rank 0: not implemented yet: communication.ring: RingAllGather (exercises/...)"; the message, where
/// a stub says it otherwise.
std::string NotWritten(const std::string& message) {
  const std::string words = "not implemented yet: ";
  const size_t task = message.find(words);
  if (task == std::string::npos) return message;
  const size_t colon = message.find(": ", task + words.size());
  const size_t begin = colon == std::string::npos ? task + words.size() : colon + 2;
  return message.substr(begin, message.find_first_of(" (\n", begin) - begin);
}

std::string Names(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

/// What comes first: results that are wrong, values or gradients; then costs; then the rest.
int WeightOf(Kind kind) { return kind == Kind::kValue || kind == Kind::kGradient ? 0 : static_cast<int>(kind); }

/// A finding and its place in the order.
struct Entry {
  Finding finding;
  std::vector<std::string> functions;  // that it speaks of
  int weight = 0;                      // the smallest that fails
  size_t function = 0;                 // of Part::functions; beyond them: of none

  bool operator<(const Entry& other) const {
    return std::make_tuple(!finding.written, weight, function, finding.shown_by) <
           std::make_tuple(!other.finding.written, other.weight, other.function, other.finding.shown_by);
  }
};

/// The failing cases of one function.
struct Failures {
  bool any = false;
  int weight = 0;  // the smallest that fails
  size_t shown_by = 0;
  std::tuple<size_t, Kind> order;  // of that case among the function's
};

class Finder {
 public:
  Finder(const Part& part, const std::vector<CaseResult>& cases)
      : part_(part), cases_(cases), failures_(part.functions.size() + 1) {}

  std::vector<Finding> Run() {
    for (size_t i = 0; i < cases_.size(); ++i) {
      const Status status = cases_[i].status;
      if (status == Status::kPassed || status == Status::kSkipped) continue;
      status == Status::kNotImplemented ? AddNotWritten(i) : AddFailure(i);
    }
    for (size_t function = 0; function < failures_.size(); ++function) {
      if (failures_[function].any && !Explained(function)) AddWrong(function);
    }
    std::sort(entries_.begin(), entries_.end());
    std::vector<Finding> findings;
    for (Entry& entry : entries_) findings.push_back(std::move(entry.finding));
    return findings;
  }

 private:
  void AddFailure(size_t index) {
    const FunctionPlace place = part_.PlaceOf(cases_[index].id);
    const Kind kind = cases_[index].kind;
    const auto order = std::make_tuple(place.pattern, kind);
    Failures& of_function = failures_[place.function];
    if (!of_function.any || order < of_function.order) {
      of_function.shown_by = index;
      of_function.order = order;
    }
    of_function.weight = of_function.any ? std::min(of_function.weight, WeightOf(kind)) : WeightOf(kind);
    of_function.any = true;
  }

  void AddNotWritten(size_t index) {
    const std::string name = NotWritten(cases_[index].message);
    const auto known = [&](const Entry& entry) { return entry.finding.function == name; };
    if (std::any_of(entries_.begin(), entries_.end(), known)) return;
    const auto row = std::find_if(part_.functions.begin(), part_.functions.end(),
                                  [&](const PartFunction& function) { return function.name == name; });
    const auto place = static_cast<size_t>(std::distance(part_.functions.begin(), row));
    entries_.push_back({{name, false, index}, {name}, 0, place});
  }

  void AddWrong(size_t function) {
    std::vector<std::string> names;
    if (function < part_.functions.size()) {
      const PartFunction& row = part_.functions[function];
      names = row.name.empty() ? row.uses : std::vector<std::string>{row.name};
    }
    const Failures& found = failures_[function];
    entries_.push_back({{Names(names), true, found.shown_by}, names, found.weight, function});
  }

  /// Whether something that the function uses is broken in a way that comes no later. What is not written yet does not
  /// explain a case that ran to its end without it.
  bool Explained(size_t function) const {
    const bool listed = function < part_.functions.size();
    const std::vector<std::string> needed = listed ? part_.NeededBy(function) : std::vector<std::string>();
    return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
      if (!entry.finding.written || entry.weight > failures_[function].weight) return false;
      return !listed || std::any_of(entry.functions.begin(), entry.functions.end(), [&](const std::string& name) {
        return std::find(needed.begin(), needed.end(), name) != needed.end();
      });
    });
  }

  const Part& part_;
  const std::vector<CaseResult>& cases_;
  std::vector<Failures> failures_;  // by function; the last: of none
  std::vector<Entry> entries_;
};

}  // namespace

std::vector<Finding> FindBroken(const Part& part, const std::vector<CaseResult>& cases) {
  return Finder(part, cases).Run();
}

std::vector<const CaseResult*> BrokenFirst(const PartScore& part) {
  std::vector<const CaseResult*> ordered;
  for (const Finding& finding : part.findings) ordered.push_back(&part.cases[finding.shown_by]);
  for (const CaseResult& result : part.cases) {
    if (std::find(ordered.begin(), ordered.end(), &result) == ordered.end()) ordered.push_back(&result);
  }
  return ordered;
}

}  // namespace shardlab
