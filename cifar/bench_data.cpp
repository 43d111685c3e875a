// Says how hard a data set is, and whether a wrong gradient shows on it. Started by `lab bench data`.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "shardlab/base/errors.hpp"
#include "shardlab/cifar/difficulty.hpp"
#include "shardlab/cifar/files.hpp"
#include "shardlab/models/classifiers.hpp"

namespace shardlab::cifar {
namespace {

constexpr int64_t kMistakeSteps = 20;
constexpr double kLinearAtMost = 0.45;
constexpr double kCnnAtLeast = 0.70;
constexpr double kVisible = 1e-3;

struct Arguments {
  int64_t steps = 200;
  uint64_t seed = 1;
  std::string json;
  std::string data = "synthetic";
  std::string folder = "data";
  std::vector<std::string> models = ModelNames();
};

// The targets are those of the synthetic default; of other images nothing is demanded.
struct Target {
  std::string words;
  bool met = true;
};

Target Judge(const ModelFigure& figure, bool demanded) {
  if (demanded && figure.model == "linear") {
    return {fmt::format("<= {:.0f} %", 100 * kLinearAtMost), figure.test_accuracy <= kLinearAtMost};
  }
  if (demanded && figure.model == "cnn") {
    return {fmt::format(">= {:.0f} %", 100 * kCnnAtLeast), figure.test_accuracy >= kCnnAtLeast};
  }
  return {};
}

int Run(const Arguments& arguments) {
  at::set_num_threads(1);
  // An unknown name is said before any work is done.
  for (const std::string& name : arguments.models) MakeModel(name);
  const auto start = std::chrono::steady_clock::now();
  const DataSplits data = Load(arguments.data, arguments.folder);
  const bool demanded = arguments.data == "synthetic";
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print("{} data: {} images to train on, {} to test, {} in {:.2f} s; {} steps\n\n", arguments.data,
             data.train.size(), data.test.size(), demanded ? "made" : "read", seconds, arguments.steps);

  nlohmann::json report = {{"schema", 1},
                           {"data", arguments.data},
                           {"seed", arguments.seed},
                           {"steps", arguments.steps},
                           {"data_seconds", seconds}};
  bool all_met = true;

  fmt::print("{:<8} {:>9} {:>10}   {:<16} {:>7}\n", "model", "accuracy", "target", "loss", "seconds");
  for (const std::string& name : arguments.models) {
    const ModelFigure figure = TrainFigure(name, data, arguments.steps, arguments.seed);
    const Target target = Judge(figure, demanded);
    all_met = all_met && target.met;
    fmt::print("{:<8} {:>7.1f} % {:>10}   {:.3f} to {:.3f}   {:>7.1f}{}\n", name, 100 * figure.test_accuracy,
               target.words, figure.first_loss, figure.last_loss, figure.seconds, target.met ? "" : "   MISSED");
    std::fflush(stdout);
    report["models"].push_back({{"model", name},
                                {"test_accuracy", figure.test_accuracy},
                                {"first_loss", figure.first_loss},
                                {"last_loss", figure.last_loss},
                                {"seconds", figure.seconds},
                                {"met", target.met}});
  }

  fmt::print("\nthe loss under a mistake, {} steps of the cnn in float64 (visible above {:g})\n", kMistakeSteps,
             kVisible);
  for (const MistakeFigure& figure : MistakeFigures(data, kMistakeSteps, arguments.seed)) {
    const bool met = figure.loss_change > kVisible;
    all_met = all_met && (met || !demanded);
    fmt::print("{:<46} {:>9.2e}   {}\n", figure.mistake, figure.loss_change,
               met ? fmt::format("from step {}", figure.first_visible) : "NOT VISIBLE");
    report["mistakes"].push_back({{"mistake", figure.mistake},
                                  {"loss_change", figure.loss_change},
                                  {"first_visible", figure.first_visible},
                                  {"met", met}});
  }

  if (!arguments.json.empty()) {
    std::ofstream file(arguments.json);
    file << report.dump(2) << "\n";
    file.close();
    if (!file) throw EnvironmentError(fmt::format("{} cannot be written", arguments.json));
  }
  return all_met ? 0 : 1;
}

}  // namespace
}  // namespace shardlab::cifar

int main(int argc, char** argv) {
  CLI::App app{"How hard a data set is: the accuracy of each model, and what a mistake does to the loss."};
  shardlab::cifar::Arguments arguments;
  app.add_option("--steps", arguments.steps, "training steps a model")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  app.add_option("--seed", arguments.seed, "of the weights and of the order of the images")->capture_default_str();
  app.add_option("--data", arguments.data, "synthetic, cifar10 or cifar100")->capture_default_str();
  app.add_option("--dir", arguments.folder, "the folder of data sets")->capture_default_str();
  app.add_option("--models", arguments.models, "which models to train")->capture_default_str();
  app.add_option("--json", arguments.json, "write the figures to this file");
  try {
    app.parse(argc, argv);
    return shardlab::cifar::Run(arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const shardlab::UsageError& error) {
    fmt::print(stderr, "bench_data: {}\n", shardlab::Brief(error));
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_data: {}\n", shardlab::Brief(error));
    return 3;
  }
}
