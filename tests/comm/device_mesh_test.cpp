// Meshes: who is whose neighbour, what fits, and that communicators along the axes connect the right ranks.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include "../texts.hpp"
#include "checks.hpp"
#include "fork_ranks.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/comm/device_mesh.hpp"
#include "shardlab/comm/mailbox.hpp"

namespace shardlab::test {
namespace {

using testing::HasSubstr;
using Groups = std::vector<std::vector<int>>;

TEST(DeviceMesh, IsRowMajor) {
  const auto axes = ParseMesh("data=2,tensor=3");
  EXPECT_EQ(MeshGroups(axes, {"tensor"}), (Groups{{0, 1, 2}, {3, 4, 5}}));
  EXPECT_EQ(MeshGroups(axes, {"data"}), (Groups{{0, 3}, {1, 4}, {2, 5}}));
  EXPECT_EQ(MeshGroups(axes, {"tensor", "data"}), (Groups{{0, 1, 2, 3, 4, 5}}));
  EXPECT_EQ(MeshGroups(axes, {}), (Groups{{0}, {1}, {2}, {3}, {4}, {5}}));
  EXPECT_EQ(MeshCoordinate(axes, 4), (std::vector<int>{1, 1}));
  EXPECT_EQ(MeshGroups(ParseMesh("data=2,pipe=2,tensor=2"), {"data", "tensor"}), (Groups{{0, 1, 4, 5}, {2, 3, 6, 7}}));
}

TEST(DeviceMesh, ReadsAndWritesItsText) {
  for (const char* text : {"data=2,pipe=4,tensor=1,spatial=2x3", "tensor=8", "spatial=4"}) {
    EXPECT_EQ(MeshText(ParseMesh(text)), text);
  }
  EXPECT_EQ(MeshSize(ParseMesh("data=2,spatial=2x3")), 12);
  EXPECT_THAT(MessageOf([] { ParseMesh("date=2"); }),
              HasSubstr("no axis 'date', there are data, pipe, tensor, spatial"));
  EXPECT_THAT(MessageOf([] { ParseMesh("data=0"); }), HasSubstr("'0' is no size"));
  EXPECT_THAT(MessageOf([] { ParseMesh("data=2x2"); }), HasSubstr("no size"));
  EXPECT_THAT(MessageOf([] { ParseMesh("data=2,,tensor=2"); }), HasSubstr("'' has no size"));
  EXPECT_THAT(MessageOf([] { ParseMesh("data=2,data=3"); }), HasSubstr("given twice"));
  EXPECT_THAT(MessageOf([] { ParseMesh(""); }), HasSubstr("written like"));
}

TEST(DeviceMesh, SaysWhatWouldFit) {
  EXPECT_EQ(MessageOf([] { CheckMesh(ParseMesh("data=2,tensor=2"), 6); }),
            "data=2,tensor=2 needs 4 ranks, there are 6: data=3,tensor=2 or data=2,tensor=3 would fit");
  EXPECT_EQ(MessageOf([] { CheckMesh(ParseMesh("data=2,tensor=2"), 5); }),
            "data=2,tensor=2 needs 4 ranks, there are 5: data=5,tensor=1 or data=1,tensor=5 would fit");
  EXPECT_THAT(MessageOf([] { CheckMesh(ParseMesh("tensor=2,spatial=2x2"), 2); }), HasSubstr("tensor=2,spatial=1x1"));
  EXPECT_EQ(MessageOf([] { CheckMesh(ParseMesh("data=2,tensor=3"), 6); }), "nothing was thrown");
}

void CheckMeshBody(Communicator& comm) {
  const std::shared_ptr<Communicator> world(&comm, [](Communicator*) {});
  DeviceMesh mesh(world, ParseMesh("data=2,pipe=1,tensor=2"));
  const int me = comm.rank();
  Check(mesh.Coordinate("data") == me / 2 && mesh.Coordinate("tensor") == me % 2 && mesh.Size("pipe") == 1, "place");
  Check(mesh.Along("tensor")->rank() == me % 2, "the number along an axis is the coordinate");
  const at::Tensor x = at::full({3}, 1 << me, at::kLong);
  const at::Tensor along_tensor = x.clone(), along_data = x.clone(), along_pipe = x.clone(), all = x.clone();
  mesh.Along("tensor")->AllReduce(along_tensor);
  mesh.Along("data")->AllReduce(along_data);
  mesh.Along("pipe")->AllReduce(along_pipe);
  mesh.Together({"tensor", "data"})->AllReduce(all);
  Check(along_tensor[0].item<int64_t>() == (me < 2 ? 3 : 12), "the sum along tensor");
  Check(along_data[0].item<int64_t>() == (me % 2 == 0 ? 5 : 10), "the sum along data");
  Check(along_pipe[0].item<int64_t>() == 1 << me, "an axis of one rank");
  Check(all[0].item<int64_t>() == 15, "the sum along both");
  Check(mesh.Together({"data", "tensor"}) == mesh.Together({"tensor", "data"}), "made once");

  // Seeds: what differs along tensor is shared along data.
  std::vector<at::Tensor> seeds, states;
  for (int r = 0; r < 4; ++r) seeds.push_back(at::zeros({1}, at::kLong));
  comm.AllGather(seeds, at::full({1}, int64_t(mesh.Seed(7, {"tensor"}) >> 1), at::kLong));
  Check(at::equal(seeds[0], seeds[2]) && at::equal(seeds[1], seeds[3]) && !at::equal(seeds[0], seeds[1]), "seeds");
  Check(mesh.Seed(7, {"tensor"}) != mesh.Seed(8, {"tensor"}), "seeds");
  const at::Tensor a = at::randn({5}, mesh.RandomState(7, {"data"})), b = at::randn({5}, mesh.RandomState(7, {"data"}));
  Check(at::equal(a, b), "a random state is a function of seed and place");
}

TEST(DeviceMesh, ConnectsTheRanksAlongItsAxes) {
  RunOnMailbox(4, CheckMeshBody);
  const ForkedRun run = ForkRanks(4, CheckMeshBody);
  EXPECT_TRUE(run.ok && !run.verdict) << run.AllErrors();
}

TEST(DeviceMesh, RefusesBeforeAnyGroupIsMade) {
  RunOnMailbox(3, [](Communicator& comm) {
    const std::shared_ptr<Communicator> world(&comm, [](Communicator*) {});
    Check(MessageOf([&] { DeviceMesh(world, ParseMesh("data=2,tensor=2")); }).find("there are 3") != std::string::npos,
          "names the number of ranks");
    Check(MessageOf([&] { (void)DeviceMesh(world, ParseMesh("data=3")).Along("tensor"); }).find("data=3") !=
              std::string::npos,
          "names the mesh");
  });
}

}  // namespace
}  // namespace shardlab::test
