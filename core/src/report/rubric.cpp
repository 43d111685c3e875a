#include "shardlab/report/rubric.hpp"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fmt/format.h>
#include <toml++/toml.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/suggest.hpp"

namespace shardlab {
namespace {

namespace fs = std::filesystem;

/// Reads typed keys from one table and complains with file and line.
class TableReader {
 public:
  TableReader(const toml::table& table, std::string file, std::string what)
      : table_(table), file_(std::move(file)), what_(std::move(what)) {}

  [[noreturn]] void Fail(const toml::node* node, const std::string& complaint) const {
    const auto line = (node ? node->source() : table_.source()).begin.line;
    throw UsageError(fmt::format("{}:{}: {}", file_, line, complaint));
  }

  const toml::node* Get(const std::string& key, bool required) const {
    const toml::node* node = table_.get(key);
    if (!node && required) Fail(nullptr, fmt::format("{} has no `{}`", what_, key));
    return node;
  }

  std::string String(const std::string& key) const {
    const toml::node* node = Get(key, true);
    const auto value = node->value<std::string>();
    if (!node->is_string() || value->empty()) Fail(node, fmt::format("`{}` of {} must be text in quotes", key, what_));
    return *value;
  }

  std::string Id() const {
    const std::string id = String("id");
    const bool good = std::all_of(id.begin(), id.end(), [](unsigned char letter) {
      return std::islower(letter) || std::isdigit(letter) || letter == '_';
    });
    if (!good) {
      Fail(Get("id", true), fmt::format("the id '{}' may hold lower-case letters, digits and underscores only", id));
    }
    return id;
  }

  double Points() const {
    const toml::node* node = Get("points", true);
    const auto value = node->value<double>();
    if (!node->is_number() || !(*value > 0)) Fail(node, fmt::format("`points` of {} must be a number above 0", what_));
    return *value;
  }

  bool Flag(const std::string& key) const {
    const toml::node* node = Get(key, false);
    if (!node) return false;
    if (!node->is_boolean()) Fail(node, fmt::format("`{}` of {} must be true or false", key, what_));
    return *node->value<bool>();
  }

  std::vector<std::string> List(const std::string& key, bool required) const {
    std::vector<std::string> list;
    const toml::node* node = Get(key, required);
    if (!node) return list;
    const toml::array* array = node->as_array();
    if (!array) Fail(node, fmt::format("`{}` of {} must be a list, [\"like\", \"this\"]", key, what_));
    for (const toml::node& element : *array) {
      if (!element.is_string()) Fail(&element, fmt::format("`{}` of {} must hold texts in quotes", key, what_));
      list.push_back(*element.value<std::string>());
    }
    return list;
  }

  std::vector<const toml::table*> Tables(const std::string& key) const {
    std::vector<const toml::table*> tables;
    const toml::node* node = Get(key, false);
    if (!node) return tables;
    const toml::array* array = node->as_array();
    if (!array || !array->is_array_of_tables()) {
      Fail(node, fmt::format("`{}` of {} must be a list of tables, [{{ name = ..., cases = [...] }}]", key, what_));
    }
    for (const toml::node& element : *array) tables.push_back(element.as_table());
    return tables;
  }

  void RefuseUnknown(const std::vector<std::string>& known) const {
    for (const auto& [key, node] : table_) {
      const std::string name(key.str());
      if (std::find(known.begin(), known.end(), name) == known.end()) Fail(&node, UnknownName("key", name, known));
    }
  }

