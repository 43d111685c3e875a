#include "workshop.hpp"

#include <filesystem>
#include <sstream>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "run_program.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/report/files.hpp"

namespace shardlab::mutants {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCompileLimit = "300";  // seconds

/// What a command said, and how it ended.
struct Said {
  int status = 0;
  std::vector<std::string> lines;
};

Said Shell(const std::string& folder, const std::string& command) {
  Said said;
  cli::RunOptions options;
  options.on_line = [&](const std::string& line) { said.lines.push_back(line); };
  options.environment = {{"LC_ALL", "C"}};
  said.status =
      cli::RunProgram({"timeout", "-k", "5", kCompileLimit, "sh", "-c", "cd \"$0\" && " + command, folder}, options);
  return said;
}

std::string FirstError(const Said& said) {
  for (const std::string& line : said.lines) {
    if (line.find("error:") != std::string::npos) return line;
  }
  return said.lines.empty() ? fmt::format("exit status {}", said.status) : said.lines.front();
}

/// The files of `folder` that a unit of a unity build includes, without the folder; of another unit the file itself.
std::vector<std::string> FilesOf(const std::string& unit, const std::string& folder) {
  std::vector<std::string> files;
  const auto add = [&](const std::string& path) {
    if (path.compare(0, folder.size(), folder) == 0) files.push_back(path.substr(folder.size()));
  };
  add(unit);
  std::error_code error;
  if (!files.empty() || !fs::is_regular_file(unit, error)) return files;
  std::istringstream lines(ReadFile(unit));
  for (std::string line; std::getline(lines, line);) {
    const size_t open = line.find('"'), close = line.rfind('"');
    if (line.compare(0, 8, "#include") == 0 && open < close) add(line.substr(open + 1, close - open - 1));
  }
  return files;
}

void Replace(std::string* text, const std::string& what, const std::string& with) {
  const size_t at = text->find(what);
  if (at == std::string::npos) {
    throw EnvironmentError(fmt::format("the link command of this build does not name {}: {}", what, *text));
  }
  text->replace(at, what.size(), with);
}

/// The word behind `option`, or "".
std::string WordAfter(const std::string& command, const std::string& option) {
  std::istringstream words(command);
  for (std::string word; words >> word;) {
    if (word == option && words >> word) return word;
  }
  return "";
}

/// "libpipeline_solutions.so" for ".../CMakeFiles/pipeline_solutions.dir/...".
std::string LibraryOf(const std::string& object) {
  const std::string before = "CMakeFiles/";
  const size_t start = object.find(before), end = object.find(".dir/");
  if (start == std::string::npos || end == std::string::npos) return "";
  return fmt::format("lib{}.so", object.substr(start + before.size(), end - start - before.size()));
}

/// The files that a compiler wrote down in a rule for make.
std::vector<std::string> Dependencies(const std::string& path) {
  std::vector<std::string> files;
  std::istringstream words(ReadFile(path));
  std::string word;
  words >> word;  // the target
  while (words >> word) {
    if (word != "\\") files.push_back(word);
  }
  return files;
}

/// Whether `object` is younger than all that it was made of.
bool IsFresh(const std::string& object, const std::string& included) {
  std::error_code error;
  const auto made = fs::last_write_time(object, error);
  if (error || !fs::exists(object + ".d", error)) return false;
  std::vector<std::string> sources = Dependencies(object + ".d");
  if (!included.empty()) sources.push_back(included + ".gch");
  for (const std::string& source : sources) {
    const auto changed = fs::last_write_time(source, error);
    if (error && source == included + ".gch") continue;  // a build without precompiled headers
    if (error || changed > made) return false;
  }
  return true;
}

std::string ReadIfThere(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) ? ReadFile(path) : "";
}

}  // namespace

