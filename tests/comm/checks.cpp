#include "checks.hpp"

#include <memory>
#include <stdexcept>
#include <vector>

#include <ATen/ATen.h>

namespace shardlab::test {
namespace {

// Integers that tell rank, part and element apart, and whose sums are exact in every dtype used here.
at::Tensor Numbers(const std::vector<int64_t>& shape, int rank, int part, at::ScalarType dtype) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return (at::arange(count, at::kLong).remainder(3) + 2 * rank + part).to(dtype).reshape(shape);
}

void CheckEqual(const at::Tensor& got, const at::Tensor& expected, const std::string& what) {
  if (at::equal(got, expected)) return;
  throw std::runtime_error(what + " is wrong");
}

const std::vector<std::vector<int64_t>> kShapes = {{0}, {1}, {7}, {2, 3}, {}, {1000}, {3, 0, 2}};
const std::vector<at::ScalarType> kDtypes = {at::kFloat, at::kDouble, at::kLong, at::kInt, at::kShort, at::kBFloat16};

}  // namespace

void Check(bool holds, const std::string& message) {
  if (!holds) throw std::runtime_error(message);
}

void CheckCollectives(Communicator& comm) {
  const int ranks = comm.size();
  const int me = comm.rank();
  for (const auto& shape : kShapes) {
    for (const at::ScalarType dtype : kDtypes) {
      at::Tensor sum = at::zeros(shape, dtype);
      for (int r = 0; r < ranks; ++r) sum += Numbers(shape, r, 0, dtype);
      const at::Tensor reduced = Numbers(shape, me, 0, dtype);
      comm.AllReduce(reduced);
      CheckEqual(reduced, sum, "AllReduce");

      const at::Tensor largest = Numbers(shape, me, 0, dtype);
      comm.AllReduce(largest, ReduceOp::kMax);
      CheckEqual(largest, Numbers(shape, ranks - 1, 0, dtype), "AllReduce(max)");

      for (int root = 0; root < ranks; ++root) {
        const at::Tensor value = Numbers(shape, me, 0, dtype);
        comm.Broadcast(value, root);
        CheckEqual(value, Numbers(shape, root, 0, dtype), "Broadcast");
      }
    }
  }

  // Uneven: rank r holds r % 3 rows, so that some have none; rank a gives rank b (a + b) % 3 elements.
  for (const at::ScalarType dtype : {at::kDouble, at::kBool}) {
    std::vector<at::Tensor> gathered;
    for (int r = 0; r < ranks; ++r) gathered.push_back(at::zeros({r % 3, 5}, dtype));
    comm.AllGather(gathered, Numbers({me % 3, 5}, me, 0, dtype));
    for (int r = 0; r < ranks; ++r) CheckEqual(gathered[size_t(r)], Numbers({r % 3, 5}, r, 0, dtype), "AllGather");

    std::vector<at::Tensor> parts, into;
    for (int r = 0; r < ranks; ++r) {
      parts.push_back(Numbers({(me + r) % 3}, me, r, dtype));
      into.push_back(at::zeros({(me + r) % 3}, dtype));
    }
    comm.AllToAll(into, parts);
    for (int r = 0; r < ranks; ++r) CheckEqual(into[size_t(r)], Numbers({(me + r) % 3}, r, me, dtype), "AllToAll");
  }
  for (const at::ScalarType dtype : kDtypes) {
    std::vector<at::Tensor> parts;
    for (int r = 0; r < ranks; ++r) parts.push_back(Numbers({r, 3}, me, r, dtype));
    at::Tensor sum = at::zeros({me, 3}, dtype);
    for (int r = 0; r < ranks; ++r) sum += Numbers({me, 3}, r, me, dtype);
    const at::Tensor into = at::full({me, 3}, 9, dtype);
    comm.ReduceScatter(into, parts);
    CheckEqual(into, sum, "ReduceScatter");
  }
  comm.Barrier();

  // Two under way at once, waited for in the other order.
  const at::Tensor first = Numbers({4}, me, 0, at::kDouble), second = Numbers({6}, me, 1, at::kDouble);
  const auto work_1 = comm.IAllReduce(first);
  const auto work_2 = comm.IBroadcast(second, ranks - 1);
  work_2->Wait();
  work_1->Wait();
  CheckEqual(second, Numbers({6}, ranks - 1, 1, at::kDouble), "IBroadcast");
  at::Tensor sum = at::zeros({4}, at::kDouble);
  for (int r = 0; r < ranks; ++r) sum += Numbers({4}, r, 0, at::kDouble);
  CheckEqual(first, sum, "IAllReduce");
}