 private:
  const toml::table& table_;
  std::string file_;
  std::string what_;
};

std::vector<PartFunction> ReadFunctions(const TableReader& part, const std::string& file) {
  std::vector<PartFunction> functions;
  std::vector<std::string> names;
  for (const toml::table* table : part.Tables("functions")) {
    const TableReader reader(*table, file, "this line of `functions`");
    reader.RefuseUnknown({"name", "cases", "uses"});
    PartFunction function;
    if (reader.Get("name", false)) function.name = reader.String("name");
    function.cases = reader.List("cases", false);
    function.uses = reader.List("uses", false);
    if (std::count(function.cases.begin(), function.cases.end(), "") > 0) {
      reader.Fail(reader.Get("cases", true), "a case has a name");
    }
    if (function.name.empty() && function.uses.empty()) {
      reader.Fail(nullptr,
                  "a line of `functions` needs a `name`, or the functions that its cases judge together as `uses`");
    }
    for (const std::string& used : function.uses) {
      if (std::find(names.begin(), names.end(), used) != names.end()) continue;
      reader.Fail(reader.Get("uses", true),
                  "`uses` may name earlier functions only: " + UnknownName("function", used, names));
    }
    if (!function.name.empty()) names.push_back(function.name);
    functions.push_back(std::move(function));
  }
  return functions;
}

Part ReadPart(const toml::table& table, const std::string& file, const Rubric& so_far) {
  const TableReader reader(table, file, "this [[part]]");
  reader.RefuseUnknown({"id", "title", "points", "bonus", "after", "files", "functions", "visibility"});
  Part part;
  part.id = reader.Id();
  if (so_far.Find(part.id)) reader.Fail(reader.Get("id", true), fmt::format("part '{}' is there twice", part.id));
  part.title = reader.String("title");
  part.points = reader.Points();
  part.bonus = reader.Flag("bonus");
  part.after = reader.List("after", false);
  part.files = reader.List("files", true);
  part.functions = ReadFunctions(reader, file);
  if (const toml::node* visibility = reader.Get("visibility", false)) {
    const std::vector<std::string> known = {"visible", "hidden", "after_due_date", "after_published"};
    part.visibility = reader.String("visibility");
    if (std::find(known.begin(), known.end(), part.visibility) == known.end()) {
      reader.Fail(visibility, UnknownName("visibility", part.visibility, known));
    }
  }
  if (part.files.empty()) {
    reader.Fail(reader.Get("files", true), fmt::format("part '{}' names no file of exercises/{}", part.id, so_far.id));
  }
  for (const std::string& before : part.after) {
    if (so_far.Find(before)) continue;
    std::vector<std::string> earlier;
    for (const Part& other : so_far.parts) earlier.push_back(other.id);
    reader.Fail(reader.Get("after", true),
                "`after` may name earlier parts only: " + UnknownName("part", before, earlier));
  }
  return part;
}

/// Where a module stands in the course; unknown ones come last.
size_t PlaceInCourse(const std::string& module) {
  static const std::vector<std::string> kCourse = {"communication", "tensor_parallel", "pipeline", "spatial",
                                                   "gems",          "hybrid"};
  return static_cast<size_t>(std::find(kCourse.begin(), kCourse.end(), module) - kCourse.begin());
}

}  // namespace

FunctionPlace Part::PlaceOf(const std::string& case_id) const {
  const std::string name = case_id.substr(0, case_id.find('/'));
  FunctionPlace place{functions.size(), 0};
  size_t longest = 0;
  for (size_t i = 0; i < functions.size(); ++i) {
    for (size_t j = 0; j < functions[i].cases.size(); ++j) {
      const std::string& pattern = functions[i].cases[j];
      const bool open = pattern.back() == '*';
      const size_t given = pattern.size() - (open ? 1 : 0);
      const bool fits = open ? name.compare(0, given, pattern, 0, given) == 0 : name == pattern;
      if (!fits || pattern.size() <= longest) continue;
      longest = pattern.size();
      place = {i, j};
    }
  }
  return place;
}

std::vector<std::string> Part::NeededBy(size_t index) const {
  std::vector<std::string> needed = {functions.at(index).name};
  std::vector<std::string> open = functions[index].uses;
  // `uses` name earlier functions only, so one way back finds all.
  for (size_t i = index; i-- > 0;) {
    if (std::find(open.begin(), open.end(), functions[i].name) == open.end()) continue;
    needed.push_back(functions[i].name);
    open.insert(open.end(), functions[i].uses.begin(), functions[i].uses.end());
  }
  return needed;
}

const Part* Rubric::Find(const std::string& part) const {
  for (const Part& candidate : parts) {
    if (candidate.id == part) return &candidate;
  }
  return nullptr;
}

double Rubric::Points() const {
  double sum = 0;
  for (const Part& part : parts) sum += part.bonus ? 0 : part.points;
  return sum;
}

double Rubric::BonusPoints() const {
  double sum = 0;
  for (const Part& part : parts) sum += part.bonus ? part.points : 0;
  return sum;
}

Rubric ParseRubric(const std::string& text, const std::string& name) {
  toml::table table;
  try {
    table = toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    throw UsageError(fmt::format("{}:{}: {}", name, error.source().begin.line, error.description()));
  }
  const TableReader reader(table, name, "the rubric");
  reader.RefuseUnknown({"id", "title", "needs", "part"});
  Rubric rubric;
  rubric.id = reader.Id();
  rubric.title = reader.String("title");
  rubric.needs = reader.List("needs", false);
  const toml::node* parts = reader.Get("part", true);
  const toml::array* array = parts->as_array();
  if (!array || !array->is_array_of_tables()) {
    reader.Fail(parts, "the parts must be written as [[part]], one such heading for each");
  }
  for (const toml::node& part : *array) rubric.parts.push_back(ReadPart(*part.as_table(), name, rubric));
  return rubric;
}

Rubric LoadRubric(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) throw UsageError(fmt::format("cannot read the rubric {}", path));
  Rubric rubric = ParseRubric(text.str(), path);
  const std::string folder = fs::path(path).parent_path().filename().string();
  if (rubric.id != folder) {
    throw UsageError(fmt::format("{}: the id is '{}', but the folder is called '{}'", path, rubric.id, folder));
  }
  return rubric;
}

std::vector<Rubric> LoadRubrics(const std::string& root) {
  const fs::path graders = fs::path(root) / "graders";
  std::vector<Rubric> rubrics;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(graders, error)) {
    const fs::path file = entry.path() / "rubric.toml";
    if (fs::is_regular_file(file)) rubrics.push_back(LoadRubric(file.string()));
  }
  if (rubrics.empty()) throw UsageError(fmt::format("no module: there is no {}/*/rubric.toml", graders.string()));
  std::sort(rubrics.begin(), rubrics.end(), [](const Rubric& a, const Rubric& b) {
    const size_t place_a = PlaceInCourse(a.id), place_b = PlaceInCourse(b.id);
    return place_a != place_b ? place_a < place_b : a.id < b.id;
  });
  // A module that another one needs comes first, also where neither is one of the course's.
  for (size_t first = 0; first < rubrics.size(); ++first) {
    const auto ready = std::find_if(rubrics.begin() + first, rubrics.end(), [&](const Rubric& candidate) {
      return std::none_of(rubrics.begin() + first, rubrics.end(), [&](const Rubric& other) {
        return std::find(candidate.needs.begin(), candidate.needs.end(), other.id) != candidate.needs.end();
      });
    });
    if (ready == rubrics.end()) {
      throw UsageError(fmt::format("{}/{}/rubric.toml: the modules need each other in a circle (`needs`)",
                                   graders.string(), rubrics[first].id));
    }
    std::rotate(rubrics.begin() + first, ready, ready + 1);
  }
  return rubrics;
}

}  // namespace shardlab
