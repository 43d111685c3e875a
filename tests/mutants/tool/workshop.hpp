#pragma once

#include <map>
#include <string>

#include "context.hpp"

/// \file
/// Builds a module's shared objects with some files of the solution replaced, by the build's own commands: the same
/// precompiled header, the same flags, and the build's objects for all other files. (A file that no longer defines one
/// of its functions gets the solution's.)

namespace shardlab::mutants {

class Workshop {
 public:
  /// Reads how the build compiles and links <module>_solutions, and <module>_plain_solutions where there is such a
  /// half. They must have been built.
  /// \throws EnvironmentError if the build folder does not say it
  Workshop(const cli::Context& context, const std::string& module);

  /// Compiles the files and links them with the others.
  ///
  /// Objects are kept in the build folder, and compiled again only when their source, a header or the precompiled
  /// header has changed: a second run takes a tenth of a second instead of two a file.
  /// \param name   of a folder of its own, <build>/mutants/<module>/<name>
  /// \param files  names in solutions/<module> -> paths of what stands in their place
  /// \returns the folder with those shared objects that hold one of the files, for LD_LIBRARY_PATH.
  /// \throws UsageError with the compiler's first error if a file does not compile; EnvironmentError if it is another
  ///         program that fails
  std::string Build(const std::string& name, const std::map<std::string, std::string>& files) const;

  /// That folder; it need not exist.
  std::string Folder(const std::string& name) const;

  /// Whether the file needs no LibTorch: what is wrong with it is found by the cases without LibTorch, or by all.
  bool IsPlain(const std::string& file) const;

 private:
  struct Command {
    std::string text;      ///< without the `-o OBJECT -c SOURCE` at its end
    std::string object;    ///< relative to the build folder
    std::string included;  ///< by `-include`: the precompiled header, without its .gch
    std::string library;   ///< the shared object that it is a part of: "libpipeline_solutions.so"
  };

  const Command& CommandOf(const std::string& file) const;
  void Compile(const std::string& source, const std::string& object, const Command& command) const;

  const cli::Context& context_;
  std::string module_;
  std::map<std::string, Command> compile_;   ///< by file name
  std::map<std::string, std::string> link_;  ///< by shared object
};

}  // namespace shardlab::mutants
