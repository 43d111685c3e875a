// What the public calls refuse, before anything is sent.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include "../texts.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/comm/mailbox.hpp"
#include "shardlab/comm/point_to_point_only.hpp"

namespace shardlab::test {
namespace {

using testing::HasSubstr;

class Contract : public testing::Test {
 protected:
  std::vector<std::shared_ptr<Communicator>> ranks_ = MakeMailbox(3);
  Communicator& comm_ = *ranks_[1];
  const at::Tensor x_ = at::zeros({2, 3});
};

TEST_F(Contract, RanksThatDoNotExist) {
  EXPECT_THAT(MessageOf([&] { comm_.Send(x_, 3); }),
              HasSubstr("rank 3 does not exist: group 'world' has ranks 0 to 2"));
  EXPECT_THAT(MessageOf([&] { comm_.Recv(x_, -1); }), HasSubstr("rank -1 does not exist"));
  EXPECT_THAT(MessageOf([&] { comm_.Send(x_, 1); }), HasSubstr("Send (contract_test.cpp:"));
  EXPECT_THAT(MessageOf([&] { comm_.Recv(x_, 1); }), HasSubstr("rank 1 would talk to itself"));
  EXPECT_THAT(MessageOf([&] { comm_.Broadcast(x_, 7); }), HasSubstr("root 7 does not exist"));
  EXPECT_THAT(MessageOf([&] { comm_.Send(x_, 0, -2); }), HasSubstr("tag -2 is negative"));
}

TEST_F(Contract, TensorsThatCannotTravel) {
  EXPECT_THAT(MessageOf([&] { comm_.Send(x_.t(), 0); }),
              HasSubstr("float32 [3, 2] with strides [1, 3], is not contiguous: pass x.contiguous()"));
  EXPECT_THAT(MessageOf([&] { comm_.AllReduce(at::Tensor()); }), HasSubstr("undefined"));
  EXPECT_THAT(MessageOf([&] { comm_.AllReduce(x_.t()); }), HasSubstr("not contiguous"));
  // A copy would be received into, and thrown away.
  EXPECT_THAT(MessageOf([&] { comm_.Recv(x_.t(), 0); }),
              testing::AllOf(HasSubstr("not contiguous: make it so"), testing::Not(HasSubstr("contiguous()"))));
}

TEST_F(Contract, ListsThatDoNotFitTheGroup) {
  EXPECT_THAT(MessageOf([&] { comm_.AllGather({x_, x_}, x_); }), HasSubstr("`into` holds 2 tensors"));
  EXPECT_THAT(MessageOf([&] {
                comm_.AllGather({x_, at::zeros({2}), x_}, x_);
              }),
              HasSubstr("`mine` is float32 [2, 3], but into[1], which will hold it, is float32 [2]"));
  EXPECT_THAT(MessageOf([&] {
                comm_.AllGather({x_, x_, at::zeros({2}, at::kLong)}, x_);
              }),
              HasSubstr("into[2] is int64 [2], but the others are float32"));
  EXPECT_THAT(MessageOf([&] {
                comm_.ReduceScatter(x_, {x_, at::zeros({1}), x_});
              }),
              HasSubstr("parts[1], this rank's"));
  EXPECT_THAT(MessageOf([&] { comm_.AllToAll({x_, x_, x_}, {x_, at::zeros({5}), x_}); }), HasSubstr("parts[1]"));
  EXPECT_THAT(MessageOf([&] { comm_.AllToAll({x_, x_, x_}, {}); }), HasSubstr("holds 0 tensors"));
}

TEST_F(Contract, GroupsThatAreNone) {
  EXPECT_THAT(MessageOf([&] { comm_.Subgroup({}, "none"); }), HasSubstr("without ranks"));
  EXPECT_THAT(MessageOf([&] { comm_.Subgroup({0, 3}, "far"); }), HasSubstr("rank 3 does not exist"));
  EXPECT_THAT(MessageOf([&] { comm_.Subgroup({0, 2, 0}, "twice"); }), HasSubstr("rank 0 is named twice"));
  EXPECT_EQ(comm_.Subgroup({0, 2}, "others"), nullptr);
}

TEST_F(Contract, CollectivesWhereTheyAreToBeBuilt) {
  const auto limited = MakePointToPointOnly(ranks_[1]);
  EXPECT_THAT(MessageOf([&] { limited->AllReduce(x_); }), HasSubstr("AllReduce is not available here"));
  EXPECT_THAT(MessageOf([&] { limited->Barrier(); }), HasSubstr("built from sends and receives"));
  EXPECT_NO_THROW(limited->ISend(x_, 0));
  const auto alone = limited->Subgroup({1}, "alone");
  EXPECT_THAT(MessageOf([&] { alone->Broadcast(x_, 0); }), HasSubstr("not available"));
}

// An operation writes behind autograd's back, so it says so: a backward that needs the old values refuses.
TEST_F(Contract, AutogradLearnsThatATensorIsOverwritten) {
  const auto version = x_._version();
  const auto alone = MakeMailbox(1)[0];
  alone->AllReduce(x_);
  EXPECT_GT(x_._version(), version);
}

}  // namespace
}  // namespace shardlab::test
