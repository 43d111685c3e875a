#include "shardlab/grade/plain_body.hpp"

#include <memory>
#include <utility>

#include "plain_frame.hpp"
#include "rank.hpp"

namespace shardlab::grade {

namespace {

class Context final : public PlainContext {
 public:
  Context(nlohmann::json params, OutputArea& output) : params_(std::move(params)), output_(output) {}

  const nlohmann::json& params() const override { return params_; }
  void Text(const std::string& name, const std::string& text) override {
    output_.Put(name, kTextDtype, {static_cast<int64_t>(text.size())}, text.data(), text.size());
  }
  void Number(const std::string& name, double value) override {
    output_.Put(name, kNumberDtype, {}, &value, sizeof value);
  }
  void Integers(const std::string& name, const std::vector<int64_t>& values) override {
    output_.Put(name, kIntegersDtype, {static_cast<int64_t>(values.size())}, values.data(),
                values.size() * sizeof(int64_t));
  }

 private:
  const nlohmann::json params_;
  OutputArea& output_;
};

class PlainBody final : public Body {
 public:
  explicit PlainBody(PlainBodyFunction function) : function_(function) {}

  void Prepare(RankMeans means) override {
    context_ = std::make_unique<Context>(std::move(means.params), means.output);
  }
  void Run() override { function_(*context_); }

 private:
  const PlainBodyFunction function_;
  std::unique_ptr<Context> context_;
};

}  // namespace

PlainBodyRegistration::PlainBodyRegistration(const char* name, PlainBodyFunction body) {
  RegisterBody(name, std::make_unique<PlainBody>(body));
}

}  // namespace shardlab::grade