void CheckMessages(Communicator& comm) {
  const int ranks = comm.size();
  const int me = comm.rank();
  if (ranks == 1) return;
  const int next = (me + 1) % ranks;
  const int previous = (me + ranks - 1) % ranks;

  for (const auto& shape : kShapes) {
    for (const at::ScalarType dtype : kDtypes) {
      const at::Tensor got = at::zeros(shape, dtype);
      const auto received = comm.IRecv(got, previous, 3);
      comm.Send(Numbers(shape, me, 0, dtype), next, 3);
      received->Wait();
      CheckEqual(got, Numbers(shape, previous, 0, dtype), "a message");
    }
  }

  // Three of one tag stay in order; another tag overtakes them.
  std::vector<std::unique_ptr<Work>> sent;
  for (int k = 0; k < 3; ++k) sent.push_back(comm.ISend(Numbers({2}, me, k, at::kFloat), next, 1));
  sent.push_back(comm.ISend(Numbers({1000}, me, 7, at::kFloat), next, 2));
  const at::Tensor other_tag = at::zeros({1000});
  comm.Recv(other_tag, previous, 2);
  CheckEqual(other_tag, Numbers({1000}, previous, 7, at::kFloat), "the message with tag 2");
  for (int k = 0; k < 3; ++k) {
    const at::Tensor got = at::zeros({2});
    comm.Recv(got, previous, 1);
    CheckEqual(got, Numbers({2}, previous, k, at::kFloat), "message " + std::to_string(k) + " with tag 1");
  }
  for (const auto& work : sent) work->Wait();

  const at::Tensor odd = Numbers({2, 1, 3}, me, 0, at::kHalf);
  if (me == 0) comm.SendTensor(odd, next, 5);
  const at::Tensor got = comm.RecvTensor(previous, 5);
  if (me != 0) comm.SendTensor(odd, next, 5);
  CheckEqual(got, Numbers({2, 1, 3}, previous, 0, at::kHalf), "RecvTensor");
}

void CheckSubgroups(Communicator& comm) {
  const int ranks = comm.size();
  const int me = comm.rank();

  // Even and odd ranks, the odd ones in reverse order.
  std::vector<int> even, odd;
  for (int r = 0; r < ranks; ++r) (r % 2 == 0 ? even : odd).push_back(r);
  const std::vector<int> odd_reversed(odd.rbegin(), odd.rend());
  const auto of_even = comm.Subgroup(even, "even");
  const auto of_odd = odd.empty() ? nullptr : comm.Subgroup(odd_reversed, "odd");
  Check((of_even != nullptr) == (me % 2 == 0), "Subgroup gives a communicator to members and to nobody else");
  const auto& mine = of_even ? of_even : of_odd;
  const auto& members = of_even ? even : odd_reversed;
  Check(mine->group().world_ranks == members, "the group has the ranks in the order given");
  Check(members[size_t(mine->rank())] == me, "rank in the group");
  Check(mine->group().id != 0, "only the world is 0");
  CheckCollectives(*mine);
  CheckMessages(*mine);

  // The same members again are another group: their messages do not mix.
  const auto again = comm.Subgroup(even, "even");
  if (again) Check(again->group().id != of_even->group().id, "every group has an id of its own");

  // Split: two colors, the ranks of each in descending order.
  const auto split = comm.Split(me % 2, -me, "halves");
  const int count = me % 2 == 0 ? int(even.size()) : int(odd.size());
  Check(split->size() == count && split->rank() == count - 1 - me / 2, "Split orders by key");
  const at::Tensor sum = at::full({3}, me, at::kLong);
  split->AllReduce(sum);
  int64_t expected = 0;
  for (int r = me % 2; r < ranks; r += 2) expected += r;
  CheckEqual(sum, at::full({3}, expected, at::kLong), "AllReduce among the halves");

  const auto nested = split->Subgroup({0}, "alone");
  Check((nested != nullptr) == (split->rank() == 0), "a group of a group");
  if (nested) CheckCollectives(*nested);
}

void CheckSameBits(Communicator& comm) {
  for (const int64_t size : {int64_t{3}, int64_t{10007}}) {
    at::manual_seed(uint64_t(comm.rank()));
    const at::Tensor value = at::randn({size});
    comm.AllReduce(value);
    const at::Tensor of_rank_0 = value.clone();
    comm.Broadcast(of_rank_0, 0);
    CheckEqual(value, of_rank_0, "AllReduce on this rank compared with rank 0");
  }
}

}  // namespace shardlab::test
