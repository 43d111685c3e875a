#include "report.hpp"

#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace shardlab::mutants {

using nlohmann::json;

namespace {

constexpr size_t kQuotedLines = 12;

Tone ToneOf(Verdict verdict) {
  switch (verdict) {
    case Verdict::kKilled:
    case Verdict::kFullMarks:
      return Tone::kGood;
    case Verdict::kWrongDiagnosis:
      return Tone::kWarning;
    default:
      return Tone::kBad;
  }
}

std::string Row(const std::string& name, const Outcome& outcome, size_t width, const Terminal& terminal) {
  const double seconds = outcome.build_s + outcome.grade_s;
  const std::string status = outcome.verdict == Verdict::kError ? "" : grade::Name(outcome.status);
  return fmt::format("  {}  {}  {}  {:5.1f} s\n", PadRight(name, width), PadRight(status, 15),
                     Paint(PadRight(mutants::Name(outcome.verdict), 16), ToneOf(outcome.verdict), terminal), seconds);
}

/// The first lines of `text`, below a heading.
std::string Quoted(const std::string& text) {
  std::string quoted;
  size_t begin = 0;
  for (size_t line = 0; line < kQuotedLines && begin < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    quoted += "      | " + text.substr(begin, end - begin) + "\n";
    begin = end + 1;
  }
  if (begin < text.size()) quoted += "      | ...\n";
  return quoted;
}

std::string Explanation(const Mutant& mutant, const Outcome& outcome) {
  switch (outcome.verdict) {
    case Verdict::kError:
      return outcome.message + "\n";
    case Verdict::kSurvived:
      return fmt::format("{}: {} survived, {}. The mistake: {}\n", mutant.where, mutant.id(), outcome.message,
                         mutant.mistake);
    case Verdict::kWrongDiagnosis:
      return fmt::format(
          "{}: {}: a case with status '{}' should have said \"{}\". The mistake: {}\n"
          "    First of what it got: {}, {}\n{}",
          mutant.where, mutant.id(), grade::Name(mutant.status), fmt::join(mutant.says, "\" and \""), mutant.mistake,
          outcome.case_id, grade::Name(outcome.status), Quoted(outcome.message));
    default:
      return "";
  }
}

std::string Explanation(const Variant& variant, const Outcome& outcome) {
  if (outcome.verdict == Verdict::kError) return outcome.message + "\n";
  if (outcome.verdict == Verdict::kFullMarks) return "";
  return fmt::format("{}: {} must get full marks; {} is {}:\n{}", variant.where, variant.id(), outcome.case_id,
                     grade::Name(outcome.status), Quoted(outcome.message));
}

json OutcomeJson(const Outcome& outcome) {
  return {{"verdict", mutants::Name(outcome.verdict)},
          {"status", grade::Name(outcome.status)},
          {"case", outcome.case_id},
          {"message", outcome.message},
          {"build_s", outcome.build_s},
          {"grade_s", outcome.grade_s}};
}

}  // namespace

size_t Count(const std::vector<Outcome>& outcomes, Verdict verdict) {
  return static_cast<size_t>(std::count_if(outcomes.begin(), outcomes.end(),
                                           [&](const Outcome& outcome) { return outcome.verdict == verdict; }));
}

int ExitStatus(const Findings& findings) {
  if (Count(findings.mutants, Verdict::kError) + Count(findings.variants, Verdict::kError) > 0) return 2;
  const size_t right = Count(findings.mutants, Verdict::kKilled);
  const bool enough = static_cast<double>(right) >= kRightDiagnoses * static_cast<double>(findings.mutants.size());
  const bool good = Count(findings.mutants, Verdict::kSurvived) == 0 && enough &&
                    Count(findings.variants, Verdict::kFullMarks) == findings.variants.size();
  return good ? 0 : 1;
}

std::string Render(const Findings& findings, const Terminal& terminal) {
  size_t width = 0;
  for (const Mutant& mutant : findings.sets.mutants) width = std::max(width, mutant.name.size());
  for (const Variant& variant : findings.sets.variants) width = std::max(width, variant.name.size());

  std::string text, explanations, heading;
  const auto begin_group = [&](const std::string& group) {
    if (group != heading) text += Paint(group, Tone::kStrong, terminal) + "\n";
    heading = group;
  };
  for (size_t i = 0; i < findings.mutants.size(); ++i) {
    const Mutant& mutant = findings.sets.mutants[i];
    begin_group(mutant.module + "." + mutant.part);
    text += Row(mutant.name, findings.mutants[i], width, terminal);
    explanations += Explanation(mutant, findings.mutants[i]);
  }
  for (size_t i = 0; i < findings.variants.size(); ++i) {
    const Variant& variant = findings.sets.variants[i];
    begin_group(variant.module + ", variants");
    text += Row(variant.name, findings.variants[i], width, terminal);
    explanations += Explanation(variant, findings.variants[i]);
  }
  if (!explanations.empty()) text += "\n" + explanations;

  text += "\n";
  const size_t all = findings.mutants.size();
  if (all > 0) {
    const size_t right = Count(findings.mutants, Verdict::kKilled);
    const size_t wrong = Count(findings.mutants, Verdict::kWrongDiagnosis);
    text += fmt::format(
        "{} mutants: {} killed, {} of them with the right diagnosis ({:.0f} %), {} survived, {} could not be tried\n",
        all, right + wrong, right, 100.0 * static_cast<double>(right) / static_cast<double>(all),
        Count(findings.mutants, Verdict::kSurvived), Count(findings.mutants, Verdict::kError));
  }
  if (!findings.variants.empty()) {
    text += fmt::format("{} variants: {} with full marks\n", findings.variants.size(),
                        Count(findings.variants, Verdict::kFullMarks));
  }
  text += fmt::format("{}, {:.1f} core-seconds each, seed {}\n", PrettySeconds(findings.seconds),
                      findings.core_seconds / static_cast<double>(all + findings.variants.size()), findings.seed);
  return text;
}

std::string ToJson(const Findings& findings) {
  json document = {
      {"schema", 1}, {"seed", findings.seed}, {"seconds", findings.seconds}, {"core_seconds", findings.core_seconds}};
  std::map<std::string, size_t> counts;
  document["mutants"] = json::array();
  for (size_t i = 0; i < findings.mutants.size(); ++i) {
    const Mutant& mutant = findings.sets.mutants[i];
    json one = OutcomeJson(findings.mutants[i]);
    one["id"] = mutant.id();
    one["where"] = mutant.where;
    one["mistake"] = mutant.mistake;
    one["expected"] = {{"status", grade::Name(mutant.status)}, {"says", mutant.says}};
    document["mutants"].push_back(std::move(one));
    ++counts[mutants::Name(findings.mutants[i].verdict)];
  }
  document["variants"] = json::array();
  for (size_t i = 0; i < findings.variants.size(); ++i) {
    const Variant& variant = findings.sets.variants[i];
    json one = OutcomeJson(findings.variants[i]);
    one["id"] = variant.id();
    one["where"] = variant.where;
    one["difference"] = variant.difference;
    document["variants"].push_back(std::move(one));
    ++counts[mutants::Name(findings.variants[i].verdict)];
  }
  document["counts"] = counts;
  // What a student's program printed need not be UTF-8.
  return document.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace shardlab::mutants
