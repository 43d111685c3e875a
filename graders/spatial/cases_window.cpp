#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/grade/plain_referee.hpp"
#include "tiling_json.hpp"

// Geometry, held against the definition: a window's positions are tried one by one.

namespace shardlab::grade {
namespace {

using Numbers = std::vector<int64_t>;

std::string Describe(const SlidingWindow& w) {
  std::string text = fmt::format("kernel {}, stride {}, padding {}", w.kernel, w.stride, w.padding);
  if (w.dilation != 1) text += fmt::format(", dilation {}", w.dilation);
  return w.ceil_mode ? text + ", ceil_mode" : text;
}

std::string Pairs(const Numbers& numbers) {
  std::string text;
  for (size_t i = 0; i + 1 < numbers.size(); i += 2) {
    text += fmt::format("{}{}:{}", i == 0 ? "" : ", ", numbers[i], numbers[i + 1]);
  }
  return text;
}

Numbers Flat(const std::vector<Range>& ranges) {
  Numbers numbers;
  for (const Range& range : ranges) numbers.insert(numbers.end(), {range.begin, range.end});
  return numbers;
}

int64_t FirstInput(const SlidingWindow& w, int64_t o) { return o * w.stride - w.padding; }
int64_t LastInput(const SlidingWindow& w, int64_t o) { return FirstInput(w, o) + (w.kernel - 1) * w.dilation; }

// By trying: an output counts when its window ends within the padding behind the image; in ceil_mode also the first one
// that does not, if it begins before that padding.
int64_t CountedOutputs(const SlidingWindow& w, int64_t inputs) {
  int64_t outputs = 0;
  while (LastInput(w, outputs) < inputs + w.padding) ++outputs;
  if (w.ceil_mode && outputs > 0 && FirstInput(w, outputs - 1) + w.stride < inputs &&
      LastInput(w, outputs - 1) < inputs + w.padding - 1) {
    ++outputs;
  }
  return outputs;
}

SlidingWindow DrawWindow(PlainCase& t, bool ceil_mode = false) {
  SlidingWindow w;
  w.kernel = t.Integer(1, 7);
  w.stride = t.Integer(1, 4);
  w.dilation = t.Integer(1, 2);
  w.padding = t.Integer(0, w.kernel / 2);
  w.ceil_mode = ceil_mode;
  return w;
}

std::vector<Range> DrawTiles(PlainCase& t, int64_t inputs, int64_t tiles) {
  std::vector<int64_t> cuts{0, inputs};
  for (int64_t i = 1; i < tiles; ++i) cuts.push_back(t.Integer(0, inputs));
  std::sort(cuts.begin(), cuts.end());
  std::vector<Range> ranges;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) ranges.push_back({cuts[i], cuts[i + 1]});
  return ranges;
}

// The tile that has pixel `input`; the last one where it is behind the image.
size_t TileWith(const std::vector<Range>& tiles, int64_t input) {
  for (size_t i = 0; i < tiles.size(); ++i) {
    if (input >= tiles[i].begin && input < tiles[i].end) return i;
  }
  return tiles.size() - 1;
}

std::vector<Range> OutputsByTrying(const SlidingWindow& w, const std::vector<Range>& tiles) {
  std::vector<int64_t> counts(tiles.size(), 0);
  const int64_t outputs = CountedOutputs(w, tiles.back().end);
  for (int64_t o = 0; o < outputs; ++o) ++counts[TileWith(tiles, o * w.stride)];
  std::vector<Range> ranges;
  int64_t begin = 0;
  for (const int64_t count : counts) {
    ranges.push_back({begin, begin + count});
    begin += count;
  }
  return ranges;
}

struct AskedOutputs {
  SlidingWindow window;
  std::vector<Range> tiles;
};

void ExpectOutputsOf(PlainCase& t, const std::vector<AskedOutputs>& asked) {
  nlohmann::json params;
  for (const AskedOutputs& one : asked) params["asked"].push_back({{"window", one.window}, {"tiles", one.tiles}});
  const PlainRun run = t.Ask("outputs_of", params);
  for (size_t i = 0; i < asked.size(); ++i) {
    const Numbers expected = Flat(OutputsByTrying(asked[i].window, asked[i].tiles));
    const Numbers got = run.Integers(std::to_string(i));
    if (got == expected) continue;
    std::string why;
    if (got == Flat(asked[i].tiles) && asked[i].window.stride > 1) {
      why = "\n  these are the tiles of the inputs: with a stride there are fewer outputs";
    }
    t.Fail(
        fmt::format("OutputsOf ({}; inputs {}): {}, and must be {}: output o belongs to the tile that has the input "
                    "o * {}{}",
                    Describe(asked[i].window), Pairs(Flat(asked[i].tiles)), got == Numbers{-1} ? "refused" : Pairs(got),
                    Pairs(expected), asked[i].window.stride, why));
  }
  t.Expect(true, "");
}

}  // namespace

