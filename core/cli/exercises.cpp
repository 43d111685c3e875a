// lab hint, lab reset, lab diff: what concerns the student's own files.
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <sstream>

#include <fmt/format.h>

#include "commands.hpp"
#include "modules.hpp"
#include "progress_file.hpp"
#include "run_program.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/report/files.hpp"

namespace shardlab::cli {
namespace {

namespace fs = std::filesystem;

/// The hints of a file: texts separated by lines `---`, empty ones left out.
std::vector<std::string> SplitHints(const std::string& text) {
  std::vector<std::string> hints(1);
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.find_first_not_of('-') == std::string::npos && line.size() >= 3) {
      hints.emplace_back();
    } else {
      hints.back() += line + "\n";
    }
  }
  for (std::string& hint : hints) {
    hint.erase(0, std::min(hint.find_first_not_of('\n'), hint.size()));
    while (!hint.empty() && hint.back() == '\n') hint.pop_back();
  }
  hints.erase(std::remove(hints.begin(), hints.end(), ""), hints.end());
  return hints;
}

/// Markdown with each paragraph on one line, so that it can be broken where the terminal ends; what is laid out by hand
/// (code, lists, tables, headings, indented lines) stays as it is.
std::string JoinParagraphs(const std::string& markdown) {
  std::istringstream lines(markdown);
  std::string text;
  bool in_code = false, in_paragraph = false;
  for (std::string line; std::getline(lines, line);) {
    const bool fence = line.compare(0, 3, "```") == 0;
    const bool prose = !in_code && !fence && !line.empty() &&
                       std::string(" \t#|>-*+").find(line[0]) == std::string::npos &&
                       !(std::isdigit(static_cast<unsigned char>(line[0])) && line.find(". ") < 4);
    if (fence) in_code = !in_code;
    if (prose && in_paragraph) {
      text += " " + line;
    } else {
      text += (text.empty() ? "" : "\n") + line;
    }
    in_paragraph = prose;
  }
  return text;
}

/// A folder of this moment's own below .lab/backup.
std::string BackupFolder(const Context& context) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char stamp[32];
  std::strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &local);
  std::string folder = context.InState(fmt::format("backup/{}", stamp));
  for (int again = 2; fs::exists(folder); ++again) folder = context.InState(fmt::format("backup/{}-{}", stamp, again));
  return folder;
}

std::string Stub(const Context& context, const Rubric& rubric, const std::string& file) {
  return context.InRoot(fmt::format("graders/{}/stubs/{}", rubric.id, file));
}

std::string Mine(const Context& context, const Rubric& rubric, const std::string& file) {
  return context.InRoot(fmt::format("exercises/{}/{}", rubric.id, file));
}

/// The one module that reset and diff work on.
Selection OneModule(const Context& context, const std::string& what) {
  return Select(LoadRubrics(context.root), {what}).at(0);
}

}  // namespace

int Hint(const Context& context, const std::string& part, bool restart) {
  const std::vector<Rubric> rubrics = LoadRubrics(context.root);
  ProgressMap progress = LoadProgress(context);
  std::string word = part;
  if (word.empty()) {
    const NextUp next = FindNext(rubrics, progress);
    if (!next.part) {
      fmt::print("Everything has passed: no hint is needed.\n");
      return kAllPassed;
    }
    word = next.rubric->FullId(next.part->id);
  }
  const Selection selection = SelectPart(rubrics, word);
  const std::string id = selection.rubric.FullId(selection.parts[0]);
  const std::string file =
      context.InRoot(fmt::format("exercises/{}/hints/{}.md", selection.rubric.id, selection.parts[0]));
  std::error_code error;
  const std::vector<std::string> hints =
      fs::exists(file, error) ? SplitHints(ReadFile(file)) : std::vector<std::string>();
  if (hints.empty()) throw EnvironmentError(fmt::format("there are no hints for {} ({})", id, file));

  PartProgress& entry = progress[id];
  if (restart) entry.hints = 0;
  const int count = static_cast<int>(hints.size());
  const bool again = entry.hints >= count;
  entry.hints = again ? count : entry.hints + 1;
  entry.max = selection.rubric.Find(selection.parts[0])->points;
  const std::string heading = fmt::format("{}: hint {} of {}", id, entry.hints, count);
  fmt::print("{}\n\n", Paint(heading, Tone::kStrong, context.out));
  const std::string& hint = hints[static_cast<size_t>(entry.hints - 1)];
  for (const std::string& line : Wrap(JoinParagraphs(hint), context.out.width)) {
    fmt::print("{}\n", line);
  }
  if (again) {
    fmt::print("\nThat was the last one; `./lab hint {} --restart` begins again.\n", id);
  } else if (entry.hints < count) {
    fmt::print("\n{}\n", Paint(fmt::format("`./lab hint {}` shows the next one.", id), Tone::kQuiet, context.out));
  }
  SaveProgress(context, progress);
  return kAllPassed;
}

