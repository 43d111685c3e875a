#include "kit/costs.hpp"

#include <algorithm>
#include <map>

namespace shardlab::grade {

void Costs::Add(const std::string& what, double measured, double target, const std::string& unit) {
  figures_.push_back({what, measured, target, unit});
}

void Costs::Expect(PlainCase& t, const std::vector<CostMistake>& mistakes) const {
  const auto fits = [&](const CostMistake& mistake) {
    for (size_t i = 0; i < figures_.size(); ++i) {
      const double figure = i < mistake.figures.size() ? mistake.figures[i] : kAny;
      if (figure != kAny && figure != figures_[i].measured) return false;
    }
    return true;
  };
  const auto found = std::find_if(mistakes.begin(), mistakes.end(), fits);
  for (const Figure& figure : figures_) {
    std::vector<FigureHypothesis> said;
    if (found != mistakes.end()) said.push_back({found->meaning, figure.measured});
    if (!figure.what.empty()) t.ExpectCost(figure.what, figure.measured, figure.target, figure.unit, said);
  }
}

double RoundsOf(const std::vector<PlannedMessage>& program) {
  int64_t rounds = 0;
  for (const PlannedMessage& message : program) rounds = std::max(rounds, message.round);
  return static_cast<double>(rounds);
}

double BytesOf(const std::vector<PlannedMessage>& program) {
  int64_t bytes = 0;
  for (const PlannedMessage& message : program) bytes += message.bytes;
  return static_cast<double>(bytes);
}

double StepsOf(const std::vector<PlannedMessage>& program) {
  std::map<int, int64_t> sent, received;  // the step of a rank's last one
  int64_t last = 0;
  for (const PlannedMessage& message : program) {
    const int64_t step = std::max({sent[message.from], received[message.from], received[message.to]}) + 1;
    sent[message.from] = received[message.to] = step;
    last = std::max(last, step);
  }
  return static_cast<double>(last);
}

}  // namespace shardlab::grade