SHARDLAB_PLAIN_CASE(slices, inputs_of_outputs, kValue) {
  struct Asked {
    SlidingWindow window;
    Range outputs;
  };
  std::vector<Asked> asked = {{{3, 1, 1}, {0, 4}}, {{3, 1, 1}, {4, 8}},    {{3, 2, 1}, {1, 3}},
                              {{2, 2, 0}, {0, 3}}, {{3, 1, 2, 2}, {2, 5}}, {{7, 2, 3}, {0, 1}}};
  for (int k = 0; k < 40; ++k) {
    const int64_t begin = t.Integer(0, 20);
    asked.push_back({DrawWindow(t), {begin, begin + t.Integer(1, 9)}});
  }
  nlohmann::json params;
  for (const Asked& one : asked) params["asked"].push_back({{"window", one.window}, {"outputs", one.outputs}});
  const PlainRun run = t.Ask("inputs_of", params);
  for (size_t i = 0; i < asked.size(); ++i) {
    const auto& [window, outputs] = asked[i];
    const Numbers expected = {FirstInput(window, outputs.begin), LastInput(window, outputs.end - 1) + 1};
    const Numbers got = run.Integers(std::to_string(i));
    if (got == expected) continue;
    std::string why;
    if (got == Numbers{std::max<int64_t>(expected[0], 0), expected[1]}) {
      why = ": a range that begins in the padding begins below 0, so that nobody forgets the padding";
    } else if (got.size() == 2 && got[0] == expected[0] &&
               got[1] == FirstInput(window, outputs.end) + (window.kernel - 1) * window.dilation + 1) {
      why = fmt::format(": that is where output {} ends, which does not belong to {}:{}", outputs.end, outputs.begin,
                        outputs.end);
    } else if (got.size() == 2 && window.dilation > 1 &&
               got[1] == FirstInput(window, outputs.end - 1) + window.kernel) {
      why = ": the dilation is missing";
    }
    t.Fail(fmt::format("InputsOf ({}; outputs {}:{}): {}, and must be {}{}", Describe(window), outputs.begin,
                       outputs.end, Pairs(got), Pairs(expected), why));
  }
  t.Expect(true, "");
}

SHARDLAB_PLAIN_CASE(slices, no_outputs_need_no_inputs, kRobustness) {
  nlohmann::json params;
  const SlidingWindow window{3, 2, 1};
  for (const Range outputs : {Range{0, 0}, Range{4, 4}}) {
    params["asked"].push_back({{"window", window}, {"outputs", outputs}});
  }
  const PlainRun run = t.Ask("inputs_of", params);
  for (const char* i : {"0", "1"}) {
    const Numbers got = run.Integers(i);
    t.Expect(
        got.size() == 2 && got[0] == got[1],
        fmt::format("InputsOf ({}) for no outputs: {}, and must begin where it ends", Describe(window), Pairs(got)));
  }
}

