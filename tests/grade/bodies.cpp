// Bodies that behave as students' code may: well, wrongly, and as badly as it gets.

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/grade/body.hpp"

namespace {

void SleepMs(int ms) { usleep(static_cast<useconds_t>(ms) * 1000); }

[[noreturn]] void SleepForever() {
  for (;;) SleepMs(1000);
}

at::Tensor Zeros(int64_t n) { return at::zeros({n}, at::kDouble); }

// Functions of a student's, whose names and lines a stack shows.
__attribute__((noinline)) int ChunkLength(int length, int parts) { return length / parts; }

__attribute__((noinline)) int FirstOf(const std::vector<int>& chunks) { return chunks.at(7); }

__attribute__((noinline)) int Deeper(volatile int* depth) {
  volatile char room[4096];
  room[0] = 1;
  *depth = *depth + 1;
  if (*depth < 0) return 0;  // never
  return Deeper(depth) + room[0];
}

__attribute__((noinline)) void SpinUntil(const volatile bool* done) {
  while (!*done) {
  }
}

__attribute__((noinline)) void ThrowsThough() noexcept(false) { throw std::runtime_error("no rank is left over"); }
__attribute__((noinline)) void PromisesNotTo() noexcept { ThrowsThough(); }

}  // namespace

SHARDLAB_BODY(sum) {
  const at::Tensor mine = ctx.Input("mine").clone();
  ctx.Mark("before");
  ctx.comm().AllReduce(mine);
  ctx.Output("sum", mine);
  ctx.Number("rank", ctx.rank());
}

// Sends its tensor round the ring once; rank r hands back what rank r-1 has.
SHARDLAB_BODY(ring_step) {
  const at::Tensor mine = ctx.Input("mine");
  const at::Tensor other = at::empty_like(mine);
  const int n = ctx.size();
  if (n == 1) {
    ctx.Output("other", mine);
    return;
  }
  auto receive = ctx.comm().IRecv(other, (ctx.rank() + n - 1) % n);
  ctx.comm().Send(mine, (ctx.rank() + 1) % n);
  receive->Wait();
  ctx.Output("other", other);
}

SHARDLAB_BODY(echo) { ctx.Output("value", ctx.Input("value") * ctx.params().value("factor", 1.0)); }

SHARDLAB_BODY(wrong_shape) { ctx.Output("value", ctx.Input("value").reshape({-1})); }

SHARDLAB_BODY(nothing) {}

SHARDLAB_BODY(never_writes) { ctx.Output("value", at::empty({2, 3}, at::kDouble)); }

// Rank 1 adds what it has not waited for; rank 0 sends it only then.
SHARDLAB_BODY(reads_too_early) {
  const at::Tensor incoming = Zeros(3);
  if (ctx.rank() == 0) {
    ctx.comm().Barrier();
    ctx.comm().Send(incoming + 1, 1);
  } else {
    const auto work = ctx.comm().IRecv(incoming, 0);
    const at::Tensor sum = incoming + 1;
    ctx.comm().Barrier();
    work->Wait();
    ctx.Output("sum", sum);
  }
}

SHARDLAB_BODY(throws) {
  if (ctx.rank() == 1) throw std::runtime_error("the chunk sizes do not add up");
  ctx.comm().AllReduce(Zeros(4));
}

SHARDLAB_BODY(throws_torch_error) { at::zeros({2}) + at::zeros({3}); }

SHARDLAB_BODY(not_implemented) { throw shardlab::NotImplemented("tests.part: Function (exercises/tests/file.cpp)"); }

// One rank finds the stub; the others wait for it.
SHARDLAB_BODY(one_not_implemented) {
  if (ctx.rank() == 1) throw shardlab::NotImplemented("tests.part: Function (exercises/tests/file.cpp)");
  ctx.comm().Barrier();
}

SHARDLAB_BODY(segfault) {
  if (ctx.rank() == 1) {
    volatile int* nowhere = nullptr;
    *nowhere = 1;  // NOLINT
  }
  ctx.comm().AllReduce(Zeros(4));
}

SHARDLAB_BODY(aborts) {
  if (ctx.rank() == 0) {
    std::cerr << "assertion failed: offset < size" << std::endl;
    std::abort();
  }
  ctx.comm().Barrier();
}

