// What `lab schedule --check` and `lab train --schedule FILE` read: a schedule in either form. What is read goes the whole
// way: checked, simulated, drawn, written and read again.
#include <sstream>

#include "shardlab/base/errors.hpp"
#include "shardlab/plan/draw.hpp"
#include "shardlab/plan/more_generators.hpp"
#include "shardlab/plan/passes.hpp"
#include "shardlab/plan/text.hpp"
#include "target.hpp"

namespace shardlab::fuzz {
namespace {

// A small input can ask for much: what is large is only read and checked.
constexpr int kDrawn = 64;  // ranks and micro-batches

void TrySchedule(const std::string& input) {
  try {
    std::string skipped;
    const Schedule schedule = ReadSchedule(input, "fuzz", &skipped);
    if (schedule.layout.ranks() <= kDrawn && schedule.microbatches <= kDrawn) {
      if (ReadSchedule(FormatSchedule(schedule)) != schedule) throw std::logic_error("another schedule is read again");
    }
    Validate(schedule);
    if (schedule.layout.ranks() > kDrawn || schedule.microbatches > kDrawn) return;
    const Schedule complete = schedule.HasCommunication() ? schedule : AddCommunication(schedule);
    const Simulation run = Simulate(complete);
    (void)DrawText(complete, run);
    (void)DrawSvg(complete, run);
    (void)ToChromeTrace(complete, run);
    (void)ToPyTorchCsv(complete);
  } catch (const ScheduleError& error) {
    CheckRefusal(error.what());
  }
}

std::vector<std::string> TextSeeds() {
  return {FormatSchedule(AddCommunication(DualPipeV(2, 5))),
          FormatSchedule(AddRecompute(ZeroBubbleV(2, 3), Recompute::kAlways)),
          "# two updates, on the versions of PipeDream\nschedule mine\nlayout linear 2\nmicro-batches 3\n"
          "rank 0: 0F0 0F1 0B0 0STEP@1 0F2@1 0B1\n  0STEP@2 0B2@1 0STEP@3\n"
          "rank 1: 1F0 1B0 1STEP@1 1F1@1 1B1@1 1STEP@2 1F2@2 1B2@2 1STEP@3\n",
          "layout bidirectional 2\nmicro-batches 2\nrank 0: 0F0 0B0 3F1 3B1 0REDUCE_GRAD@1 0STEP@1 3REDUCE_GRAD@1 "
          "3STEP@1\nrank 1: 1F0 1B0 2F1 2B1 2REDUCE_GRAD@1 2STEP@1 1REDUCE_GRAD@1 1STEP@1\n"};
}

std::vector<std::string> CsvSeeds() {
  return {ToPyTorchCsv(DualPipeV(2, 5)), ToPyTorchCsv(AddCommunication(LoopedBreadthFirst(2, 2, 2))),
          "0UNSHARD,0F0,0RESHARD,,0B0,0REDUCE_GRAD\r\n\"1UNSHARD\",1F0,1B0,1W0,1REDUCE_GRAD\r\n",
          "0F0,,0BW0\n,1F0,1BW0\n"};
}

const std::vector<std::string> kWords = {"(0F1;1B0)OVERLAP_F_B",
                                         "layout vee 2 2",
                                         "micro-batches 9",
                                         "rank 1:",
                                         "REDUCE_GRAD",
                                         "SEND_F",
                                         "RECV_B",
                                         "STEP@2",
                                         "UNSHARD",
                                         "2147483647",
                                         "@1",
                                         ",",
                                         "\n"};

const Registered kText({"schedule", "a schedule in shardlab's text form", TextSeeds, TrySchedule, kWords});
const Registered kCsv({"csv", "a schedule in the CSV of PyTorch's pipelining", CsvSeeds, TrySchedule, kWords});

}  // namespace
}  // namespace shardlab::fuzz
