// What every module of the course promises, checked for each graders/<module>/rubric.toml that there is.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "shardlab/grade/session.hpp"
#include "shardlab/report/rubric.hpp"

namespace {

namespace fs = std::filesystem;
using shardlab::Part;
using shardlab::Rubric;
using shardlab::grade::CaseResult;
using shardlab::grade::RunGradeSession;
using shardlab::grade::SessionOptions;
using shardlab::grade::Status;

const fs::path kRoot = SHARDLAB_SOURCE_DIR;
const fs::path kBuild = SHARDLAB_BINARY_DIR;

std::string ReadAll(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << "cannot read " << path;
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::set<std::string> SourcesIn(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".cpp") names.insert(entry.path().filename());
  }
  return names;
}

// Symbols that a shared object defines for others, demangled. Left out: weak ones (templates and inline functions of
// libraries, which have one address in the whole program) and the linker's own.
std::set<std::string> ExportedSymbols(const fs::path& library) {
  EXPECT_TRUE(fs::exists(library)) << library;
  const std::string command = "nm -D -C --defined-only '" + library.string() + "'";
  std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::set<std::string> symbols;
  std::array<char, 4096> line{};
  while (pipe && fgets(line.data(), line.size(), pipe.get())) {
    std::string text(line.data());
    while (!text.empty() && text.back() == '\n') text.pop_back();
    const auto type = text.find(' ') + 1;  // "address type name"
    if (text.size() < type + 3 || std::string("TDBR").find(text[type]) == std::string::npos) continue;
    const std::string name = text.substr(type + 2);
    if (name != "__bss_start" && name != "_edata" && name != "_end") symbols.insert(name);
  }
  return symbols;
}

// A module, before it its half without LibTorch where it has one.
std::vector<std::string> HalvesOf(const std::string& module) {
  std::vector<std::string> halves;
  if (fs::exists(kBuild / "lib" / ("lib" + module + "_plain_stubs.so"))) halves.push_back(module + "_plain");
  halves.push_back(module);
  return halves;
}

SessionOptions OptionsFor(const std::string& module, const std::string& flavour) {
  SessionOptions options;
  options.module = module;
  for (const std::string& half : HalvesOf(module)) {
    options.programs.push_back(
        {kBuild / "bin" / ("host_" + half + "_" + flavour), kBuild / "bin" / ("referee_" + half)});
  }
  options.seed = 1;
  return options;
}

// What one flavour of a module gets, graded once.
const std::vector<CaseResult>& ResultsOf(const std::string& module, const std::string& flavour) {
  static std::map<std::pair<std::string, std::string>, std::vector<CaseResult>> results;
  const auto known = results.find({module, flavour});
  if (known != results.end()) return known->second;
  return results[{module, flavour}] = RunGradeSession(OptionsFor(module, flavour)).results;
}

// A part's section of the handout.
std::string SectionOf(const std::string& handout, const std::string& part) {
  const size_t heading = handout.find(". `" + part + "`");
  if (heading == std::string::npos) return "";
  return handout.substr(heading, handout.find("\n## ", heading) - heading);
}

class Module : public ::testing::TestWithParam<std::string> {
 protected:
  const Rubric& rubric() const { return rubric_; }

 private:
  const Rubric rubric_ = shardlab::LoadRubric(kRoot / "graders" / GetParam() / "rubric.toml");
};

TEST_P(Module, EverySolutionPassesEveryCaseOfEveryPart) {
  std::set<std::string> parts_with_cases, cases;
  for (const CaseResult& result : ResultsOf(GetParam(), "solutions")) {
    parts_with_cases.insert(result.part);
    EXPECT_TRUE(cases.insert(result.part + " " + result.id).second) << "two cases: " << result.part << " " << result.id;
    EXPECT_EQ(result.status, Status::kPassed) << result.part << " " << result.id << ": " << result.message;
  }
  for (const Part& part : rubric().parts) {
    EXPECT_TRUE(parts_with_cases.count(rubric().FullId(part.id))) << part.id << " has no case";
  }
}

TEST_P(Module, EveryStubSaysInItsOwnWordsThatItIsNotImplemented) {
  for (const CaseResult& result : ResultsOf(GetParam(), "stubs")) {
    EXPECT_EQ(result.status, Status::kNotImplemented) << result.part << " " << result.id << ": " << result.message;
    EXPECT_NE(result.message.find(GetParam() + "."), std::string::npos) << "names no part: " << result.message;
    EXPECT_NE(result.message.find("(exercises/" + GetParam() + "/"), std::string::npos)
        << "does not say where to begin: " << result.message;
    // The rubric's table of functions: what the stub says must be one that the case is said to need.
    const Part* part = rubric().Find(result.part.substr(GetParam().size() + 1));
    ASSERT_NE(part, nullptr) << result.part;
    const size_t row = part->PlaceOf(result.id).function;
    ASSERT_LT(row, part->functions.size())
        << result.id << " judges no function: add it to `functions` of " << result.part << " in the rubric";
    const size_t own = result.message.find(result.part + ": ");  // elsewhere a part before it is a stub too
    if (own == std::string::npos) continue;
    const size_t begin = own + result.part.size() + 2;
    const std::string function = result.message.substr(begin, result.message.find(' ', begin) - begin);
    const std::vector<std::string> needed = part->NeededBy(row);
    EXPECT_TRUE(std::count(needed.begin(), needed.end(), function))
        << result.part << " " << result.id << " calls " << function << ", which its line of `functions` does not name";
  }
}