SHARDLAB_BODY(exits) {
  if (ctx.rank() == 0) std::exit(0);
  ctx.comm().Barrier();
}

SHARDLAB_BODY(exits_at_once) {
  if (ctx.rank() == 0) _exit(0);
  ctx.comm().Barrier();
}

SHARDLAB_BODY(loops) {
  ctx.comm().Barrier();
  for (volatile int i = 0;; i = i + 1) {
  }
}

// Both send first: a send is complete only when its receive is posted.
SHARDLAB_BODY(deadlock) {
  const int other = 1 - ctx.rank();
  SleepMs(100);
  ctx.Mark("last");
  ctx.comm().Send(Zeros(4), other);
  ctx.comm().Recv(Zeros(4), other);
}

SHARDLAB_BODY(returns_early) {
  if (ctx.rank() == 0) return;
  ctx.comm().Barrier();
}

SHARDLAB_BODY(all_reduce_shapes) { ctx.comm().AllReduce(Zeros(ctx.rank() == 0 ? 4 : 3)); }

// Gloo meets this with std::terminate in a thread of its own.
SHARDLAB_BODY(send_eight_receive_four) {
  if (ctx.rank() == 0) ctx.comm().Send(Zeros(8), 1);
  if (ctx.rank() == 1) ctx.comm().Recv(Zeros(4), 0);
}

SHARDLAB_BODY(never_received) {
  if (ctx.rank() == 0) {
    ctx.comm().ISend(Zeros(8), 1, 5).release();
  }
}

// A process of a session of its own, whose parent is gone: what survives a kill of the process group.
SHARDLAB_BODY(leaves_a_daemon) {
  const std::string file = ctx.Param<std::string>("pid_file");
  if (ctx.rank() == 0) {
    if (fork() == 0) {
      setsid();
      if (fork() == 0) {
        signal(SIGTERM, SIG_IGN);
        std::ofstream(file) << getpid() << std::endl;
        SleepForever();
      }
      _exit(0);
    }
    wait(nullptr);
    while (std::ifstream(file).peek() == EOF) SleepMs(1);
  }
  ctx.comm().Barrier();
}

SHARDLAB_BODY(too_much_output) { ctx.Output("large", at::zeros({1 << 20}, at::kDouble)); }

SHARDLAB_BODY(prints) {
  std::cout << "hello from rank " << ctx.rank() << std::endl;
  std::fprintf(stderr, "and again");
}

SHARDLAB_BODY(prints_without_end) {
  for (;;) std::cout << "still here, and here, and here, and here\n";
}

SHARDLAB_BODY(closes_everything) {
  for (int fd = 0; fd < 1024; ++fd) close(fd);
  ctx.Output("value", at::ones({3}, at::kDouble));
}

// Writes over the shared memory in which it hands back its outputs.
SHARDLAB_BODY(garbage_output) {
  ctx.Output("value", at::ones({3}, at::kDouble));
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("shardlab-output") == std::string::npos) continue;
    const auto begin = std::stoull(line, nullptr, 16);
    const size_t offset = ctx.params().value("offset", size_t{0});
    std::memset(reinterpret_cast<char*>(begin) + offset, 0x5a, ctx.params().value("bytes", size_t{64}));
  }
}

SHARDLAB_BODY(uncaught_in_thread) {
  std::thread([] { throw std::runtime_error("nobody catches this"); }).join();
}

SHARDLAB_BODY(wants_parameter) { ctx.Param<int>("missing"); }

SHARDLAB_BODY(wants_input) { ctx.Input("missing"); }

SHARDLAB_BODY(kills_the_host) {
  kill(getppid(), SIGKILL);
  SleepForever();
}

SHARDLAB_BODY(threads) { ctx.Number("threads", at::get_num_threads()); }

// Announces bytes that are no announcement, down every pipe that it can write to.
SHARDLAB_BODY(garbage_announcement) {
  for (int fd = 3; fd < 64; ++fd) {
    if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_WRONLY) continue;
    const char nonsense[64] = "\x01this is not an announcement";
    [[maybe_unused]] const ssize_t n = write(fd, nonsense, sizeof nonsense);
  }
  SleepForever();
}

SHARDLAB_BODY(divides_by_zero) {
  volatile int parts = 0;
  if (ctx.rank() == 1) ctx.Number("length", ChunkLength(8, parts));
  ctx.comm().Barrier();
}

