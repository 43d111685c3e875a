// A case's evidence (grade/case.hpp) as the template's data.
#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "html_data.hpp"
#include "shardlab/report/terminal.hpp"
#include "shardlab/report/wait_graph.hpp"

namespace shardlab {

using grade::CaseResult;
using nlohmann::json;

namespace {

constexpr size_t kMaxCells = 512;
constexpr size_t kMaxFrames = 40;
constexpr int64_t kColumns = 8;  // of a tensor of one dimension, which is broken into rows

/// The value under a key as text; what is not there, or null, is "".
std::string Text(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (found->is_number()) return fmt::format("{:.7g}", found->get<double>());
  return found->dump(-1, ' ', false, json::error_handler_t::replace);
}

std::vector<int64_t> Whole(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array()) return {};
  return found->get<std::vector<int64_t>>();
}

std::string Bracketed(const std::vector<int64_t>& index) { return fmt::format("[{}]", fmt::join(index, ", ")); }

/// One number of a tensor; JSON has no NaN and no infinity.
std::string Cell(const json& value) {
  if (value.is_number()) return fmt::format("{:.6g}", value.get<double>());
  if (value.is_string()) return value.get<std::string>();
  return value.is_null() ? "nan" : value.dump();
}

Data Fact(const std::string& name, const std::string& value) {
  Data fact;
  fact.set("fact_name", name);
  fact.set("fact_value", value);
  return fact;
}

/// "4" for a whole tensor, "4 (12)" where the shard's row 4 is the full tensor's row 12.
std::string IndexName(int64_t index, const std::vector<int64_t>& offset, size_t dim) {
  const int64_t first = dim < offset.size() ? offset[dim] : 0;
  return first == 0 ? std::to_string(index) : fmt::format("{} ({})", index, index + first);
}

/// The tensor as tables of rows and columns, one for each index of the leading dimensions.
Data TensorBlocks(const json& cells, const std::vector<int64_t>& shape, std::vector<int64_t> offset) {
  Data blocks(Data::type::list);
  const json& got = cells.at("got");
  const json& expected = cells.at("expected");
  const json& wrong = cells.at("wrong");
  const size_t count = got.size();
  if (count == 0 || count > kMaxCells || expected.size() != count || wrong.size() != count) return blocks;
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  if (product != static_cast<int64_t>(count)) return blocks;
  if (offset.size() != shape.size()) offset.assign(shape.size(), 0);

  const bool flat = shape.size() < 2;
  const int64_t last = shape.empty() ? 1 : shape.back();
  const int64_t columns = flat ? std::min(last, kColumns) : last;
  const int64_t rows = flat ? (last + columns - 1) / columns : shape[shape.size() - 2];
  const int64_t block_cells = flat ? last : rows * columns;
  for (int64_t begin = 0; begin < product; begin += block_cells) {
    Data block, heads(Data::type::list), body(Data::type::list);
    std::string label = "the tensor";
    if (shape.size() > 2) {
      std::vector<std::string> leading(shape.size() - 2);
      int64_t rest = begin / block_cells;
      for (size_t dim = leading.size(); dim-- > 0;) {
        leading[dim] = IndexName(rest % shape[dim], offset, dim);
        rest /= shape[dim];
      }
      label = fmt::format("[{}, :, :]", fmt::join(leading, ", "));
      block.set("block_caption", label);
    }
    for (int64_t column = 0; column < columns; ++column) {
      heads << Data(flat && last > columns ? fmt::format("+{}", column) : IndexName(column, offset, shape.size() - 1));
    }
    for (int64_t row = 0; row < rows; ++row) {
      Data line, entries(Data::type::list);
      line.set("row_name", shape.empty() ? std::string("value")
                           : flat        ? IndexName(row * columns, offset, 0)
                                         : IndexName(row, offset, shape.size() - 2));
      for (int64_t column = 0; column < columns; ++column) {
        if (flat && row * columns + column >= last) break;
        const auto at = static_cast<size_t>(begin + row * columns + column);
        Data entry;
        entry.set("cell_wrong", wrong[at].get<bool>());
        entry.set("cell_got", Cell(got[at]));
        entry.set("cell_expected", Cell(expected[at]));
        entries << entry;
      }
      line.set("row_cells", entries);
      body << line;
    }
    block.set("block_label", label);
    block.set("block_columns", heads);
    block.set("block_rows", body);
    blocks << block;
  }
  return blocks;
}

Data Tensor(const json& tensor) {
  Data data, facts(Data::type::list);
  const std::string rank = Text(tensor, "rank");
  const std::string what = Text(tensor, "what");
  data.set("tensor_title", rank.empty() ? what : fmt::format("{} on rank {}", what, rank));
  const std::vector<int64_t> shape = Whole(tensor, "shape"), offset = Whole(tensor, "offset");
  const std::vector<int64_t> index = Whole(tensor, "index"), full = Whole(tensor, "full_index");
  if (tensor.contains("shape")) facts << Fact("shape", Bracketed(shape));
  if (!index.empty()) facts << Fact(full.empty() || full == index ? "at" : "at, in the shard", Bracketed(index));
  if (!full.empty() && full != index) facts << Fact("in the full tensor", Bracketed(full));
  const auto fact = [&](const char* key, const char* name) {
    const std::string value = Text(tensor, key);
    if (!value.empty()) facts << Fact(name, value);
  };
  fact("expected", "expected");
  fact("got", "got");
  fact("ratio", "ratio");
  const std::string wrong = Text(tensor, "wrong"), of = Text(tensor, "of");
  if (!wrong.empty() && !of.empty()) facts << Fact("wrong", fmt::format("{} of {}", wrong, of));
  fact("where", "where");
  data.set("tensor_facts", facts);
  const auto cells = tensor.find("cells");
  if (cells != tensor.end() && cells->is_object()) {
    const Data blocks = TensorBlocks(*cells, shape, offset);
    if (!blocks.is_empty_list()) {
      Data all;
      all.set("tensor_blocks", blocks);
      all.set("tensor_offset", std::any_of(offset.begin(), offset.end(), [](int64_t first) { return first != 0; }));
      data.set("tensor_cells", all);
    }
  }
  return data;
}

Data Waits(const json& list) {
  std::vector<grade::Waiting> waits;
  Data rows(Data::type::list);
  for (const json& entry : list) {
    grade::Waiting wait;
    wait.rank = entry.at("rank").get<int>();
    wait.waits_for = entry.at("waits_for").get<std::vector<int>>();
    wait.in_cycle = entry.value("in_cycle", false);
    std::string operation = Text(entry, "operation");
    if (operation.rfind("waits in ", 0) == 0) operation.erase(0, 9);
    Data row;
    row.set("wait_rank", std::to_string(wait.rank));
    row.set("wait_whom",
            wait.waits_for.empty() ? "nobody who could come" : fmt::format("{}", fmt::join(wait.waits_for, ", ")));
    row.set("wait_operation", operation);
    row.set("wait_where", Text(entry, "where"));
    row.set("wait_cycle", wait.in_cycle);
    rows << row;
    waits.push_back(wait);
  }
  Data data;
  data.set("waits_svg", WaitGraphSvg(waits));
  data.set("waits_rows", rows);
  return data;
}

Data Stacks(const json& list) {
  Data ranks(Data::type::list);
  for (const json& entry : list) {
    Data rank, frames(Data::type::list);
    size_t shown = 0;
    for (const json& from : entry.at("frames")) {
      if (++shown > kMaxFrames) break;
      Data frame;
      frame.set("frame_function", Text(from, "function"));
      frame.set("frame_where", Text(from, "where"));
      frames << frame;
    }
    rank.set("stack_rank", Text(entry, "rank"));
    rank.set("stack_why", Text(entry, "why"));
    rank.set("stack_frames", frames);
    ranks << rank;
  }
  Data data;
  data.set("stacks_ranks", ranks);
  return data;
}

Data Figure(const std::string& what, double measured, double target, const std::string& unit, bool met) {
  Data row;
  row.set("figure_what", what.empty() ? unit : what);
  row.set("figure_measured", PrettyAmount(measured, unit));
  row.set("figure_target", fmt::format("{}{}", met && measured != target ? "at most " : "", PrettyNumber(target)));
  row.set("figure_met", met);
  return row;
}

double Number(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : std::nan("");
}

const json* Find(const json& evidence, const char* key, json::value_t type) {
  if (!evidence.is_object()) return nullptr;
  const auto found = evidence.find(key);
  return found != evidence.end() && found->type() == type && !found->empty() ? &*found : nullptr;
}

}  // namespace

