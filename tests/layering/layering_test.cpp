// Arrows only downwards: reads every #include of the project and holds it against the layers below.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

const fs::path kRoot = SHARDLAB_SOURCE_DIR;
const fs::path kBuild = SHARDLAB_BINARY_DIR;

struct Include {
  std::string file;    // relative to the root
  std::string target;  // what stands between the quotes or brackets
};

std::vector<Include> IncludesBelow(const fs::path& folder) {
  std::vector<Include> includes;
  if (!fs::exists(kRoot / folder)) return includes;
  for (const auto& entry : fs::recursive_directory_iterator(kRoot / folder)) {
    const auto extension = entry.path().extension();
    if (extension != ".cpp" && extension != ".hpp") continue;
    std::ifstream in(entry.path());
    for (std::string line; std::getline(in, line);) {
      const auto hash = line.find_first_not_of(" \t");
      if (hash == std::string::npos || line.compare(hash, 8, "#include") != 0) continue;
      const auto open = line.find_first_of("\"<", hash);
      const auto close = open == std::string::npos ? open : line.find_first_of("\">", open + 1);
      if (close == std::string::npos) continue;
      includes.push_back({fs::relative(entry.path(), kRoot).string(), line.substr(open + 1, close - open - 1)});
    }
  }
  return includes;
}

bool StartsWith(const std::string& text, const std::string& prefix) {
  return text.compare(0, prefix.size(), prefix) == 0;
}

// "comm" for "shardlab/comm/matcher.hpp", "" for what is not ours.
std::string LayerOf(const std::string& target) {
  if (!StartsWith(target, "shardlab/")) return "";
  const auto slash = target.find('/', 9);
  return slash == std::string::npos ? "" : target.substr(9, slash - 9);
}

// "comm" for "core/src/comm/matcher.cpp" and for "core/include/shardlab/comm/matcher.hpp".
std::string LayerOfCoreFile(const std::string& file) {
  for (const std::string prefix : {"core/src/", "core/include/shardlab/"}) {
    if (StartsWith(file, prefix)) return file.substr(prefix.size(), file.find('/', prefix.size()) - prefix.size());
  }
  return "";
}

// What each folder of core may include besides itself.
const std::map<std::string, std::set<std::string>> kMayInclude = {
    {"base", {}},
    {"comm", {"base"}},
    {"measure", {"base"}},
    {"report", {"base", "comm", "grade"}},  // of these only what a result is: see below
    {"autograd", {"base", "comm"}},
    {"plan", {"base"}},
    {"layers", {"base", "comm", "autograd", "plan"}},
    {"models", {"base", "autograd", "measure", "layers"}},
    {"launch", {"base", "comm"}},
    {"grade", {"base", "comm", "measure", "launch"}},
    {"communication", {"base", "comm", "autograd"}},
    {"tensor_parallel", {"base", "comm", "autograd", "layers", "models", "plan"}},
    {"pipeline", {"base", "comm", "autograd", "plan", "layers"}},
    {"spatial", {"base", "comm", "autograd", "plan", "layers", "pipeline"}},
};

TEST(Layering, CoreFoldersIncludeOnlyWhatLiesBelowThem) {
  int seen = 0;
  for (const auto& include : IncludesBelow("core")) {
    const std::string from = LayerOfCoreFile(include.file);
    const std::string to = LayerOf(include.target);
    if (from.empty() || to.empty() || from == to) continue;
    ++seen;
    const auto rule = kMayInclude.find(from);
    ASSERT_NE(rule, kMayInclude.end()) << include.file << ": say in this test what the folder " << from
                                       << " may include";
    EXPECT_TRUE(rule->second.count(to)) << include.file << " includes " << include.target << ": " << from
                                        << " must not know " << to;
  }
  EXPECT_GT(seen, 0) << "no include was read: is " << kRoot << " the source folder?";
}