// As LibTorch's oneDNN does on some machines: the signal comes while its code runs.
SHARDLAB_BODY(libtorch_divides_by_zero) {
  const at::Tensor x = at::ones({1 << 20}), sums = at::empty_like(x);
  std::thread([rank = pthread_self()] {
    SleepMs(100);
    pthread_kill(rank, SIGFPE);
  }).detach();
  for (;;) at::cumsum_out(const_cast<at::Tensor&>(sums), x, 0);
}

SHARDLAB_BODY(recursion_without_end) {
  volatile int depth = 0;
  ctx.Number("depth", Deeper(&depth));
}

// The others hear of it through their connections.
SHARDLAB_BODY(throws_in_a_function) {
  if (ctx.rank() == 2) FirstOf({1, 2, 3});
  const at::Tensor x = Zeros(4);
  ctx.comm().Recv(x, 2);
}

SHARDLAB_BODY(throws_on_with_other_words) {
  try {
    FirstOf({1, 2, 3});
  } catch (const std::exception& error) {
    throw std::runtime_error(std::string(error.what()) + " (with three chunks)");
  }
}

SHARDLAB_BODY(spins_in_a_function) {
  ctx.comm().Barrier();
  const bool never = false;
  SpinUntil(&never);
}

SHARDLAB_BODY(aborts_in_a_thread) {
  std::thread([] { std::abort(); }).join();
}

SHARDLAB_BODY(throws_where_nothing_may) { PromisesNotTo(); }

SHARDLAB_BODY(sends_to_itself) { ctx.comm().Send(Zeros(4), ctx.rank()); }

SHARDLAB_BODY(sends_a_transposed_tensor) {
  const at::Tensor x = at::zeros({2, 3}, at::kDouble);
  if (ctx.rank() == 0) ctx.comm().Send(x.t(), 1);
  if (ctx.rank() == 1) ctx.comm().Recv(at::zeros({3, 2}, at::kDouble), 0);
}

SHARDLAB_BODY(throws_work_away) {
  if (ctx.rank() == 0) ctx.comm().ISend(Zeros(4), 1, 3);
  if (ctx.rank() == 1) ctx.comm().Recv(Zeros(4), 0, 3);
}

SHARDLAB_BODY(changes_what_it_sends) {
  const at::Tensor x = Zeros(4);
  if (ctx.rank() == 0) {
    const auto work = ctx.comm().ISend(x, 1, 3);
    x.fill_(7);
    work->Wait();
  }
  if (ctx.rank() == 1) ctx.comm().Recv(x, 0, 3);
}

SHARDLAB_BODY(wants_a_huge_tensor) { ctx.Number("size", double(at::empty({int64_t{1} << 33}, at::kDouble).numel())); }

SHARDLAB_BODY(wants_much_memory) {
  std::vector<std::vector<char>> kept;
  for (int i = 0; i < 64; ++i) kept.emplace_back(size_t{1} << 30);
}

SHARDLAB_BODY(writes_a_large_file) {
  const int file = memfd_create("large", 0);
  const std::string block(1 << 20, 'x');
  for (int i = 0; i < 1024; ++i) {
    if (write(file, block.data(), block.size()) < 0) break;
  }
}

SHARDLAB_BODY(opens_files_without_end) {
  for (int i = 0; i < 100'000; ++i) {
    if (open("/dev/null", O_RDONLY) < 0) throw std::runtime_error(strerror(errno));
  }
}

SHARDLAB_BODY(burns_processor_time) {
  const rlimit soon{1, 2};  // instead of after the minutes that a real one gets
  setrlimit(RLIMIT_CPU, &soon);
  const bool never = false;
  SpinUntil(&never);
}

// A fork bomb that goes out by itself if nobody ends it.
SHARDLAB_BODY(forks_without_end) {
  for (int i = 0; i < 9; ++i) {
    const pid_t child = fork();
    if (child == 0 && i % 3 == 0) setsid();
  }
  for (int i = 0; i < 10; ++i) SleepMs(1000);
  _exit(0);
}

SHARDLAB_BODY(starts_threads_without_end) {
  for (int i = 0; i < 500; ++i) std::thread([] { SleepForever(); }).detach();
  SleepForever();
}
