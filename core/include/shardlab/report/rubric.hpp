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
///     visibility = "visible"          # to students on Gradescope, or hidden, after_due_date, after_published;
///                                     # may be left out

namespace shardlab {

/// One thing that a student can finish.
struct Part {
  std::string id;                      ///< "ring", without the module
  std::string title;                   ///< for people
  double points = 0;                   ///< what the part adds
  bool bonus = false;                  ///< beyond the module's full marks
  std::vector<std::string> after;      ///< ids of parts of the same module, listed earlier in the rubric
  std::vector<std::string> files;      ///< relative to `exercises/<module>`
  std::string visibility = "visible";  ///< when Gradescope shows the part to students, in its own words
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
///   name an earlier part.
Rubric ParseRubric(const std::string& text, const std::string& name);

/// Reads a rubric from its file.
/// \throws UsageError as ParseRubric(), and if the file cannot be read or its id is not its folder's name.
Rubric LoadRubric(const std::string& path);

/// Reads graders/*/rubric.toml below `root`, in the order of the course: a module after those that it needs, otherwise
/// communication, tensor_parallel, pipeline, spatial, gems, hybrid, and then by name.
/// \throws UsageError as LoadRubric(), and if there is no rubric at all.
std::vector<Rubric> LoadRubrics(const std::string& root);

}  // namespace shardlab
