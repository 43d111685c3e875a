// The referee's main(): every registered case becomes a GoogleTest test for each number of ranks.

#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "judge.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/grade/case_runner.hpp"
#include "shardlab/grade/wire.hpp"
#include "shardlab/launch/scope.hpp"

namespace shardlab::grade {

namespace {

struct Options {
  int supervisor_fd = -1;
  std::string module = "module";
  uint64_t seed = 0;
  std::vector<std::string> parts;  // in the order in which they are judged; empty: all
  std::string case_filter;
  std::string case_name;
  std::set<std::string> first;  // "PART/ID"
  int ranks = 0;
  std::string host;
};

bool Take(const char* argument, const char* name, std::string* value) {
  const size_t length = std::strlen(name);
  if (std::strncmp(argument, name, length) != 0) return false;
  *value = argument + length;
  return true;
}

/// Cases are run by the supervisor, which is also told what came of them.
class Supervised final : public Arena {
 public:
  explicit Supervised(int fd) : channel_(launch::Fd(fd)) {}

  CaseOutcome Run(const CaseRequest& request) override {
    CaseRequest asked = request;
    asked.replay = replay;
    channel_.Send(ToMessage(asked), kLimit);
    const Message answer = Answer(request.limit_s + 300);
    if (answer.header.at("type") == "refused") throw ContractError(answer.header.at("why").get<std::string>());
    return OutcomeFrom(answer);
  }
  void Draw(const LearningCurve& curve) override {
    if (!replay) channel_.Send({{{"type", "curve"}, {"curve", curve}}, {}}, kLimit);
  }
  /// Whether cases are to be run again, over messages that the supervisor counts itself.
  bool replay = false;

  void Say(const nlohmann::json& header) { channel_.Send({header, {}}, kLimit); }
  Message Answer(double limit_s) {
    if (auto message = channel_.Receive(limit_s, kLimit)) return std::move(*message);
    throw WireError("the supervisor does not answer");
  }

 private:
  static constexpr double kLimit = 60;
  Channel channel_;
};

/// Cases are run by this very process: a referee under a debugger.
class Alone final : public Arena {
 public:
  explicit Alone(const std::string& host) : runner_(host) {}
  CaseOutcome Run(const CaseRequest& request) override { return runner_.Run(request); }
  void Draw(const LearningCurve&) override {}

 private:
  CaseRunner runner_;
};

class Referee;

/// One case on one number of ranks, as a GoogleTest test.
class CaseTest final : public ::testing::Test {
 public:
  CaseTest(Referee& referee, size_t index) : referee_(referee), index_(index) {}
  void TestBody() override;

 private:
  Referee& referee_;
  size_t index_;
};

class Referee final : public ::testing::EmptyTestEventListener {
 public:
  explicit Referee(Options options) : options_(std::move(options)) {
    if (options_.supervisor_fd >= 0) {
      auto supervised = std::make_unique<Supervised>(options_.supervisor_fd);
      supervised_ = supervised.get();
      arena_ = std::move(supervised);
    } else {
      arena_ = std::make_unique<Alone>(options_.host);
    }
  }

  int Run() {
    ListCases();
    auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
    listeners.Append(this);
    const int status = RUN_ALL_TESTS();
    listeners.Release(this);
    if (supervised_ == nullptr) return status;
    supervised_->Say({{"type", "end"}});
    return 0;
  }

  void RunCase(size_t index) {
    result_.reset();
    bool replay = false;
    if (supervised_ != nullptr) {
      supervised_->Say({{"type", "start"}, {"index", index}});
      // The turn of this referee comes when those before it are done.
      const Message answer = supervised_->Answer(kTurnLimit);
      if (answer.header.at("type") != "go") {
        GTEST_SKIP() << answer.header.value("reason", "");
        return;
      }
      options_.seed = answer.header.at("seed").get<uint64_t>();
      replay = answer.header.at("replay").get<bool>();
    }
    result_ = Judge(*entries_[index], listed_[index], options_.seed, *arena_);
    if (replay && result_->status == Status::kPassed) {
      supervised_->replay = true;
      CaseResult again = Judge(*entries_[index], listed_[index], options_.seed, *arena_);
      supervised_->replay = false;
      if (again.status != Status::kPassed) {
        again.message =
            "this passed, but not once more with every rank by itself and all messages through the supervisor, which "
            "counts them: " +
            again.message;
        result_ = again;
      }
    }
    if (result_->status == Status::kSkipped) GTEST_SKIP() << result_->message;
    if (result_->status != Status::kPassed) ADD_FAILURE() << Name(result_->status) << ": " << result_->message;
  }

  void OnTestEnd(const ::testing::TestInfo& info) override {
    if (!result_ || supervised_ == nullptr) return;
    // A case may use GoogleTest's own checks besides: what they find counts.
    if (result_->status == Status::kPassed && info.result()->Failed()) {
      result_->status = Status::kFailed;
      for (int i = 0; i < info.result()->total_part_count(); ++i) {
        const auto& part = info.result()->GetTestPartResult(i);
        if (part.failed()) {
          result_->message = part.message();
          break;
        }
      }
    }
    supervised_->Say({{"type", "result"}, {"result", *result_}});
  }

