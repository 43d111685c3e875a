#include "modules.hpp"

#include <algorithm>
#include <filesystem>
#include <set>
#include <sstream>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/suggest.hpp"
#include "shardlab/base/visible.hpp"
#include "shardlab/report/files.hpp"

namespace shardlab::cli {
namespace {

namespace fs = std::filesystem;

bool Contains(const std::vector<std::string>& list, const std::string& what) {
  return std::find(list.begin(), list.end(), what) != list.end();
}

std::vector<std::string> PartIds(const Rubric& rubric) {
  std::vector<std::string> ids;
  for (const Part& part : rubric.parts) ids.push_back(part.id);
  return ids;
}

const Rubric* FindModule(const std::vector<Rubric>& rubrics, const std::string& id) {
  for (const Rubric& rubric : rubrics) {
    if (rubric.id == id) return &rubric;
  }
  return nullptr;
}

/// A word without a dot that names no module: a part, or a mistake.
std::string FullPartId(const std::vector<Rubric>& rubrics, const std::string& word) {
  std::vector<std::string> found, modules, full_ids;
  for (const Rubric& rubric : rubrics) {
    modules.push_back(rubric.id);
    for (const Part& part : rubric.parts) full_ids.push_back(rubric.FullId(part.id));
    if (rubric.Find(word)) found.push_back(rubric.FullId(word));
  }
  if (found.size() == 1) return found[0];
  if (found.size() > 1) {
    throw UsageError(fmt::format("several modules have a part '{}': say which, {}", word, fmt::join(found, " or ")));
  }
  if (Nearest(word, modules).empty()) {  // perhaps a mistyped part
    std::vector<std::string> parts;
    for (const Rubric& rubric : rubrics) {
      for (const Part& part : rubric.parts) parts.push_back(part.id);
    }
    const std::string near = Nearest(word, parts);
    for (const std::string& id : full_ids) {
      if (!near.empty() && id.substr(id.find('.') + 1) == near) {
        throw UsageError(fmt::format("unknown module or part '{}': did you mean '{}'? The modules are {}.", word, id,
                                     fmt::join(modules, ", ")));
      }
    }
  }
  throw UsageError(UnknownName("module", word, modules));
}

}  // namespace

std::string ShortId(const std::string& part) { return part.substr(part.find('.') + 1); }

std::vector<Selection> Select(const std::vector<Rubric>& rubrics, const std::vector<std::string>& words) {
  std::vector<std::string> asked;  // full ids
  for (const std::string& word : words) {
    const size_t dot = word.find('.');
    if (dot == std::string::npos) {
      if (const Rubric* rubric = FindModule(rubrics, word)) {
        for (const Part& part : rubric->parts) asked.push_back(rubric->FullId(part.id));
      } else {
        asked.push_back(FullPartId(rubrics, word));
      }
      continue;
    }
    const Rubric* rubric = FindModule(rubrics, word.substr(0, dot));
    if (!rubric) {
      std::vector<std::string> modules;
      for (const Rubric& known : rubrics) modules.push_back(known.id);
      throw UsageError(UnknownName("module", word.substr(0, dot), modules));
    }
    const std::string part = word.substr(dot + 1);
    if (!rubric->Find(part)) throw UsageError(UnknownName("part of " + rubric->id, part, PartIds(*rubric)));
    asked.push_back(word);
  }
  std::vector<Selection> selections;
  for (const Rubric& rubric : rubrics) {
    Selection selection;
    selection.rubric = rubric;
    for (const Part& part : rubric.parts) {
      if (words.empty() || Contains(asked, rubric.FullId(part.id))) selection.parts.push_back(part.id);
    }
    if (!selection.parts.empty()) selections.push_back(std::move(selection));
  }
  return selections;
}

Selection SelectPart(const std::vector<Rubric>& rubrics, const std::string& word) {
  std::vector<Selection> selections = Select(rubrics, {word});
  if (selections.size() != 1 || selections[0].parts.size() != 1) {
    const Rubric& rubric = selections.at(0).rubric;
    throw UsageError(fmt::format("'{}' is a module: name one of its parts, {}.{}", word, rubric.id,
                                 fmt::join(PartIds(rubric), fmt::format(", {}.", rubric.id))));
  }
  return selections[0];
}

std::vector<std::string> WithPrerequisites(const Rubric& rubric, const std::vector<std::string>& parts) {
  std::set<std::string> wanted(parts.begin(), parts.end());
  // `after` names earlier parts only, so one way back through the rubric finds all of them.
  for (auto part = rubric.parts.rbegin(); part != rubric.parts.rend(); ++part) {
    if (wanted.count(part->id)) wanted.insert(part->after.begin(), part->after.end());
  }
  std::vector<std::string> ordered;
  for (const Part& part : rubric.parts) {
    if (wanted.count(part.id)) ordered.push_back(part.id);
  }
  return ordered;
}

std::vector<std::string> FilesOf(const Rubric& rubric, const std::vector<std::string>& parts) {
  std::vector<std::string> files;
  for (const std::string& id : parts) {
    for (const std::string& file : rubric.Find(id)->files) {
      if (!Contains(files, file)) files.push_back(file);
    }
  }
  return files;
}

std::vector<CompileFailure> ReadCompileFailures(const SourceTree& tree, const Rubric& rubric) {
  std::vector<CompileFailure> failures;
  for (const std::string& file : FilesOf(rubric, PartIds(rubric))) {
    const std::string path = tree.InBuild(fmt::format("exercises/{}/{}.error.txt", rubric.id, file));
    std::error_code error;
    if (!fs::is_regular_file(path, error)) continue;
    std::vector<std::string> lines;
    std::istringstream text(Visible(ReadFile(path)));
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    CompileFailure failure;
    failure.file = file;
    if (!lines.empty()) failure.error = lines[0];
    // "exercises/m/ring.cpp:12:3: error: ..." and the lines below it that show the place.
    const std::string own = fmt::format("exercises/{}/{}:", rubric.id, file);
    const auto is_error = [](const std::string& line) { return line.find(" error: ") != std::string::npos; };
    auto first = std::find_if(lines.begin(), lines.end(), [&](const std::string& line) {
      return line.compare(0, own.size(), own) == 0 && is_error(line);
    });
    if (first == lines.end()) first = std::find_if(lines.begin(), lines.end(), is_error);
    if (first != lines.end()) {
      failure.error = *first;
      for (auto line = first + 1; line != lines.end() && line - first <= 3; ++line) {
        if (line->find(" | ") == std::string::npos) break;
        failure.error += "\n" + *line;
      }
    }
    failures.push_back(std::move(failure));
  }
  return failures;
}

}  // namespace shardlab::cli
