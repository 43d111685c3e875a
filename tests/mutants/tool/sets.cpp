#include "sets.hpp"

#include <algorithm>
#include <filesystem>
#include <set>

#include <fmt/format.h>
#include <toml++/toml.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/suggest.hpp"
#include "shardlab/report/files.hpp"

namespace shardlab::mutants {
namespace {

namespace fs = std::filesystem;

/// Typed keys of one table; complaints name file and line.
class Table {
 public:
  Table(const toml::table& table, std::string file) : table_(table), file_(std::move(file)) {}

  std::string Where(const toml::node* node = nullptr) const {
    return fmt::format("{}:{}", file_, (node ? node->source() : table_.source()).begin.line);
  }
  [[noreturn]] void Fail(const toml::node* node, const std::string& complaint) const {
    throw UsageError(Where(node) + ": " + complaint);
  }
  const toml::node* Get(const std::string& key) const { return table_.get(key); }

  void RefuseUnknown(const std::vector<std::string>& known) const {
    for (const auto& [key, node] : table_) {
      const std::string name(key.str());
      if (std::find(known.begin(), known.end(), name) == known.end()) Fail(&node, UnknownName("key", name, known));
    }
  }

  std::string Text(const std::string& key, bool required = true) const {
    const toml::node* node = Get(key);
    if (!node && !required) return "";
    if (!node) Fail(nullptr, fmt::format("`{}` is missing", key));
    const auto value = node->value<std::string>();
    if (!node->is_string() || value->empty()) Fail(node, fmt::format("`{}` must be text in quotes", key));
    return *value;
  }

  /// One text, or a list of them.
  std::vector<std::string> Texts(const std::string& key, bool required) const {
    const toml::node* node = Get(key);
    if (!node && !required) return {};
    if (node && node->is_string()) return {Text(key)};
    const toml::array* array = node ? node->as_array() : nullptr;
    if (!array || array->empty()) Fail(node, fmt::format("`{}` must be text in quotes, or a list of such texts", key));
    std::vector<std::string> texts;
    for (const toml::node& element : *array) {
      const auto text = element.value<std::string>();
      if (!element.is_string() || text->empty()) Fail(&element, fmt::format("`{}` must hold texts in quotes", key));
      texts.push_back(*text);
    }
    return texts;
  }

  std::vector<Replacement> Replacements() const {
    const toml::node* node = Get("replace");
    if (!node) return {};
    const std::string form = "`replace` must be a list of pairs: [[\"old text\", \"new text\"], ...]";
    const toml::array* array = node->as_array();
    if (!array || array->empty()) Fail(node, form);
    std::vector<Replacement> replacements;
    for (const toml::node& element : *array) {
      const toml::array* pair = element.as_array();
      if (!pair || pair->size() != 2 || !pair->get(0)->is_string() || !pair->get(1)->is_string()) Fail(&element, form);
      Replacement one{*pair->get(0)->value<std::string>(), *pair->get(1)->value<std::string>(), Where(&element)};
      if (one.old_text.empty()) Fail(&element, "the old text of a replacement is empty");
      if (one.old_text == one.new_text) Fail(&element, "this replacement changes nothing");
      replacements.push_back(std::move(one));
    }
    return replacements;
  }