SHARDLAB_PLAIN_CASE(slices, pixels_that_tiles_need, kValue) {
  struct Asked {
    ImageWindow window;
    Tiling outputs;
    int64_t height, width;
  };
  const SlidingWindow three{3, 1, 1}, seven{7, 2, 3}, one{1, 1, 0};
  const std::vector<Asked> asked = {{{three, three}, {{{0, 4}}, {{0, 4}, {4, 8}}}, 4, 8},
                                    {{three, one}, {{{0, 3}, {3, 5}}, {{0, 6}}}, 5, 6},
                                    {{seven, three}, {{{0, 7}, {7, 14}}, {{0, 3}, {3, 6}, {6, 9}}}, 28, 9},
                                    {{three, three}, {{{0, 2}}, {{0, 2}, {2, 2}, {2, 5}}}, 2, 5}};  // one needs nothing
  nlohmann::json params;
  for (const Asked& q : asked) {
    params["asked"].push_back({{"window", q.window}, {"outputs", q.outputs}, {"height", q.height}, {"width", q.width}});
  }
  const PlainRun run = t.Ask("inputs_of_tiles", params);
  const auto within = [](const SlidingWindow& w, const std::vector<Range>& outputs, int64_t size) {
    Numbers
        numbers;  // of each tile the first and the last pixel of the image that it reads; nothing: where it would begin
    for (const Range& tile : outputs) {
      int64_t begin = std::min(std::max<int64_t>(FirstInput(w, tile.begin), 0), size), end = begin;
      for (int64_t o = tile.begin; o < tile.end; ++o) end = std::max(end, std::min(LastInput(w, o) + 1, size));
      numbers.insert(numbers.end(), {begin, end});
    }
    return numbers;
  };
  for (size_t i = 0; i < asked.size(); ++i) {
    Numbers expected = within(asked[i].window.rows, asked[i].outputs.rows, asked[i].height);
    const Numbers columns = within(asked[i].window.columns, asked[i].outputs.columns, asked[i].width);
    expected.insert(expected.end(), columns.begin(), columns.end());
    Numbers got = run.Integers(std::to_string(i));
    for (size_t k = 0; got.size() == expected.size() && k + 1 < got.size(); k += 2) {
      const bool nothing = expected[k] == expected[k + 1] && got[k] == got[k + 1];  // wherever it lies
      if (nothing) got[k] = got[k + 1] = expected[k];
    }
    const bool unclamped = std::any_of(got.begin(), got.end(), [](int64_t number) { return number < 0; });
    t.Expect(got == expected,
             fmt::format(
                 "InputsOfTiles (rows: {}; columns: {}; outputs {} and {} of an image of {} x {}): {}, and must be "
                 "{}, rows first{}",
                 Describe(asked[i].window.rows), Describe(asked[i].window.columns), Pairs(Flat(asked[i].outputs.rows)),
                 Pairs(Flat(asked[i].outputs.columns)), asked[i].height, asked[i].width, Pairs(got), Pairs(expected),
                 unclamped ? ": pixels below 0 are padding, which nobody has" : ""));
  }
}

SHARDLAB_PLAIN_CASE(slices, output_sizes, kValue) {
  struct Asked {
    SlidingWindow window;
    int64_t inputs;
  };
  std::vector<Asked> asked = {{{3, 1, 1}, 8}, {{3, 2, 1}, 8}, {{3, 2, 1}, 7}, {{2, 2, 0}, 7}, {{1, 1, 0}, 1}};
  for (int k = 0; k < 40; ++k) {
    const SlidingWindow window = DrawWindow(t);
    asked.push_back({window, t.Integer((window.kernel - 1) * window.dilation + 1, 30)});
  }
  nlohmann::json params;
  for (const Asked& one : asked) params["asked"].push_back({{"window", one.window}, {"inputs", one.inputs}});
  const PlainRun run = t.Ask("output_size", params);
  for (size_t i = 0; i < asked.size(); ++i) {
    const int64_t expected = CountedOutputs(asked[i].window, asked[i].inputs);
    const int64_t got = run.Integers(std::to_string(i)).at(0);
    t.Expect(got == expected, fmt::format("OutputSize ({}; {} inputs): {}, and must be {}", Describe(asked[i].window),
                                          asked[i].inputs, got, expected));
  }
}

