#include "graders.hpp"

#include <algorithm>
#include <fstream>

#include <fmt/format.h>

#include "build.hpp"

namespace shardlab::cli {

Graders GradersOf(const SourceTree& tree, const std::string& module, const std::string& flavour, bool quick) {
  Graders graders;
  const auto add = [&](const std::string& name) {
    const std::string host = fmt::format("host_{}_{}", name, flavour), referee = "referee_" + name;
    graders.targets.insert(graders.targets.end(), {host, referee});
    graders.programs.push_back({tree.InBuild("bin/" + host), tree.InBuild("bin/" + referee)});
  };
  const std::vector<std::string> referees = ProgramsInBuild(tree, "referee_");
  const std::string plain = module + "_plain";
  if (std::find(referees.begin(), referees.end(), "referee_" + plain) != referees.end()) add(plain);
  if (!quick) add(module);
  return graders;
}

std::vector<std::string> PlainFiles(const SourceTree& tree, const std::string& module) {
  std::vector<std::string> files;
  std::ifstream ninja(tree.InBuild("build.ninja"));
  const std::string folder = fmt::format("/{}_plain_exercises.dir/", module), end = ".cpp.o:";
  for (std::string line; std::getline(ninja, line);) {
    if (line.compare(0, 6, "build ") != 0 || line.find(folder) == std::string::npos) continue;
    const size_t stop = line.find(end);
    if (stop == std::string::npos) continue;
    const size_t start = line.rfind('/', stop) + 1;
    files.push_back(line.substr(start, stop - start) + ".cpp");
  }
  return files;
}

}  // namespace shardlab::cli