 private:
  const toml::table& table_;
  std::string file_;
};

toml::table Parse(const fs::path& path, const std::string& name) {
  try {
    return toml::parse(ReadFile(path.string()), name);
  } catch (const toml::parse_error& error) {
    throw UsageError(fmt::format("{}:{}: {}", name, error.source().begin.line, error.description()));
  }
}

grade::Status StatusFrom(const Table& table) {
  using grade::Status;
  const std::string word = table.Text("status");
  std::vector<std::string> words;
  for (const Status status :
       {Status::kFailed, Status::kNotImplemented, Status::kCrashed, Status::kDeadlock, Status::kTimeout}) {
    if (word == grade::Name(status)) return status;
    words.emplace_back(grade::Name(status));
  }
  table.Fail(table.Get("status"), UnknownName("status", word, words));
}

bool IsFile(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

/// `path` as a person reads it: below the root where it is there.
std::string Shown(const fs::path& path, const std::string& root) {
  const fs::path relative = path.lexically_relative(root);
  return relative.empty() || *relative.begin() == ".." ? path.string() : relative.string();
}

void LoadMutants(const fs::path& path, const std::string& root, const Rubric& rubric, std::vector<Mutant>* mutants) {
  const std::string name = Shown(path, root);
  const toml::table document = Parse(path, name);
  const Table whole(document, name);
  const std::string part = path.stem().string();
  if (!rubric.Find(part)) {
    std::vector<std::string> parts;
    for (const Part& known : rubric.parts) parts.push_back(known.id);
    throw UsageError(fmt::format("{}: {}", name, UnknownName("part of " + rubric.id, part, parts)));
  }
  whole.RefuseUnknown({"mutant"});
  const toml::node* list = whole.Get("mutant");
  const toml::array* array = list ? list->as_array() : nullptr;
  if (!array || !array->is_array_of_tables())
    whole.Fail(list, "mutants are written as [[mutant]], one heading for each");
  for (const toml::node& node : *array) {
    const Table entry(*node.as_table(), name);
    entry.RefuseUnknown({"name", "mistake", "file", "replace", "source", "status", "says", "case"});
    Mutant mutant;
    mutant.module = rubric.id;
    mutant.part = part;
    mutant.name = entry.Text("name");
    mutant.where = entry.Where();
    if (mutant.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") != std::string::npos) {
      entry.Fail(entry.Get("name"), "a name holds lower-case letters, digits and underscores only");
    }
    for (const Mutant& other : *mutants) {
      if (other.id() == mutant.id()) entry.Fail(entry.Get("name"), fmt::format("'{}' is there twice", mutant.name));
    }
    mutant.mistake = entry.Text("mistake");
    mutant.file = entry.Text("file");
    if (!IsFile(fs::path(root) / "solutions" / rubric.id / mutant.file)) {
      entry.Fail(entry.Get("file"), fmt::format("there is no solutions/{}/{}", rubric.id, mutant.file));
    }
    mutant.replace = entry.Replacements();
    const std::string source = entry.Text("source", false);
    if (mutant.replace.empty() && source.empty()) {
      entry.Fail(nullptr, fmt::format("'{}' needs `replace` or `source`, or both", mutant.name));
    }
    if (!source.empty()) {
      mutant.source = (path.parent_path() / source).string();
      if (!IsFile(mutant.source)) {
        entry.Fail(entry.Get("source"), fmt::format("there is no {} beside this file", source));
      }
    }
    mutant.status = StatusFrom(entry);
    mutant.says = entry.Texts("says", true);
    mutant.case_filter = entry.Text("case", false);
    mutants->push_back(std::move(mutant));
  }
}

Variant LoadVariant(const fs::path& folder, const std::string& root, const Rubric& rubric) {
  const fs::path path = folder / "variant.toml";
  Variant variant;
  variant.module = rubric.id;
  variant.name = folder.filename().string();
  variant.where = Shown(path, root);
  if (!IsFile(path)) throw UsageError(fmt::format("{} is missing: it says how the variant differs", variant.where));
  const toml::table document = Parse(path, variant.where);
  const Table table(document, variant.where);
  table.RefuseUnknown({"difference", "parts"});
  variant.difference = table.Text("difference");
  variant.parts = table.Texts("parts", false);
  for (const std::string& part : variant.parts) {
    if (!rubric.Find(part)) table.Fail(table.Get("parts"), fmt::format("{} has no part '{}'", rubric.id, part));
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string file = entry.path().filename().string();
    if (entry.path().extension() != ".cpp") continue;  // headers of its own are found beside the file
    if (!IsFile(fs::path(root) / "solutions" / rubric.id / file)) {
      throw UsageError(fmt::format("{}: there is no solutions/{}/{} that it could stand in for",
                                   Shown(entry.path(), root), rubric.id, file));
    }
    variant.files[file] = entry.path().string();
  }
  if (variant.files.empty()) throw UsageError(fmt::format("{}: there is no file beside it", variant.where));
  return variant;
}

/// What lies in a folder, by name; nothing where there is no such folder.
std::vector<fs::path> Sorted(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  return paths;
}

size_t Occurrences(const std::string& text, const std::string& what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

}  // namespace

Sets LoadSets(const std::string& folder, const std::string& root, const std::vector<Rubric>& rubrics) {
  Sets sets;
  for (const Rubric& rubric : rubrics) {
    const std::vector<fs::path> files = Sorted(fs::path(folder) / "mutants" / rubric.id);
    for (const Part& part : rubric.parts) {
      const fs::path path = fs::path(folder) / "mutants" / rubric.id / (part.id + ".toml");
      if (IsFile(path)) LoadMutants(path, root, rubric, &sets.mutants);
    }
    for (const fs::path& path : files) {
      if (path.extension() == ".toml" && !rubric.Find(path.stem().string())) {
        LoadMutants(path, root, rubric, &sets.mutants);  // complains of the name
      }
    }
    for (const fs::path& path : Sorted(fs::path(folder) / "variants" / rubric.id)) {
      if (fs::is_directory(path)) sets.variants.push_back(LoadVariant(path, root, rubric));
    }
  }
  return sets;
}

std::string BaseOf(const Mutant& mutant, const std::string& root) {
  return mutant.source.empty() ? root + "/solutions/" + mutant.module + "/" + mutant.file : mutant.source;
}

std::string Mutated(const Mutant& mutant, const std::string& base) {
  std::string text = base;
  for (const Replacement& one : mutant.replace) {
    const size_t count = Occurrences(text, one.old_text);
    if (count != 1) {
      throw UsageError(fmt::format("{}: mutant '{}': the text `{}` occurs {} in {}; it must occur exactly once{}",
                                   one.where, mutant.name, one.old_text,
                                   count == 0 ? "nowhere" : fmt::format("{} times", count),
                                   mutant.source.empty() ? fmt::format("solutions/{}/{}", mutant.module, mutant.file)
                                                         : fs::path(mutant.source).filename().string(),
                                   count == 0 ? "" : ": give more of what stands around it"));
    }
    text.replace(text.find(one.old_text), one.old_text.size(), one.new_text);
  }
  return text;
}

std::vector<std::string> Missing(const Sets& sets, const std::vector<Rubric>& rubrics, size_t mutants,
                                 size_t variants) {
  std::vector<std::string> missing;
  const auto lack = [&](const std::string& what, size_t have, size_t need, const std::string& things) {
    if (have < need) missing.push_back(fmt::format("{} has {} {} of at least {}", what, have, things, need));
  };
  for (const Rubric& rubric : rubrics) {
    for (const Part& part : rubric.parts) {
      const auto have = std::count_if(sets.mutants.begin(), sets.mutants.end(), [&](const Mutant& mutant) {
        return mutant.module == rubric.id && mutant.part == part.id;
      });
      lack(rubric.FullId(part.id), static_cast<size_t>(have), mutants, "mutants");
    }
    const auto have = std::count_if(sets.variants.begin(), sets.variants.end(),
                                    [&](const Variant& variant) { return variant.module == rubric.id; });
    lack(rubric.id, static_cast<size_t>(have), variants, "variants");
  }
  return missing;
}

}  // namespace shardlab::mutants