TEST(Layering, ReportsKnowOfGradingOnlyWhatAResultIs) {
  const std::set<std::string> allowed = {"shardlab/comm/record.hpp", "shardlab/grade/case.hpp",
                                         "shardlab/grade/frame.hpp", "shardlab/grade/learning_curve.hpp"};
  for (const auto& include : IncludesBelow("core")) {
    const std::string to = LayerOf(include.target);
    if (LayerOfCoreFile(include.file) != "report" || (to != "grade" && to != "comm")) continue;
    EXPECT_TRUE(allowed.count(include.target)) << include.file << " includes " << include.target;
  }
}

TEST(Layering, NothingIncludesExercisesSolutionsOrGraders) {
  for (const fs::path folder : {"core", "exercises", "solutions", "graders", "cifar", "tests"}) {
    for (const auto& include : IncludesBelow(folder)) {
      for (const std::string forbidden : {"exercises/", "solutions/", "graders/"}) {
        EXPECT_EQ(include.target.find(forbidden), std::string::npos)
            << include.file << " includes " << include.target << ": what is there is chosen when a program is linked";
      }
    }
  }
}

TEST(Layering, GradersShareTheKitWhichKnowsNoModule) {
  std::set<std::string> modules;
  for (const auto& folder : fs::directory_iterator(kRoot / "graders")) {
    if (folder.is_directory() && folder.path().filename() != "kit") modules.insert(folder.path().filename());
  }
  int shared = 0;
  for (const auto& include : IncludesBelow("graders")) {
    if (StartsWith(include.target, "kit/")) ++shared;
    for (const std::string& module : modules) {
      EXPECT_FALSE(StartsWith(include.target, module + "/")) << include.file << " includes " << include.target;
    }
    if (!StartsWith(include.file, "graders/kit/")) continue;
    EXPECT_FALSE(modules.count(LayerOf(include.target))) << include.file << " includes " << include.target;
  }
  EXPECT_GT(shared, 0);
}

TEST(Layering, StudentsAndSolutionsKnowNothingOfGradingOrReports) {
  for (const fs::path folder : {"exercises", "solutions"}) {
    for (const auto& include : IncludesBelow(folder)) {
      for (const std::string forbidden :
           {"shardlab/grade/", "shardlab/report/", "shardlab/launch/", "shardlab/cifar/"}) {
        EXPECT_FALSE(StartsWith(include.target, forbidden)) << include.file << " includes " << include.target;
      }
    }
  }
}

TEST(Layering, TheSupervisorAndPlansKnowNoLibTorch) {
  for (const fs::path folder : {"core/cli", "core/include/shardlab/plan", "core/src/plan"}) {
    const auto includes = IncludesBelow(folder);
    EXPECT_FALSE(includes.empty()) << folder;
    for (const auto& include : includes) {
      for (const std::string forbidden : {"ATen/", "torch/", "c10/", "gtest/"}) {
        EXPECT_FALSE(StartsWith(include.target, forbidden)) << include.file << " includes " << include.target;
      }
    }
  }
}

// The text of a file that people read: all of a .md, the comments of the others.
std::string ReadableText(const fs::path& file) {
  std::ifstream in(file);
  std::string text;
  for (std::string line; std::getline(in, line);) {
    const size_t begin = file.extension() == ".md" ? 0 : line.find("//");
    if (begin != std::string::npos && (begin == 0 || line[begin - 1] != ':')) text += line.substr(begin) + "\n";
  }
  return text;
}

// Whether one of `files` is this one, or one of `folders`: named from the root or from any folder on the way to it.
bool Exists(const std::string& word, const std::set<std::string>& tree) {
  return std::any_of(tree.begin(), tree.end(), [&](const std::string& path) {
    return path == word || (path.size() > word.size() && path[path.size() - word.size() - 1] == '/' &&
                            path.compare(path.size() - word.size(), word.size(), word) == 0);
  });
}

