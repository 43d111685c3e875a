// lab: the board.
#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "commands.hpp"
#include "progress_file.hpp"
#include "shardlab/report/score_card_text.hpp"

namespace shardlab::cli {
namespace {

std::string Points(const PartProgress& progress, const Part& part) {
  return fmt::format("{} of {}", PrettyPoints(progress.best), PrettyPoints(part.points));
}

/// The mark of a part: where its best score stands, or how its last run ended.
grade::Status StatusOf(const PartProgress& progress, const Part& part) {
  if (progress.best >= part.points) return grade::Status::kPassed;
  if (progress.status.empty() || progress.status == Name(grade::Status::kNotImplemented)) {
    return grade::Status::kNotImplemented;
  }
  return grade::Status::kFailed;
}

std::string Remark(const PartProgress& progress, const Part& part) {
  std::string remark = progress.status.empty() ? "" : progress.status;
  if (progress.best > progress.last && !progress.status.empty()) {
    remark = fmt::format("now {}, {}", PrettyPoints(progress.last), progress.status);
  } else if (progress.best >= part.points) {
    remark = "passed";
  }
  if (progress.hints > 0) {
    remark += fmt::format("{}{} hint{}", remark.empty() ? "" : ", ", progress.hints, progress.hints == 1 ? "" : "s");
  }
  if (part.bonus) remark = remark.empty() ? "bonus" : "bonus, " + remark;
  return remark;
}

}  // namespace

int Board(const Context& context) {
  const std::vector<Rubric> rubrics = LoadRubrics(context.root);
  ProgressMap progress = LoadProgress(context);
  const Terminal& out = context.out;
  const auto spread = [&](const std::string& left, const std::string& right) {
    if (right.empty()) return left;
    const size_t used = DisplayWidth(left) + DisplayWidth(right);
    return left + std::string(used + 2 <= out.width ? out.width - used : 2, ' ') + right;
  };
  size_t id_width = 0, points_width = 0;
  for (const Rubric& rubric : rubrics) {
    for (const Part& part : rubric.parts) {
      id_width = std::max(id_width, part.id.size());
      points_width = std::max(points_width, Points(progress[rubric.FullId(part.id)], part).size());
    }
  }
  double score = 0, max = 0, bonus = 0, bonus_max = 0;
  for (const Rubric& rubric : rubrics) {
    double module_score = 0, module_bonus = 0;
    for (const Part& part : rubric.parts) {
      // A rubric may have changed since: never more than it gives today.
      double& sum = part.bonus ? module_bonus : module_score;
      sum += std::min(progress[rubric.FullId(part.id)].best, part.points);
    }
    score += module_score;
    bonus += module_bonus;
    max += rubric.Points();
    bonus_max += rubric.BonusPoints();
    const std::string points = PointsText(module_score, rubric.Points(), module_bonus, rubric.BonusPoints());
    const std::string heading = fmt::format("{}  {}", Paint(rubric.id, Tone::kStrong, out), rubric.title);
    fmt::print("{}\n", spread(heading, Paint(points, Tone::kStrong, out)));
    for (const Part& part : rubric.parts) {
      const PartProgress& entry = progress[rubric.FullId(part.id)];
      const grade::Status status = StatusOf(entry, part);
      const std::string remark = Remark(entry, part);
      const std::string left = fmt::format("  {} {}  {}  ", Paint(Mark(status, out), ToneOf(status), out),
                                           PadRight(part.id, id_width), PadRight(Points(entry, part), points_width));
      const size_t used = DisplayWidth(left) + remark.size() + 2;
      const std::string title = used < out.width ? Shorten(part.title, out.width - used, out) : "";
      fmt::print("{}\n", spread(left + title, Paint(remark, Tone::kQuiet, out)));
    }
    fmt::print("\n");
  }
  fmt::print("{}\n", Paint("Total  " + PointsText(score, max, bonus, bonus_max), Tone::kStrong, out));
  const NextUp next = FindNext(rubrics, progress);
  if (!next.part) {
    fmt::print("Everything has passed.\n");
    return kAllPassed;
  }
  const std::string id = next.rubric->FullId(next.part->id);
  fmt::print("Next: {}, {}\n", Paint(id, Tone::kStrong, out), next.part->title);
  const std::string folder = "exercises/" + next.rubric->id;
  fmt::print("  read   {}/README.md\n  edit   {}/{}\n  then   {}\n", folder, folder,
             fmt::join(next.part->files, fmt::format("\n         {}/", folder)),
             Paint("./lab grade " + id, Tone::kAccent, out));
  return kAllPassed;
}

}  // namespace shardlab::cli