int Reset(const Context& context, const std::string& what) {
  const Selection selection = OneModule(context, what);
  const Rubric& rubric = selection.rubric;
  std::vector<std::string> changed;
  for (const std::string& file : FilesOf(rubric, selection.parts)) {
    const std::string stub = Stub(context, rubric, file), mine = Mine(context, rubric, file);
    std::error_code error;
    if (!fs::exists(stub, error)) throw EnvironmentError(fmt::format("{} is missing from this tree", stub));
    if (!fs::exists(mine, error) || ReadFile(stub) != ReadFile(mine)) changed.push_back(file);
  }
  if (changed.empty()) {
    fmt::print("{} is as it was shipped: there is nothing to reset.\n", what);
    return kAllPassed;
  }
  // Everything is kept aside before anything is replaced.
  const std::string backup = BackupFolder(context) + "/" + rubric.id;
  bool kept = false;
  for (const std::string& file : changed) {
    std::error_code error;
    if (!fs::exists(Mine(context, rubric, file), error)) continue;
    fs::create_directories(fs::path(backup + "/" + file).parent_path(), error);
    if (!error) fs::copy_file(Mine(context, rubric, file), backup + "/" + file, error);
    if (error) {
      throw EnvironmentError(fmt::format("cannot keep exercises/{}/{} aside in {}: {}; nothing was reset", rubric.id,
                                         file, backup, error.message()));
    }
    kept = true;
  }
  for (const std::string& file : changed) {
    WriteFileSafely(Mine(context, rubric, file), ReadFile(Stub(context, rubric, file)));
    fmt::print("exercises/{}/{} is the stub again\n", rubric.id, file);
  }
  if (kept) fmt::print("What was there is in {}\n", fs::path(backup).lexically_relative(context.root).string());
  return kAllPassed;
}

int Diff(const Context& context, const std::string& what) {
  const Selection selection = OneModule(context, what);
  const Rubric& rubric = selection.rubric;
  bool any = false;
  for (const std::string& file : FilesOf(rubric, selection.parts)) {
    const std::string name = fmt::format("exercises/{}/{}", rubric.id, file);
    std::error_code error;
    if (!fs::exists(Mine(context, rubric, file), error)) {
      fmt::print("{} is missing; `./lab reset {}` brings the stub back\n", name, rubric.id);
      any = true;
      continue;
    }
    std::fflush(stdout);
    const int status =
        RunProgram({"diff", "-u", context.out.colour ? "--color=always" : "--color=never", "--label", "stub/" + name,
                    "--label", "mine/" + name, Stub(context, rubric, file), Mine(context, rubric, file)});
    if (status == 127) throw EnvironmentError("diff was not found: install it (Debian: apt-get install diffutils)");
    if (status > 1) throw EnvironmentError(fmt::format("{} could not be compared with its stub", name));
    any = any || status == 1;
  }
  if (!any) fmt::print("{} is as it was shipped.\n", what);
  return kAllPassed;
}

}  // namespace shardlab::cli
