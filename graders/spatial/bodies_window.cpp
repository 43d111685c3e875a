#include <string>
#include <vector>

#include "shardlab/base/errors.hpp"
#include "shardlab/grade/plain_body.hpp"
#include "shardlab/spatial/fused_halo.hpp"
#include "shardlab/spatial/window.hpp"
#include "tiling_json.hpp"

// Geometry along one side of an image. An answer is a list of numbers; a list of one -1 says that the function refused.

namespace shardlab::grade {

namespace {

std::vector<int64_t> Flat(const std::vector<Range>& ranges) {
  std::vector<int64_t> numbers;
  for (const Range& range : ranges) {
    numbers.push_back(range.begin);
    numbers.push_back(range.end);
  }
  return numbers;
}

template <typename Answer>
void AnswerAll(PlainContext& ctx, Answer answer) {
  const auto& asked = ctx.params().at("asked");
  for (size_t i = 0; i < asked.size(); ++i) {
    std::vector<int64_t> numbers;
    try {
      numbers = answer(asked[i]);
    } catch (const ContractError&) {
      numbers = {-1};
    }
    ctx.Integers(std::to_string(i), numbers);
  }
}

}  // namespace

SHARDLAB_PLAIN_BODY(output_size) {
  AnswerAll(ctx, [](const nlohmann::json& one) {
    return std::vector<int64_t>{OutputSize(one.at("window").get<SlidingWindow>(), one.at("inputs"))};
  });
}

SHARDLAB_PLAIN_BODY(inputs_of) {
  AnswerAll(ctx, [](const nlohmann::json& one) {
    return Flat({InputsOf(one.at("window").get<SlidingWindow>(), one.at("outputs").get<Range>())});
  });
}

SHARDLAB_PLAIN_BODY(outputs_of) {
  AnswerAll(ctx, [](const nlohmann::json& one) {
    return Flat(OutputsOf(one.at("window").get<SlidingWindow>(), one.at("tiles").get<std::vector<Range>>()));
  });
}

SHARDLAB_PLAIN_BODY(inputs_of_tiles) {
  AnswerAll(ctx, [](const nlohmann::json& one) {
    const Tiling read = InputsOfTiles(one.at("window").get<ImageWindow>(), one.at("outputs").get<Tiling>(),
                                      one.at("height"), one.at("width"));
    std::vector<int64_t> numbers = Flat(read.rows);
    for (const int64_t number : Flat(read.columns)) numbers.push_back(number);
    return numbers;
  });
}

SHARDLAB_PLAIN_BODY(halo_of) {
  AnswerAll(ctx, [](const nlohmann::json& one) {
    const Halo halo = HaloOf(one.at("chain").get<std::vector<SlidingWindow>>());
    return std::vector<int64_t>{halo.before, halo.behind};
  });
}

SHARDLAB_PLAIN_BODY(outputs_within) {
  AnswerAll(ctx, [](const nlohmann::json& one) {
    return Flat({OutputsWithin(one.at("window").get<SlidingWindow>(), one.at("held").get<Range>(), one.at("inputs"))});
  });
}

}  // namespace shardlab::grade
