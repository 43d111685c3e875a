#pragma once

#include <string>

#include <kainjow/mustache.hpp>

#include "shardlab/grade/case.hpp"

namespace shardlab {

/// What the page's template is filled with. `{{name}}` in it is escaped, `{{{name}}}` is not: only pictures of our own
/// making go there.
using Data = kainjow::mustache::data;

/// Sets what a case's evidence shows, each part under its own key: diagnosis, tensor, waits, stacks, case_figures.
/// Evidence that is missing or malformed sets nothing.
void SetEvidence(Data& data, const grade::CaseResult& result);

/// A message in parts, in order: `message_prose`, `message_lists` where it has the table of a schedule's lists, or
/// `message_drawing` where it has a schedule's drawing.
Data MessageParts(const std::string& message);

/// The rows of a table of a case's figures, an empty list if it has none.
Data FigureRows(const grade::CaseResult& result);

}  // namespace shardlab