Workshop::Workshop(const cli::Context& context, const std::string& module) : context_(context), module_(module) {
  const std::string folder = context.InRoot("solutions/" + module) + "/";
  const std::string library = fmt::format("lib{}_solutions.so", module);
  const std::string plain = fmt::format("lib{}_plain_solutions.so", module);
  const auto commands = nlohmann::json::parse(ReadFile(context.InBuild("compile_commands.json")), nullptr, false);
  if (!commands.is_array()) {
    throw EnvironmentError(fmt::format("{}/compile_commands.json cannot be read: delete {} and run ./lab again",
                                       context.build, context.build));
  }
  for (const auto& entry : commands) {
    Command command;
    command.text = entry.value("command", "");
    command.object = WordAfter(command.text, "-o");
    command.included = WordAfter(command.text, "-include");
    command.library = LibraryOf(command.object);
    if (command.library != library && command.library != plain) continue;
    const size_t end = command.text.rfind(" -o ");
    if (end == std::string::npos || command.object.empty()) continue;
    command.text.resize(end);
    // A replaced file finds what stands beside the solution's file.
    command.text += " -iquote '" + folder + "'";
    for (const std::string& file : FilesOf(entry.value("file", ""), folder)) compile_[file] = command;
  }
  for (const auto& [file, command] : compile_) {
    if (link_.count(command.library)) continue;
    const Said said = Shell(context.build, "ninja -t commands -s lib/" + command.library);
    if (said.status == 0 && !said.lines.empty()) link_[command.library] = said.lines.back();
  }
  if (link_.empty()) {
    throw EnvironmentError(
        fmt::format("the build in {} does not say how it makes lib/lib{}_solutions.so: run ./lab test mutants, which "
                    "configures and builds it",
                    context.build, module));
  }
}

std::string Workshop::Folder(const std::string& name) const {
  return context_.InBuild(fmt::format("mutants/{}/{}", module_, name));
}

void Workshop::Compile(const std::string& source, const std::string& object, const Command& command) const {
  const std::string text = fmt::format("{} -MD -MF '{}.d' -o '{}' -c '{}'", command.text, object, object, source);
  if (ReadIfThere(object + ".command") == text && IsFresh(object, command.included)) return;
  std::error_code error;
  fs::remove(object, error);
  const Said said = Shell(context_.build, text);
  if (said.status == 124 || said.status == 137) {
    throw EnvironmentError(fmt::format("the compiler did not come to an end within {} s", kCompileLimit));
  }
  if (said.status != 0) throw UsageError("does not compile: " + FirstError(said));
  WriteFileSafely(object + ".command", text);
}

const Workshop::Command& Workshop::CommandOf(const std::string& file) const {
  const auto command = compile_.find(file);
  if (command == compile_.end() || !link_.count(command->second.library)) {
    throw EnvironmentError(
        fmt::format("this build does not compile solutions/{}/{}: is it among the files of "
                    "graders/{}/CMakeLists.txt?",
                    module_, file, module_));
  }
  return command->second;
}

bool Workshop::IsPlain(const std::string& file) const {
  return CommandOf(file).library == fmt::format("lib{}_plain_solutions.so", module_);
}

std::string Workshop::Build(const std::string& name, const std::map<std::string, std::string>& files) const {
  const std::string folder = Folder(name);
  fs::create_directories(folder);
  // A unit of the build has other files besides: they are taken from it, and what the new objects define they define
  // instead, since the unit's symbols are made weak.
  std::map<std::string, std::string> links;    // those of link_ that hold one of the files
  std::map<std::string, std::string> objects;  // of the units in which one of the files is: what stands in their place
  for (const auto& [file, source] : files) {
    const Command& command = CommandOf(file);
    links.emplace(command.library, link_.at(command.library));
    const std::string object = fmt::format("{}/{}.o", folder, file);
    Compile(source, object, command);
    objects[command.object] += fmt::format(" '{}'", object);
  }
  for (auto& [library, link] : links) {
    Replace(&link, fmt::format(" -o lib/{} ", library), fmt::format(" -o '{}/{}' ", folder, library));
    for (const auto& [unit, replacing] : objects) {
      if (LibraryOf(unit) != library) continue;
      const std::string weak = fmt::format("{}/{}", folder, fs::path(unit).filename().string());
      const Said said =
          Shell(context_.build, fmt::format("nm -g --defined-only '{0}' | awk '{{ print $3 }}' > '{1}.names' && "
                                            "objcopy --weaken-symbols='{1}.names' '{0}' '{1}'",
                                            unit, weak));
      if (said.status != 0) throw EnvironmentError(fmt::format("objcopy {}: {}", unit, FirstError(said)));
      Replace(&link, " " + unit + " ", fmt::format("{} '{}' ", replacing, weak));
    }
  }
  for (const auto& [library, link] : links) {
    const Said said = Shell(context_.build, link);
    if (said.status != 0) throw UsageError("does not link: " + FirstError(said));
  }
  return folder;
}

}  // namespace shardlab::mutants
