#pragma once

#include <string>
#include <vector>

#include "context.hpp"
#include "shardlab/report/rubric.hpp"
#include "shardlab/report/score_card.hpp"

/// \file
/// What a person means by "communication" or "communication.ring".

namespace shardlab::cli {

/// A module and some of its parts.
struct Selection {
  Rubric rubric;
  std::vector<std::string> parts;  ///< ids without the module, in the rubric's order; never empty

  bool whole() const { return parts.size() == rubric.parts.size(); }
};

/// "ring" of "communication.ring".
std::string ShortId(const std::string& part);

/// Reads MODULE and MODULE.PART words; a part's own id is enough where only one module has it. No word: everything.
/// The modules come in the order of the course, the parts in that of the rubric, each once.
/// \throws UsageError that says what there is and what is nearest.
std::vector<Selection> Select(const std::vector<Rubric>& rubrics, const std::vector<std::string>& words);

/// As Select(), for one word that must name one part.
Selection SelectPart(const std::vector<Rubric>& rubrics, const std::string& word);

/// A module's parts and everything that they come after, directly or not.
std::vector<std::string> WithPrerequisites(const Rubric& rubric, const std::vector<std::string>& parts);

/// The student's files of some parts, each once.
std::vector<std::string> FilesOf(const Rubric& rubric, const std::vector<std::string>& parts);

/// The files of a module that the compiler or the linker refused in the last build, with what a student needs to see of
/// their words: for a compiler the first error in that file and its place.
std::vector<CompileFailure> ReadCompileFailures(const SourceTree& tree, const Rubric& rubric);

}  // namespace shardlab::cli