Data FigureRows(const CaseResult& result) {
  Data rows(Data::type::list);
  if (const json* figures = Find(result.evidence, "figures", json::value_t::array)) {
    try {
      for (const json& figure : *figures) {
        rows << Figure(Text(figure, "what"), Number(figure, "measured"), Number(figure, "target"), Text(figure, "unit"),
                       figure.value("met", false));
      }
      return rows;
    } catch (const json::exception&) {
      rows = Data(Data::type::list);
    }
  }
  if (result.has_figure) {
    rows << Figure("", result.measured, result.target, result.unit,
                   result.status == grade::Status::kPassed || result.measured == result.target);
  }
  return rows;
}

void SetEvidence(Data& data, const CaseResult& result) {
  const auto set = [&](const char* key, const char* from, json::value_t type, Data (*make)(const json&)) {
    const json* found = Find(result.evidence, from, type);
    if (!found) return;
    try {
      data.set(key, make(*found));
    } catch (const json::exception&) {  // not what case.hpp promises: the message says the same in words
    }
  };
  if (const json* diagnosis = Find(result.evidence, "diagnosis", json::value_t::string)) {
    data.set("diagnosis", diagnosis->get<std::string>());
  }
  set("tensor", "tensor", json::value_t::object, Tensor);
  set("waits", "waits", json::value_t::array, Waits);
  set("stacks", "stacks", json::value_t::array, Stacks);
  const Data figures = FigureRows(result);
  if (!figures.is_empty_list()) {
    Data table;
    table.set("figures", figures);
    data.set("case_figures", table);
  }
}

}  // namespace shardlab