SHARDLAB_PLAIN_CASE(slices, outputs_of_equal_tiles, kValue) {
  ExpectOutputsOf(
      t, {{{3, 1, 1}, {{0, 4}, {4, 8}}}, {{5, 1, 2}, {{0, 3}, {3, 6}, {6, 9}}}, {{3, 2, 1}, {{0, 4}, {4, 8}}}});
}

SHARDLAB_PLAIN_CASE(slices, a_window_that_does_not_fit_is_refused, kRobustness) {
  const PlainRun run = t.Ask("output_size", {{"asked",
                                              {{{"window", SlidingWindow{5, 1, 0}}, {"inputs", 4}},
                                               {{"window", SlidingWindow{3, 1, 0, 3}}, {"inputs", 6}}}}});
  for (const char* i : {"0", "1"}) {
    t.Expect(run.Integers(i) == Numbers{-1},
             fmt::format("OutputSize of a window that is larger than the image: {}, and must throw ContractError",
                         run.Integers(i).at(0)));
  }
}

SHARDLAB_PLAIN_CASE(slices, halo_of_layers, kValue) {
  const std::vector<std::vector<SlidingWindow>> chains = {{{3, 1, 1}},
                                                          {{3, 1, 1}, {3, 1, 1}},
                                                          {{3, 2, 1}},
                                                          {{3, 2, 1}, {3, 1, 1}},
                                                          {{7, 2, 3}, {3, 2, 1}, {3, 1, 1}, {3, 1, 1}},
                                                          {{1, 2, 0}, {3, 1, 1}},
                                                          {{1, 2, 0}},
                                                          {{4, 2, 1}},
                                                          {{3, 1, 2, 2}},
                                                          {}};
  nlohmann::json params;
  for (const auto& chain : chains) params["asked"].push_back({{"chain", chain}});
  const PlainRun run = t.Ask("halo_of", params);
  for (size_t i = 0; i < chains.size(); ++i) {
    // A tile far from both ends of the image, all of whose borders are multiples of 64: what do its outputs read?
    int64_t stride = 1;
    for (const SlidingWindow& window : chains[i]) stride *= window.stride;
    Range read{640 / stride, 1280 / stride};
    for (size_t k = chains[i].size(); k-- > 0;) {
      read = {FirstInput(chains[i][k], read.begin), LastInput(chains[i][k], read.end - 1) + 1};
    }
    const Numbers expected = {std::max<int64_t>(640 - read.begin, 0), std::max<int64_t>(read.end - 1280, 0)};
    const Numbers got = run.Integers(std::to_string(i));
    std::vector<std::string> layers;
    for (const SlidingWindow& window : chains[i]) layers.push_back("(" + Describe(window) + ")");
    std::string why;
    if (got.size() == 2 && got[0] == got[1] && expected[0] == got[0] && expected[1] != got[1]) {
      why = ": the halo behind a tile is not as wide as the one before it, where there is a stride or an even kernel";
    }
    t.Expect(got == expected,
             fmt::format("HaloOf {}: {} before and {} behind, and must be {} and {}{}", fmt::join(layers, " then "),
                         got.at(0), got.at(1), expected[0], expected[1], why));
  }
}

SHARDLAB_PLAIN_CASE(grid, outputs_of_uneven_tiles, kValue) {
  std::vector<AskedOutputs> asked = {{{3, 2, 1}, {{0, 3}, {3, 5}, {5, 7}}},
                                     {{2, 2, 0}, {{0, 3}, {3, 7}}},
                                     {{3, 1, 0}, {{0, 4}, {4, 8}}},
                                     {{1, 3, 0}, {{0, 1}, {1, 2}, {2, 7}}}};
  for (int k = 0; k < 60; ++k) {
    const SlidingWindow window = DrawWindow(t);
    const int64_t inputs = t.Integer((window.kernel - 1) * window.dilation + 1, 40);
    asked.push_back({window, DrawTiles(t, inputs, t.Integer(1, 5))});
  }
  ExpectOutputsOf(t, asked);
}

