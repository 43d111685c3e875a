#include "shardlab/plan/action.hpp"

#include <array>
#include <charconv>
#include <ostream>
#include <utility>

#include <fmt/format.h>

#include "shardlab/plan/schedule_error.hpp"

namespace shardlab {

namespace {

constexpr std::array<std::pair<ActionKind, std::string_view>, 11> kActionNames = {{
    {ActionKind::kForward, "F"},
    {ActionKind::kBackward, "B"},
    {ActionKind::kBackwardInput, "I"},
    {ActionKind::kBackwardWeight, "W"},
    {ActionKind::kRecompute, "R"},
    {ActionKind::kSendForward, "SEND_F"},
    {ActionKind::kReceiveForward, "RECV_F"},
    {ActionKind::kSendBackward, "SEND_B"},
    {ActionKind::kReceiveBackward, "RECV_B"},
    {ActionKind::kReduceGradients, "REDUCE_GRAD"},
    {ActionKind::kStep, "STEP"},
}};

constexpr int kLargestNumber = 1'000'000'000;

// Takes a number off the front of `text`.
bool TakeNumber(std::string_view& text, int& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0 || number > kLargestNumber) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

// Takes a kind off the front of `text`: the longest run of letters and underscores.
bool TakeKind(std::string_view& text, ActionKind& kind) {
  const size_t length = std::min(text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ_"), text.size());
  const std::string_view word = text.substr(0, length);
  text.remove_prefix(length);
  if (word == "BW") {
    kind = ActionKind::kBackward;
    return true;
  }
  for (const auto& [candidate, name] : kActionNames) {
    if (word == name) {
      kind = candidate;
      return true;
    }
  }
  return false;
}

}  // namespace

bool IsCompute(ActionKind kind) { return kind <= ActionKind::kRecompute; }
bool GivesInputGradient(ActionKind kind) { return kind == ActionKind::kBackward || kind == ActionKind::kBackwardInput; }
bool GivesWeightGradient(ActionKind kind) {
  return kind == ActionKind::kBackward || kind == ActionKind::kBackwardWeight;
}
bool IsSend(ActionKind kind) { return kind == ActionKind::kSendForward || kind == ActionKind::kSendBackward; }
bool IsReceive(ActionKind kind) { return kind == ActionKind::kReceiveForward || kind == ActionKind::kReceiveBackward; }
bool IsMessage(ActionKind kind) { return IsSend(kind) || IsReceive(kind); }
bool HasMicrobatch(ActionKind kind) { return kind < ActionKind::kReduceGradients; }

std::string_view Name(ActionKind kind) { return kActionNames.at(static_cast<size_t>(kind)).second; }

std::string ToString(const Action& action) {
  std::string text = fmt::format("{}{}", action.chunk, Name(action.kind));
  if (HasMicrobatch(action.kind)) text += std::to_string(action.microbatch);
  if (action.version != 0) text += fmt::format("@{}", action.version);
  return text;
}

std::ostream& operator<<(std::ostream& out, const Action& action) { return out << ToString(action); }

std::string EntryText(const std::vector<Action>& list, size_t step) {
  const std::string text = ToString(list[step]);
  if (list[step].opens_pair) return "(" + text + ";";
  return step > 0 && list[step - 1].opens_pair ? text + ")" : text;
}

std::string Quoted(std::string_view text) {
  constexpr size_t kMost = 24;
  std::string quoted;
  for (const char letter : text.substr(0, kMost)) {
    quoted += static_cast<unsigned char>(letter) < ' ' || letter == '\x7f' ? '?' : letter;
  }
  // Not in the middle of a letter of several bytes.
  while (text.size() > kMost && !quoted.empty() && (static_cast<unsigned char>(quoted.back()) & 0x80) != 0) {
    quoted.pop_back();
  }
  return fmt::format("'{}{}'", quoted, text.size() > kMost ? "..." : "");
}

Action ParseAction(std::string_view text) {
  Action action;
  std::string_view rest = text;
  bool good = TakeNumber(rest, action.chunk) && TakeKind(rest, action.kind);
  if (good && HasMicrobatch(action.kind)) good = TakeNumber(rest, action.microbatch);
  if (good && !rest.empty() && rest.front() == '@') {
    rest.remove_prefix(1);
    good = TakeNumber(rest, action.version) && !IsMessage(action.kind);
  }
  if (!good || !rest.empty()) {
    throw ScheduleError(fmt::format(
        "{} is not an action: write chunk, kind and micro-batch, such as 2F0, 1B3, 1I3, 1W3, 0R2, 0SEND_F2, "
        "1RECV_F2, 1SEND_B2, 0RECV_B2, with @ and a weight version where it is not 0 (2F5@1, 2REDUCE_GRAD@1, 2STEP@1)",
        Quoted(text)));
  }
  return action;
}

}  // namespace shardlab