TEST(Layering, CommentsAndDocsNameFilesThatExist) {
  const std::set<std::string> folders = {"cifar",     "cmake",   "core",      "docs",
                                         "exercises", "graders", "solutions", "tests"};
  std::set<std::string> tree = {"README.md", "LICENSE"};
  std::vector<fs::path> texts = {kRoot / "README.md"};
  for (const std::string& folder : folders) {
    tree.insert(folder);
    for (const auto& entry : fs::recursive_directory_iterator(kRoot / folder)) {
      tree.insert(fs::relative(entry.path(), kRoot).string());
      const auto extension = entry.path().extension();
      if (extension == ".md" || extension == ".cpp" || extension == ".hpp") texts.push_back(entry.path());
    }
  }
  // A path from a folder of the root, or a header or a page by its name. What is made up for an example is of the module
  // `scan` or `m`, or of the schedule eager.
  const std::regex path("[A-Za-z0-9_.][A-Za-z0-9_./-]*[A-Za-z0-9_]");
  const std::regex example("(^|/)(scan|m)(/|$)|generators_eager");
  int seen = 0;
  for (const fs::path& file : texts) {
    const std::string text = ReadableText(file);
    for (auto at = std::sregex_iterator(text.begin(), text.end(), path); at != std::sregex_iterator(); ++at) {
      const size_t end = static_cast<size_t>(at->position() + at->length());
      const std::string word = at->str().compare(0, 2, "./") == 0 ? at->str().substr(2) : at->str();
      const size_t slash = word.find('/');
      const bool from_root = slash != std::string::npos && folders.count(word.substr(0, slash)) > 0;
      const std::string extension = fs::path(word).extension();
      const bool named = extension == ".hpp" || extension == ".md";
      const bool goes_on = end < text.size() && std::string("<*{[").find(text[end]) != std::string::npos;
      if ((!from_root && !named) || goes_on || std::regex_search(word, example)) continue;
      ++seen;
      EXPECT_TRUE(Exists(word, tree)) << fs::relative(file, kRoot).string() << " speaks of " << word;
    }
  }
  EXPECT_GT(seen, 100);
}

// What the dynamic linker loads for a program or a shared object, directly or not.
std::string Loads(const fs::path& file) {
  const std::string command = "ldd '" + file.string() + "' 2>&1";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::string text;
  std::array<char, 4096> line{};
  while (pipe && fgets(line.data(), line.size(), pipe.get())) text += line.data();
  return text;
}

const std::vector<std::string> kLibTorch = {"libtorch", "libc10", "libgloo", "libshardlab_core"};

TEST(Layering, WhatIsPlainLoadsNoLibTorch) {
  std::set<std::string> names = {"lab"};
  for (const char* folder : {"bin", "lib"}) {
    for (const auto& entry : fs::directory_iterator(kBuild / folder)) {
      const std::string name = entry.path().filename();
      if (name.find("_plain") != std::string::npos) names.insert(name);
    }
  }
  for (const char* name :
       {"host_pipeline_plain_exercises", "referee_pipeline_plain", "libpipeline_plain_exercises.so"}) {
    EXPECT_TRUE(names.count(name)) << "not built: " << name;
  }
  for (const std::string& name : names) {
    const std::string loads = Loads(kBuild / (StartsWith(name, "lib") ? "lib" : "bin") / name);
    EXPECT_NE(loads.find("libstdc++"), std::string::npos) << name << " loads:\n" << loads;
    for (const std::string& forbidden : kLibTorch) {
      EXPECT_EQ(loads.find(forbidden), std::string::npos) << name << " loads:\n" << loads;
    }
  }
  // The ordinary host shows what would be seen otherwise.
  const std::string ordinary = Loads(kBuild / "bin" / "host_pipeline_exercises");
  EXPECT_NE(ordinary.find("libpipeline_plain_exercises.so"), std::string::npos) << ordinary;
  for (const std::string library : {"libtorch", "libc10", "libshardlab_core"}) {
    EXPECT_NE(ordinary.find(library), std::string::npos) << ordinary;
  }
}

}  // namespace
