#pragma once

#include <string>
#include <vector>

/// \file
/// A module's parts and points, as `graders/<module>/rubric.toml` says them:
///
///     id = "communication"
///     title = "Collectives from point-to-point messages"
///     needs = []                      # modules whose solutions this one is graded with; may be left out
///
///     [[part]]
///     id = "ring"
///     title = "Ring all-gather and reduce-scatter"
///     points = 1                      # what this part adds
///     bonus = false                   # may be left out
///     after = ["trees"]               # parts that must be passed first; may be left out
///     files = ["ring.cpp"]            # the student's files, relative to exercises/<module>
///     functions = [                   # which cases judge which function; may be left out: see PartFunction
///       { name = "RingAllGather", cases = ["all_gather_*"] },
///       { name = "RingReduceScatter", cases = ["reduce_scatter_*"] },
///     ]
///     visibility = "visible"          # to students on Gradescope, or hidden, after_due_date, after_published;
///                                     # may be left out

namespace shardlab {

/// A function of a part, and the cases that judge it. Small ones come before those that use them: of several that are
/// broken, the first is shown first.
struct PartFunction {
  std::string name;                ///< "RingAllGather"; empty: these cases judge all of `uses` together
  std::vector<std::string> cases;  ///< names without the ranks, the first to be shown first; * at the end: any end
  std::vector<std::string> uses;   ///< earlier functions: while one of them is broken, these cases say nothing new
};

/// Where a case stands in Part::functions.
struct FunctionPlace {
  size_t function = 0;  ///< its index; functions.size(): no function has the case
  size_t pattern = 0;   ///< which of its `cases` fits
};

/// One thing that a student can finish.
struct Part {
  std::string id;                       ///< "ring", without the module
  std::string title;                    ///< for people
  double points = 0;                    ///< what the part adds
  bool bonus = false;                   ///< beyond the module's full marks
  std::vector<std::string> after;       ///< ids of parts of the same module, listed earlier in the rubric
  std::vector<std::string> files;       ///< relative to `exercises/<module>`
  std::vector<PartFunction> functions;  ///< small ones first
  std::string visibility = "visible";   ///< when Gradescope shows the part to students, in its own words

  /// What a case ("all_gather_values/ranks=3") judges. Of several names that fit the longest counts.
  FunctionPlace PlaceOf(const std::string& case_id) const;
  /// The names of functions()[index] and of all that it uses, directly or not.
  std::vector<std::string> NeededBy(size_t index) const;
};

/// A module's parts, in the order in which a student meets them.
struct Rubric {
  std::string id;                  ///< the folder's name, "communication"
  std::string title;               ///< for people
  std::vector<std::string> needs;  ///< modules whose solutions this one is graded with
  std::vector<Part> parts;         ///< at least one

  /// The part with this id (without the module), or nullptr.
  const Part* Find(const std::string& part) const;

  /// "communication.ring" for "ring".
  std::string FullId(const std::string& part) const { return id + "." + part; }

  /// Sums of the points; Points() leaves the bonus parts out.
  double Points() const;
  /// The bonus parts alone.
  double BonusPoints() const;
};

/// Reads a rubric from text. `name` (a path) stands before every complaint.
/// \throws UsageError with file, line and what would be right: TOML that does not parse, a key that is missing, unknown
///   or of the wrong type, an id that is not lower-case letters, digits and underscores, points that are not positive,
///   a visibility that Gradescope does not know, a part that is there twice, no part at all, an `after` that does not
///   name an earlier part, a function without name and uses, `uses` that do not
///   name an earlier function.
Rubric ParseRubric(const std::string& text, const std::string& name);

/// Reads a rubric from its file.
/// \throws UsageError as ParseRubric(), and if the file cannot be read or its id is not its folder's name.
Rubric LoadRubric(const std::string& path);

/// Reads graders/*/rubric.toml below `root`, in the order of the course: a module after those that it needs, otherwise
/// communication, tensor_parallel, pipeline, spatial, gems, hybrid, and then by name.
/// \throws UsageError as LoadRubric(), and if there is no rubric at all.
std::vector<Rubric> LoadRubrics(const std::string& root);

}  // namespace shardlab
