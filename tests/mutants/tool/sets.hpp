#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "shardlab/grade/case.hpp"
#include "shardlab/report/rubric.hpp"

/// \file
/// The grader's own test data: wrong versions of the solutions, and other right ones.
///
///     tests/mutants/<module>/<part>.toml                  [[mutant]] entries; see docs/mutants.md
///     tests/variants/<module>/<name>/variant.toml, *.cpp  files that stand in for those of solutions/<module>

namespace shardlab::mutants {

/// A text of the solution and what stands in its place.
struct Replacement {
  std::string old_text;  ///< occurs exactly once
  std::string new_text;  ///< may be empty
  std::string where;     ///< "tests/mutants/communication/ring.toml:12"
};

/// A wrong version of one file of a solution: the grader must fail it, and say why.
struct Mutant {
  std::string module;                             ///< "communication"
  std::string part;                               ///< the part that must fail, "ring"
  std::string name;                               ///< unique in the part
  std::string mistake;                            ///< what a student did, and why
  std::string file;                               ///< relative to solutions/<module>
  std::vector<Replacement> replace;               ///< applied one after the other; may be empty if there is a `source`
  std::string source;                             ///< path of a whole file in its place, before `replace`; or empty
  grade::Status status = grade::Status::kFailed;  ///< of a case that says all of `says`
  std::vector<std::string> says;                  ///< phrases of that case's message
  std::string case_filter;                        ///< only cases whose id contains this; empty: the whole part
  std::string where;                              ///< file and line of the entry

  /// "communication.ring.sends_first"
  std::string id() const { return module + "." + part + "." + name; }
};

/// Another right version of some files of a solution: it must get full marks.
struct Variant {
  std::string module;
  std::string name;                          ///< of its folder
  std::string difference;                    ///< how it differs from the solution
  std::vector<std::string> parts;            ///< those to grade, "ring"; empty: all
  std::map<std::string, std::string> files;  ///< file name -> its path
  std::string where;                         ///< its variant.toml

  /// "communication/direct_exchange"
  std::string id() const { return module + "/" + name; }
};

/// All that there is for some modules.
struct Sets {
  std::vector<Mutant> mutants;    ///< in the order of the rubrics, the files and their entries
  std::vector<Variant> variants;  ///< in the order of the rubrics, by name
};

/// Reads <folder>/mutants/<module>/*.toml and <folder>/variants/<module>/*/ for the modules of `rubrics`.
/// \throws UsageError with file, line and what would be right: TOML that does not parse, a key that is missing, unknown
///   or of the wrong type, a part, status or file that does not exist, a name that is there twice
Sets LoadSets(const std::string& folder, const std::string& root, const std::vector<Rubric>& rubrics);

/// The file that the mutant's replacements are made in: its source, or the solution's.
std::string BaseOf(const Mutant& mutant, const std::string& root);

/// The base's text with the mutant's replacements made.
/// \throws UsageError with file and line if an old text does not occur exactly once
std::string Mutated(const Mutant& mutant, const std::string& base);

/// What is missing for every part to have `mutants` and every module `variants`, a line each.
std::vector<std::string> Missing(const Sets& sets, const std::vector<Rubric>& rubrics, size_t mutants, size_t variants);

}  // namespace shardlab::mutants
