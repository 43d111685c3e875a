// What `lab train` reads: options from a file, the record and the parts of a checkpoint.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include <fmt/format.h>
#include <torch/csrc/jit/serialization/pickle.h>
#include <torch/torch.h>

#include "../../cifar/train/checkpoint.hpp"
#include "../../cifar/train/request.hpp"
#include "shardlab/base/errors.hpp"
#include "target.hpp"

namespace shardlab::fuzz {
namespace {

using train::RunRecord;
using train::TrainRequest;

const char* const kFolder = "checkpoint";  // in the worker's own folder

void WriteInput(const std::string& path, const std::string& bytes) {
  mkdir(kFolder, 0777);
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string Written(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// --- config

std::vector<std::string> ConfigSeeds() {
  return {
      "mesh = \"data=2,tensor=2\"\nmodel = \"cnn\"\nsteps = 20\nseed = 7\ncompare = true\n",
      "# a pipeline\nmesh = \"data=2,pipe=4\"\nmodel = \"transformer-8-64\"\nschedule = \"interleaved\"\n"
      "micro-batches = 8\nchunks = 2\nrecompute = \"except_last\"\nbalance = \"even\"\n",
      "mesh = 'pipe=2'\nmodel = 'resnet18'\nbalance = '3,7'\nschedule = '2bw'\noptimizer = 'adam'\nlr = 0.001\n"
      "clip = 1.5\nbatch = 32\nimage = 64\naugment = true\ndtype = 'float32'\nlimit = 60\n",
      "model=\"unet-3-8\"\nmesh=\"pipe=3\"\nschedule=\"zb-h1\"\nsave=\"out\"\nresume=\"none\"\ntrace=\"t.json\"\n",
  };
}

void TryConfig(const std::string& input) {
  WriteInput("config.toml", input);
  std::string words[] = {"lab train", "--config", "config.toml"};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  TrainRequest request;
  train::ReadRequest(3, arguments, &request);
}

// --- run.json

RunRecord SomeRecord() {
  TrainRequest request;
  request.model = "cnn";
  request.data = "synthetic";
  request.dtype = "float64";
  RunRecord record = RecordOf(request);
  record.losses = {2.3, 1.9, 1.5};
  record.steps = 3;
  return record;
}

std::vector<std::string> RecordSeeds() {
  mkdir(kFolder, 0777);
  train::WriteRecord(kFolder, SomeRecord());
  return {Written(fmt::format("{}/run.json", kFolder))};
}

void TryRecord(const std::string& input) {
  WriteInput(fmt::format("{}/run.json", kFolder), input);
  std::string words[] = {"lab train", "--resume", kFolder};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  TrainRequest request;
  train::ReadRequest(3, arguments, &request);
}

// --- parts

std::string PartPath() { return fmt::format("{}/step3.part0of1.pt", kFolder); }

std::vector<std::string> PartSeeds() {
  mkdir(kFolder, 0777);
  std::vector<std::string> seeds;
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    train::Pieces pieces;
    pieces.push_back({"parameters/fc1.weight", WholeBox({3, 4}), at::rand({3, 4}, dtype)});
    pieces.push_back({"optimizer/fc1.weight/step", {}, at::scalar_tensor(3, at::kLong)});
    train::WritePart(kFolder, SomeRecord(), 0, pieces);
    seeds.push_back(Written(PartPath()));
  }
  return seeds;
}

void TryPart(const std::string& input) {
  WriteInput(PartPath(), input);
  const train::SavedTensors tensors(kFolder, SomeRecord());
}

const Registered kConfig({"config",
                          "lab train --config: options from a file",
                          ConfigSeeds,
                          TryConfig,
                          {"mesh=", "[section]\n", "\"\"\"", "'", "=", "pipe=", "true", "[1,2]", "balance=", "\n",
                           "schedule=\"pipedream\"\n", "steps="}});
const Registered kRecord({"run",
                          "lab train --resume: run.json, the record of a checkpoint",
                          RecordSeeds,
                          TryRecord,
                          {"null", "[", "{", "\"model\":", "-1", "1e999", "true"}});
const Registered kParts({"checkpoint", "lab train --resume: the tensors of a checkpoint", PartSeeds, TryPart, {}});

}  // namespace
}  // namespace shardlab::fuzz