TEST_P(Module, EveryFunctionOfTheRubricHasACase) {
  for (const Part& part : rubric().parts) {
    std::set<std::string> judged;
    for (const CaseResult& result : ResultsOf(GetParam(), "stubs")) {
      if (result.part != rubric().FullId(part.id)) continue;
      const shardlab::FunctionPlace place = part.PlaceOf(result.id);
      for (const std::string& name : part.NeededBy(place.function)) judged.insert(name);
    }
    for (const auto& function : part.functions) {
      EXPECT_TRUE(judged.count(function.name)) << part.id << ": no case judges " << function.name;
    }
  }
}

TEST_P(Module, EveryPartHasFilesHintsAndASectionOfTheHandout) {
  const fs::path exercises = kRoot / "exercises" / GetParam();
  const std::string handout = ReadAll(exercises / "README.md");
  for (const Part& part : rubric().parts) {
    EXPECT_FALSE(part.files.empty()) << part.id;
    for (const std::string& file : part.files) {
      EXPECT_TRUE(fs::exists(kRoot / "graders" / GetParam() / "stubs" / file)) << part.id << ": " << file;
    }
    EXPECT_FALSE(ReadAll(exercises / "hints" / (part.id + ".md")).empty()) << part.id << " has no hint";
    EXPECT_NE(handout.find("`" + part.id + "`"), std::string::npos) << "the handout does not name " << part.id;
  }
}

// "**Predict:** ... (`case/ranks=3`)": the figure of this case is on the score card once the part has passed. So does a
// handout that promises it.
TEST_P(Module, EveryPartAsksForAPredictionThatACaseOfItAnswers) {
  const std::string handout = ReadAll(kRoot / "exercises" / GetParam() / "README.md");
  if (handout.find("**Predict** stands at the end of each part") == std::string::npos) GTEST_SKIP() << "not promised";
  for (const Part& part : rubric().parts) {
    const std::string section = SectionOf(handout, part.id);
    const size_t question = section.find("**Predict:**");
    ASSERT_NE(question, std::string::npos) << part.id << " asks for no prediction";
    const std::string text = section.substr(question);
    bool answered = false;
    for (const CaseResult& result : ResultsOf(GetParam(), "solutions")) {
      if (result.part != rubric().FullId(part.id) || text.find("`" + result.id + "`") == std::string::npos) continue;
      EXPECT_TRUE(result.has_figure) << part.id << ": " << result.id << " shows no figure";
      answered = true;
    }
    EXPECT_TRUE(answered) << part.id << " has no case that is named in: " << text;
  }
}

TEST_P(Module, ExercisesStubsAndSolutionsAreTheSameFiles) {
  const auto stubs = SourcesIn(kRoot / "graders" / GetParam() / "stubs");
  EXPECT_EQ(SourcesIn(kRoot / "solutions" / GetParam()), stubs);
  std::set<std::string> graded;
  for (const Part& part : rubric().parts) graded.insert(part.files.begin(), part.files.end());
  EXPECT_EQ(graded, stubs) << "every file belongs to a part";
}

TEST_P(Module, TheExercisesAreShippedAsTheirStubs) {
  // A student's own tree differs, and should: only a tree that is about to be published has to be pristine.
  if (std::getenv("CI") == nullptr) GTEST_SKIP() << "checked where CI is set: here somebody may be solving them";
  for (const std::string& file : SourcesIn(kRoot / "graders" / GetParam() / "stubs")) {
    EXPECT_EQ(ReadAll(kRoot / "exercises" / GetParam() / file),
              ReadAll(kRoot / "graders" / GetParam() / "stubs" / file))
        << file;
  }
}

TEST_P(Module, ExportsItsContractsAndNothingElse) {
  for (const std::string& half : HalvesOf(GetParam())) {
    const auto stubs = ExportedSymbols(kBuild / "lib" / ("lib" + half + "_stubs.so"));
    EXPECT_FALSE(stubs.empty()) << half;
    EXPECT_EQ(ExportedSymbols(kBuild / "lib" / ("lib" + half + "_solutions.so")), stubs);
    for (const std::string& symbol : stubs) {
      EXPECT_NE(symbol.find("shardlab::"), std::string::npos) << symbol << " is exported but is no contract";
    }
  }
}

std::vector<std::string> ModuleNames() {
  std::vector<std::string> names;
  for (const Rubric& rubric : shardlab::LoadRubrics(kRoot)) names.push_back(rubric.id);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Course, Module, ::testing::ValuesIn(ModuleNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
