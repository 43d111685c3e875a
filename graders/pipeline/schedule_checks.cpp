#include "schedule_checks.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/plan/draw.hpp"
#include "shardlab/plan/simulate.hpp"
#include "shardlab/plan/text.hpp"
#include "shardlab/plan/traits.hpp"
#include "shardlab/plan/validate.hpp"

namespace shardlab::grade {

namespace {

bool IsError(const std::string& text) { return text.rfind("error: ", 0) == 0; }

}  // namespace

std::string Describe(const AskedSchedule& asked) {
  return fmt::format("{} of {} {}{}, {} micro-batch{}{}", asked.name, asked.ranks, asked.ranks == 1 ? "rank" : "ranks",
                     asked.chunks > 1 ? fmt::format(" with {} chunks each", asked.chunks) : "", asked.microbatches,
                     asked.microbatches == 1 ? "" : "es",
                     asked.updates > 1 ? fmt::format(" an update, {} updates", asked.updates) : "");
}

std::vector<std::string> AskSchedules(PlainCase& t, const std::vector<AskedSchedule>& asked) {
  nlohmann::json params;
  for (const AskedSchedule& one : asked) {
    params["asked"].push_back({{"name", one.name},
                               {"ranks", one.ranks},
                               {"chunks", one.chunks},
                               {"microbatches", one.microbatches},
                               {"updates", one.updates},
                               {"flush", one.flush}});
  }
  const PlainRun run = t.Ask("schedules", params);
  std::vector<std::string> texts;
  for (size_t i = 0; i < asked.size(); ++i) texts.push_back(run.Text("schedule " + std::to_string(i)));
  return texts;
}

Schedule ExpectValid(PlainCase& t, const AskedSchedule& asked, const std::string& text) {
  if (IsError(text)) t.Fail(fmt::format("{} is refused: {}", Describe(asked), text.substr(7)));
  std::optional<Schedule> schedule;
  std::string fault;
  try {
    schedule = ParseSchedule(text);
    Validate(*schedule);
  } catch (const ScheduleError& error) {
    fault = error.what() + (error.table().empty() ? "" : "\n" + error.table());
  }
  if (!fault.empty()) t.Fail(fmt::format("{} is not valid: {}", Describe(asked), fault));
  const Layout layout = TraitsOf(asked.name).MakeLayout(asked.ranks, asked.chunks);
  t.Expect(schedule->layout == layout, fmt::format("{} has the layout '{}'; it must be '{}'", Describe(asked),
                                                   ToString(schedule->layout), ToString(layout)));
  t.Expect(schedule->microbatches == asked.microbatches * asked.updates,
           fmt::format("{} runs through {} micro-batches", Describe(asked), schedule->microbatches));
  return *schedule;
}

void ExpectMakespans(PlainCase& t, const std::vector<AskedSchedule>& asked, const Formula& formula) {
  const std::vector<std::string> texts = AskSchedules(t, asked);
  for (size_t i = 0; i < asked.size(); ++i) {
    const Schedule schedule = ExpectValid(t, asked[i], texts[i]);
    for (const auto& [tf, tb] : std::vector<std::pair<double, double>>{{1, 2}, {1, 1}, {3, 2}}) {
      const Figures figures = formula(asked[i], tf, tb);
      const Simulation run = Simulate(schedule, CostModel::Uniform(tf, tb, asked[i].chunks));
      if (figures.makespan > 0 && std::abs(run.makespan - figures.makespan) >= 1e-6) {
        const ScheduleTraits& traits = TraitsOf(asked[i].name);
        const bool runs_on = traits.updates == Updates::kEachBatch;
        const std::string more = traits.TakesChunks() ? fmt::format(" --chunks {}", asked[i].chunks)
                                 : runs_on            ? fmt::format(" --updates {}", asked[i].updates)
                                                      : "";
        std::string message = fmt::format(
            "{} takes {:g} where a forward takes {:g} and a backward {:g}; it must take {:g}. This is how it runs "
            "(./lab schedule {} --stages {} --micro-batches {}{} --forward {:g} --backward {:g} --mine):",
            Describe(asked[i]), run.makespan, tf, tb, figures.makespan, asked[i].name, asked[i].ranks,
            asked[i].microbatches, more, tf, tb);
        constexpr size_t kColumns = 72;  // with the score card's indent it fits on the narrowest of terminals
        std::string line;
        for (std::istringstream drawing(DrawText(schedule, run, {kColumns, false, false}));
             std::getline(drawing, line);) {
          message += "\n  " + line;
        }
        t.Fail(message);
      }
      for (size_t rank = 0; rank < figures.gaps.size(); ++rank) {
        if (tf != tb / 2) break;  // a forward as long as each half of the backward
        t.Expect(std::abs(run.gaps[rank] - figures.gaps[rank]) < 1e-6,
                 fmt::format("{}: rank {} is idle for {:g} between its first and its last action; it must be {:g}",
                             Describe(asked[i]), rank, run.gaps[rank], figures.gaps[rank]));
      }
    }
  }
}

void ExpectFootprints(PlainCase& t, const std::vector<AskedSchedule>& asked, const Formula& formula) {
  const std::vector<std::string> texts = AskSchedules(t, asked);
  for (size_t i = 0; i < asked.size(); ++i) {
    const Schedule schedule = ExpectValid(t, asked[i], texts[i]);
    const Figures figures = formula(asked[i], 1, 2);
    const Footprint footprint = Validate(schedule);
    const bool chunks = asked[i].chunks > 1;
    struct Kept {
      std::vector<int> got, expected;
      std::string what, unit;
    };
    std::vector<Kept> all = {
        {footprint.live, figures.live,
         chunks ? "activations of chunks alive on its ranks" : "micro-batches alive on its ranks",
         chunks ? "chunks" : "micro-batches"},
        {footprint.live_until_input_gradient, figures.live_until_input,
         "micro-batches on its ranks whose gradient of the input is not there yet", "micro-batches"},
        {footprint.versions, figures.versions, "weight versions of its chunks", "versions"}};
    for (const Kept& kept : all) {
      if (kept.expected.empty()) continue;
      t.Expect(kept.got == kept.expected,
               fmt::format("{} keeps {} {}; it must be {}", Describe(asked[i]), fmt::join(kept.got, ", "), kept.what,
                           fmt::join(kept.expected, ", ")));
    }
    if (i + 1 < asked.size()) continue;
    const auto most = [](const std::vector<int>& numbers) { return *std::max_element(numbers.begin(), numbers.end()); };
    // A score card shows the first figure: where weights have versions, these are what it is about.
    if (!figures.versions.empty() && most(figures.versions) > 1) std::swap(all.front(), all.back());
    for (const Kept& kept : all) {
      if (kept.expected.empty()) continue;
      t.ExpectCost(fmt::format("the most {}, in {}", kept.what, Describe(asked[i])), most(kept.got),
                   most(kept.expected), kept.unit);
    }
  }
}

void ExpectVersions(PlainCase& t, const std::vector<AskedSchedule>& asked) {
  const std::vector<std::string> texts = AskSchedules(t, asked);
  for (size_t i = 0; i < asked.size(); ++i) {
    const Schedule schedule = ExpectValid(t, asked[i], texts[i]);
    const ScheduleTraits& traits = TraitsOf(asked[i].name);
    const int m = asked[i].microbatches;
    const auto fail = [&](int rank, int step, const std::string& why) {
      const auto& list = schedule.ranks[static_cast<size_t>(rank)];
      t.Fail(fmt::format("{}: rank {}, entry {}, {}: {}\n{}", Describe(asked[i]), rank, step,
                         step < static_cast<int>(list.size()) ? ToString(list[static_cast<size_t>(step)]) : "the end",
                         why, ErrorTable(schedule, {{rank, step, ""}})));
    };
    for (int rank = 0; rank < static_cast<int>(schedule.ranks.size()); ++rank) {
      const auto& list = schedule.ranks[static_cast<size_t>(rank)];
      std::map<int, int> updates;                 // of a chunk
      std::map<int, std::vector<int>> gradients;  // of a chunk, since its last update: of which micro-batches
      for (int step = 0; step < static_cast<int>(list.size()); ++step) {
        const Action& action = list[static_cast<size_t>(step)];
        std::vector<int>& sum = gradients[action.chunk];
        if (IsCompute(action.kind)) {
          Action right = action;
          const int update = action.microbatch / m;
          right.version = traits.version(asked[i].ranks, schedule.layout.chunk(action.chunk).stage, update);
          if (action != right) {
            fail(rank, step,
                 fmt::format("must be {}: update {} uses version {} there", ToString(right), update, right.version));
          }
          if (GivesWeightGradient(action.kind)) sum.push_back(action.microbatch);
        }
        if (action.kind != ActionKind::kStep) continue;
        const int update = updates[action.chunk]++;
        std::vector<int> right;
        for (int k = 0; k < m; ++k) right.push_back(update * m + k);
        std::sort(sum.begin(), sum.end());
        if (sum != right) {
          fail(rank, step,
               fmt::format(
                   "it takes the gradients of the micro-batches {{{}}}, all since the STEP before; update {} has "
                   "{{{}}}",
                   fmt::join(sum, ", "), update, fmt::join(right, ", ")));
        }
        if (traits.updates == Updates::kEachMicroBatch &&
            !GivesWeightGradient(list[static_cast<size_t>(step - 1)].kind)) {
          fail(rank, step, "it must stand right behind the backward of its micro-batch");
        }
        sum.clear();
      }
      for (const int chunk : schedule.layout.ChunksOf(rank)) {
        if (updates[chunk] == asked[i].updates) continue;
        fail(rank, static_cast<int>(list.size()),
             fmt::format("chunk {} was updated {} times in {} updates", chunk, updates[chunk], asked[i].updates));
      }
    }
    t.Expect(true, "");
  }
}

void ExpectPolicyRefuses(PlainCase& t, const std::string& policy, const std::vector<std::string>& whats) {
  const std::vector<int64_t> refused = t.Ask("policy_refusals", {{"policy", policy}}).Integers("refused");
  for (size_t i = 0; i < whats.size(); ++i) {
    t.Expect(i < refused.size() && refused[i] == 1,
             fmt::format("{} must be refused with ScheduleError: {}", policy, whats[i]));
  }
}

void ExpectRefused(PlainCase& t, const std::vector<AskedSchedule>& asked) {
  const std::vector<std::string> texts = AskSchedules(t, asked);
  for (size_t i = 0; i < asked.size(); ++i) {
    t.Expect(IsError(texts[i]), fmt::format("{} must be refused with ScheduleError, and a list came back: the contract "
                                            "says for which numbers there is none",
                                            Describe(asked[i])));
  }
}

}  // namespace shardlab::grade
