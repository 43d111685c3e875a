#include <ATen/ATen.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "kit/run_calls.hpp"
#include "shardlab/communication/all_to_all.hpp"
#include "shardlab/communication/barrier.hpp"
#include "shardlab/communication/gather.hpp"
#include "shardlab/communication/recursive_doubling.hpp"
#include "shardlab/communication/ring_all_gather.hpp"
#include "shardlab/communication/ring_all_reduce.hpp"
#include "shardlab/communication/ring_reduce_scatter.hpp"
#include "shardlab/communication/scatter.hpp"
#include "shardlab/communication/tree_broadcast.hpp"
#include "shardlab/communication/tree_reduce.hpp"

namespace shardlab::grade {
namespace {

using Json = nlohmann::json;

std::vector<int64_t> Rows(const Json& call) { return call.at("rows").get<std::vector<int64_t>>(); }

}  // namespace

SHARDLAB_BODY(tree_broadcast) {
  RunCalls(ctx, [](Communicator& comm, const at::Tensor& x, const Json& call) {
    return TreeBroadcast(comm, x, call.at("root"));
  });
}

SHARDLAB_BODY(tree_reduce) {
  RunCalls(ctx, [](Communicator& comm, const at::Tensor& x, const Json& call) {
    return TreeReduce(comm, x, call.at("root"));
  });
}

SHARDLAB_BODY(scatter) {
  RunCalls(ctx, [](Communicator& comm, const at::Tensor& x, const Json& call) {
    return Scatter(comm, x, Rows(call), call.at("root"));
  });
}

SHARDLAB_BODY(gather) {
  RunCalls(ctx, [](Communicator& comm, const at::Tensor& x, const Json& call) {
    return Gather(comm, x, Rows(call), call.at("root"));
  });
}

SHARDLAB_BODY(ring_all_gather) {
  RunCalls(ctx, [](Communicator& comm, const at::Tensor& x, const Json& call) {
    return RingAllGather(comm, x, Rows(call));
  });
}

SHARDLAB_BODY(ring_reduce_scatter) {
  RunCalls(ctx, [](Communicator& comm, const at::Tensor& x, const Json&) { return RingReduceScatter(comm, x); });
}

SHARDLAB_BODY(ring_all_reduce) {
  RunCalls(ctx, [](Communicator& comm, const at::Tensor& x, const Json&) { return RingAllReduce(comm, x); });
}

SHARDLAB_BODY(recursive_doubling) {
  RunCalls(ctx,
           [](Communicator& comm, const at::Tensor& x, const Json&) { return RecursiveDoublingAllReduce(comm, x); });
}

SHARDLAB_BODY(all_to_all) {
  RunCalls(ctx, [](Communicator& comm, const at::Tensor& x, const Json& call) {
    const auto rows = call.at("rows").get<std::vector<std::vector<int64_t>>>();
    std::vector<int64_t> receive_rows;
    for (const auto& from : rows) receive_rows.push_back(from[comm.rank()]);
    return AllToAll(comm, x, rows[comm.rank()], receive_rows);
  });
}

/// Each function where what it waits for fails.
SHARDLAB_BODY(collectives_fail) {
  RunFailingCalls(ctx, [](const std::string& name, const std::shared_ptr<Communicator>& comm) {
    const at::Tensor x = at::ones({3, 2}, at::kDouble);
    const std::vector<int64_t> ones(comm->size(), 1);
    if (name == "TreeBroadcast") TreeBroadcast(*comm, x, 1);
    if (name == "TreeReduce") TreeReduce(*comm, x, 1);
    if (name == "Scatter") Scatter(*comm, x, ones, 1);
    if (name == "Gather") Gather(*comm, x.narrow(0, 0, 1), ones, 1);
    if (name == "RingAllGather") RingAllGather(*comm, x.narrow(0, 0, 1), ones);
    if (name == "RingReduceScatter") RingReduceScatter(*comm, x);
    if (name == "RingAllReduce") RingAllReduce(*comm, x);
    if (name == "RecursiveDoublingAllReduce") RecursiveDoublingAllReduce(*comm, x);
    if (name == "AllToAll") AllToAll(*comm, x, ones, ones);
    if (name == "Barrier") Barrier(*comm);
  });
}

/// Every call has wrong split sizes, on all ranks alike.
SHARDLAB_BODY(all_to_all_refuses) {
  const Json& calls = ctx.params().at("calls");
  for (size_t i = 0; i < calls.size(); ++i) {
    const at::Tensor x = at::ones({calls[i].at("input_rows").get<int64_t>(), 2}, at::kDouble);
    double refused = 0;
    try {
      AllToAll(ctx.comm(), x, calls[i].at("send_rows").get<std::vector<int64_t>>(),
               calls[i].at("receive_rows").get<std::vector<int64_t>>());
    } catch (const NotImplemented&) {
      throw;
    } catch (const CommError&) {
      throw;
    } catch (const ContractError&) {
      refused = 1;
    } catch (const std::exception&) {
      refused = 2;
    }
    ctx.Number("refused" + std::to_string(i), refused);
  }
}

/// One barrier for each rank that comes late to it.
SHARDLAB_BODY(barrier) {
  for (int late = 0; late < ctx.size(); ++late) {
    if (ctx.rank() == late) {
      std::this_thread::sleep_for(std::chrono::duration<double>(ctx.Param<double>("late_s")));
    }
    ctx.Mark("enter " + std::to_string(late));
    Barrier(ctx.comm());
    ctx.Mark("leave " + std::to_string(late));
  }
}

/// Barriers and nothing else: what they cost.
SHARDLAB_BODY(barrier_cost) { Barrier(ctx.comm()); }

}  // namespace shardlab::grade