SHARDLAB_PLAIN_CASE(gradients, ceil_mode, kValue) {
  std::vector<AskedOutputs> asked = {{{3, 2, 0, 1, true}, {{0, 3}, {3, 6}}},
                                     {{2, 2, 0, 1, true}, {{0, 4}, {4, 7}}},
                                     {{3, 2, 1, 1, true}, {{0, 2}, {2, 6}}},
                                     {{2, 3, 1, 1, true}, {{0, 3}, {3, 4}}}};
  for (int k = 0; k < 30; ++k) {
    const SlidingWindow window = DrawWindow(t, /*ceil_mode=*/true);
    const int64_t inputs = t.Integer((window.kernel - 1) * window.dilation + 1, 40);
    asked.push_back({window, DrawTiles(t, inputs, t.Integer(1, 4))});
  }
  ExpectOutputsOf(t, asked);
}

SHARDLAB_PLAIN_CASE(fused_halo, outputs_that_pixels_are_enough_for, kValue) {
  struct Asked {
    SlidingWindow window;
    Range held;
    int64_t inputs;
  };
  std::vector<Asked> asked = {{{3, 1, 1}, {2, 8}, 8},   {{3, 1, 1}, {0, 5}, 8},   {{3, 1, 1}, {2, 6}, 8},
                              {{3, 2, 1}, {3, 8}, 8},   {{7, 2, 3}, {0, 20}, 56}, {{1, 1, 0}, {3, 5}, 9},
                              {{3, 1, 2, 2}, {0, 9}, 9}};
  for (int k = 0; k < 60; ++k) {
    Asked one{DrawWindow(t), {}, 0};
    one.inputs = t.Integer((one.window.kernel - 1) * one.window.dilation + 1, 30);
    one.held.begin = t.Integer(0, one.inputs - 1);
    one.held.end = t.Integer(one.held.begin + 1, one.inputs);
    asked.push_back(one);
  }
  nlohmann::json params;
  for (const Asked& one : asked) {
    params["asked"].push_back({{"window", one.window}, {"held", one.held}, {"inputs", one.inputs}});
  }
  const PlainRun run = t.Ask("outputs_within", params);
  for (size_t i = 0; i < asked.size(); ++i) {
    const auto& [window, held, inputs] = asked[i];
    // Every output is tried, pixel by pixel.
    Range expected{0, 0};
    bool found = false;
    for (int64_t o = 0; o < CountedOutputs(window, inputs); ++o) {
      bool enough = true, reads_image = false;
      for (int64_t pixel = FirstInput(window, o); pixel <= LastInput(window, o); ++pixel) {
        if (pixel < 0 || pixel >= inputs) continue;
        reads_image = true;
        enough = enough && pixel >= held.begin && pixel < held.end;
      }
      if (!reads_image) enough = found ? expected.end == o : held.begin == 0;
      if (!enough) continue;
      if (!found) expected = {o, o};
      found = true;
      expected.end = o + 1;
    }
    const Numbers got = run.Integers(std::to_string(i));
    const bool right = found ? got == Numbers{expected.begin, expected.end} : got.size() == 2 && got[0] == got[1];
    if (right) continue;
    std::string why;
    if (found && got.size() == 2 && held.begin == 0 && got[0] > expected.begin) {
      why = ": at the image's begin a window reads padding, which needs no pixel";
    } else if (found && got.size() == 2 && held.end == inputs && got[1] < expected.end) {
      why = ": at the image's end a window reads padding, which needs no pixel";
    }
    t.Fail(fmt::format("OutputsWithin ({}; {}:{} held of {} pixels): {}, and must be {}{}", Describe(window),
                       held.begin, held.end, inputs, Pairs(got),
                       found ? Pairs({expected.begin, expected.end}) : "empty", why));
  }
  t.Expect(true, "");
}

}  // namespace shardlab::grade
