#include "context.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include <fmt/format.h>

#include "run_program.hpp"
#include "shardlab/base/errors.hpp"

namespace shardlab::cli {
namespace {

namespace fs = std::filesystem;

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

/// The build folder of this very program: <build>/bin/lab.
std::string OwnBuild() {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  return self.parent_path().parent_path().string();
}

/// The source folder that a build folder was configured for.
std::string RootOf(const std::string& build) {
  std::ifstream cache(build + "/CMakeCache.txt");
  const std::string key = "CMAKE_HOME_DIRECTORY:INTERNAL=";
  for (std::string line; std::getline(cache, line);) {
    if (line.compare(0, key.size(), key) == 0) return line.substr(key.size());
  }
  return "";
}

}  // namespace

std::string SourceTree::InState(const std::string& path) const {
  const fs::path state = fs::path(root) / ".lab";
  std::error_code error;
  fs::create_directories((state / path).parent_path(), error);
  if (error) throw EnvironmentError(fmt::format("cannot make the folder {}: {}", state.string(), error.message()));
  return (state / path).string();
}

bool SourceTree::HasSolutions() const {
  std::error_code error;
  return fs::is_directory(InRoot("solutions"), error);
}

Context MakeContext() {
  Context context;
  context.out = Terminal::Of(STDOUT_FILENO);
  context.err = Terminal::Of(STDERR_FILENO);
  context.build = Environment("LAB_BUILD");
  if (context.build.empty()) context.build = OwnBuild();
  context.root = Environment("LAB_ROOT");
  if (context.root.empty()) context.root = RootOf(context.build);
  std::error_code error;
  if (context.root.empty() || !fs::is_directory(fs::path(context.root) / "graders", error)) {
    throw UsageError(fmt::format("LAB_ROOT is \"{}\", which has no folder graders: run ./lab in the root of shardlab",
                                 context.root));
  }
  const std::string jobs = Environment("LAB_JOBS");
  if (jobs.empty()) {
    context.jobs = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  } else {
    context.jobs = std::atoi(jobs.c_str());
    if (context.jobs < 1) {
      throw UsageError(fmt::format("LAB_JOBS is \"{}\": give the number of parallel jobs, LAB_JOBS=2", jobs));
    }
  }
  return context;
}

std::string Revision(const SourceTree& tree) {
  std::string revision;
  RunOptions options;
  options.on_line = [&](const std::string& line) { revision = line; };
  const int status = RunProgram({"git", "-C", tree.root, "rev-parse", "HEAD"}, options);
  return status == 0 ? revision : "";
}

}  // namespace shardlab::cli