 private:
  void ListCases() {
    std::vector<std::string> parts, names;
    std::set<int> rank_counts;
    for (const RegisteredCase& entry : RegisteredCases()) {
      const std::string part = options_.module + "." + entry.part;
      if (std::find(parts.begin(), parts.end(), part) == parts.end()) parts.push_back(part);
      rank_counts.insert(entry.ranks.begin(), entry.ranks.end());
    }
    for (const std::string& part : options_.parts.empty() ? parts : options_.parts) {
      for (const RegisteredCase& entry : RegisteredCases()) {
        if (options_.module + "." + entry.part != part) continue;
        names.push_back(entry.name);
        ListCase(part, entry);
      }
    }
    Register();
    if (supervised_ != nullptr) {
      supervised_->Say({{"type", "cases"},
                        {"libtorch", LibTorchOfCases()},
                        {"cases", listed_},
                        {"parts", parts},
                        {"names", names},
                        {"rank_counts", rank_counts}});
    }
  }

  void ListCase(const std::string& part, const RegisteredCase& entry) {
    for (const int ranks : entry.ranks) {
      const ListedCase listed{part, fmt::format("{}/ranks={}", entry.name, ranks), entry.kind, ranks};
      if (listed.id.find(options_.case_filter) == std::string::npos) continue;
      const bool named =
          options_.case_name.empty() || options_.case_name == listed.id || options_.case_name == entry.name;
      if (!named || (options_.ranks > 0 && ranks != options_.ranks)) continue;
      listed_.push_back(listed);
      entries_.push_back(&entry);
    }
  }

  /// GoogleTest runs suites in the order in which it meets them, each whole: the cases to begin with are suites of their
  /// own.
  void Register() {
    for (const bool first : {true, false}) {
      for (size_t index = 0; index < listed_.size(); ++index) {
        const ListedCase& listed = listed_[index];
        if ((options_.first.count(listed.part + "/" + listed.id) > 0) != first) continue;
        const std::string suite = listed.part + (first ? " again" : "");
        ::testing::RegisterTest(suite.c_str(), listed.id.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                                [this, index]() -> ::testing::Test* { return new CaseTest(*this, index); });
      }
    }
  }

  static constexpr double kTurnLimit = 4 * 3600;  // a supervisor that dies is noticed at once

  Options options_;
  std::unique_ptr<Arena> arena_;
  Supervised* supervised_ = nullptr;
  std::vector<ListedCase> listed_;
  std::vector<const RegisteredCase*> entries_;
  std::optional<CaseResult> result_;
};

void CaseTest::TestBody() { referee_.RunCase(index_); }

int RefereeMain(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  Options options;
  std::string value;
  bool understood = true;
  bool seed_given = false;
  for (int i = 1; i < argc; ++i) {
    if (Take(argv[i], "--supervisor-fd=", &value)) {
      options.supervisor_fd = std::atoi(value.c_str());
    } else if (Take(argv[i], "--module=", &value)) {
      options.module = value;
    } else if (Take(argv[i], "--seed=", &value)) {
      options.seed = std::strtoull(value.c_str(), nullptr, 10);
      seed_given = true;
    } else if (Take(argv[i], "--part=", &value)) {
      options.parts.push_back(value);
    } else if (Take(argv[i], "--case=", &value)) {
      options.case_filter = value;
    } else if (Take(argv[i], "--case-name=", &value)) {
      options.case_name = value;
    } else if (Take(argv[i], "--first=", &value)) {
      options.first.insert(value);
    } else if (Take(argv[i], "--ranks=", &value)) {
      options.ranks = std::atoi(value.c_str());
    } else if (Take(argv[i], "--host=", &value)) {
      options.host = value;
    } else {
      understood = false;
    }
  }
  const bool listing = GTEST_FLAG_GET(list_tests);
  if (!understood || (options.supervisor_fd < 0 && options.host.empty() && !listing)) {
    std::cerr
        << "This program judges what `lab grade` has run, which starts it. By itself it runs cases with\n  " << argv[0]
        << " --host=PATH/host_<module>_<flavour> [--module=NAME] [--seed=N] [--part=MODULE.PART]... [--case=TEXT] "
           "[--case-name=NAME] [--ranks=N] [--gtest_...]\n";
    return 2;
  }
  if (options.supervisor_fd < 0 && !seed_given) options.seed = std::random_device{}();
  if (options.supervisor_fd < 0) std::cout << "seed " << options.seed << std::endl;
  // Under a debugger it runs alone; supervised it has neighbours who would like to know what it expects.
  if (options.supervisor_fd >= 0) launch::HideMemory();
  try {
    if (listing && options.host.empty() && options.supervisor_fd < 0) options.host = "/bin/true";
    return Referee(options).Run();
  } catch (const std::exception& error) {
    std::cerr << Brief(error) << std::endl;
    return 3;
  }
}

}  // namespace

}  // namespace shardlab::grade

int main(int argc, char** argv) { return shardlab::grade::RefereeMain(argc, argv); }
