// A submission that tries everything but to do the exercise. What an attack got hold of it prints as "REACHED ...", for
// the test to find in the report.

#include "sum.hpp"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "shardlab/comm/announcer.hpp"
#include "shardlab/grade/wire.hpp"

namespace {

using nlohmann::json;
using shardlab::Communicator;

void Reached(const std::string& what) { std::cout << "REACHED " << what << std::endl; }

std::string Slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// All processes that can be seen, with the words of their command lines between blanks.
std::map<pid_t, std::string> Processes() {
  std::map<pid_t, std::string> processes;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0) continue;
    std::string words = Slurp(entry.path().string() + "/cmdline");
    std::replace(words.begin(), words.end(), '\0', ' ');
    processes[pid] = words;
  }
  return processes;
}

pid_t ParentOf(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string word; status >> word;) {
    pid_t parent = 0;
    if (word == "PPid:" && status >> parent) return parent;
  }
  return 0;
}

/// The host's parent, which adopts what a rank leaves behind, and the supervisor, which is the parent of that.
std::vector<pid_t> Supervisors() {
  std::vector<pid_t> supervisors;
  for (const pid_t pid : {ParentOf(getppid()), ParentOf(ParentOf(getppid()))}) {
    if (pid > 1) supervisors.push_back(pid);
  }
  return supervisors;
}

/// The processes that this one should leave alone: the referee, and who started the host.
std::vector<pid_t> Betters() {
  std::vector<pid_t> betters = Supervisors();
  for (const auto& [pid, words] : Processes()) {
    if (words.find("--supervisor-fd") != std::string::npos && words.find("referee") != std::string::npos) {
      betters.push_back(pid);
    }
  }
  return betters;
}

std::vector<int> OpenDescriptors() {
  std::vector<int> open;
  for (int fd = 3; fd < 1024; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) open.push_back(fd);
  }
  return open;
}

/// The first pipe that is only written here: of one that Gloo made to wake its own threads, both ends are here.
int AnnouncementPipe() {
  std::vector<std::pair<int, ino_t>> written;
  std::set<ino_t> read;
  for (const int fd : OpenDescriptors()) {
    struct stat about {};
    if (fstat(fd, &about) != 0 || !S_ISFIFO(about.st_mode)) continue;
    const bool writes = (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY;
    if (writes) written.emplace_back(fd, about.st_ino);
    if (!writes) read.insert(about.st_ino);
  }
  for (const auto& [fd, pipe] : written) {
    if (read.count(pipe) == 0) return fd;
  }
  return -1;
}

/// The host's own socket, taken out of the host.
int TheHostsSocket() {
  const auto host = static_cast<int>(syscall(SYS_pidfd_open, getppid(), 0));
  return host < 0 ? -1 : static_cast<int>(syscall(SYS_pidfd_getfd, host, 3, 0));
}

using Attack = void (*)(Communicator&, const json&);

void PrintScores(Communicator&, const json&) {
  std::cout << "[       OK ] integrity.attacks.prints_scores/ranks=2 (1 ms)\n[  PASSED  ] 1 test.\n"
            << R"({"type": "result", "result": {"status": 0, "message": ""}})"
            << "\nTotal  5 of 5" << std::endl;
}

void WriteToEveryDescriptor(Communicator&, const json&) {
  const std::string garbage(4096, '\xff');
  for (const int fd : OpenDescriptors()) {
    fcntl(fd, F_SETFL, O_NONBLOCK);
    [[maybe_unused]] ssize_t n = write(fd, garbage.data(), garbage.size());
    n = send(fd, garbage.data(), garbage.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  }
}

void ForgeTheHostsWord(Communicator& comm, const json&) {
  const int socket = TheHostsSocket();
  if (socket < 0) return;
  for (int rank = 0; rank < comm.size(); ++rank) {
    shardlab::grade::SendPacket(socket, {{"type", "exit"}, {"rank", rank}, {"status", 0}});
  }
  shardlab::grade::SendPacket(socket, {{"type", "result"}, {"result", {{"status", 0}, {"message", ""}}}});
  shardlab::grade::SendPacket(socket, {{"type", "done"}});
}

void ClaimToHaveReturned(Communicator&, const json&) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("shardlab-output") == std::string::npos) continue;
    auto* header = reinterpret_cast<shardlab::grade::OutputHeader*>(std::stoull(line, nullptr, 16));
    header->state = static_cast<uint32_t>(shardlab::grade::RankStage::kReturned);
    _exit(0);
  }
}

void Signal(int signal) {
  for (const pid_t pid : Betters()) {
    if (kill(pid, signal) == 0) Reached("process " + std::to_string(pid) + " with signal " + std::to_string(signal));
  }
}

void KillTheSupervisor(Communicator&, const json&) {
  for (const pid_t supervisor : Supervisors()) {
    if (kill(supervisor, SIGKILL) == 0) Reached("the supervisor");
  }
}

void KillTheReferee(Communicator&, const json&) { Signal(SIGKILL); }

void StopEverybody(Communicator&, const json&) {
  Signal(SIGSTOP);
  kill(getppid(), SIGSTOP);
  raise(SIGSTOP);
}

/// A grandchild of another session that goes on as long as it can, and shows that by a file that grows.
void Detach() {
  if (fork() != 0) return;
  setsid();
  if (fork() != 0) _exit(0);
  for (int signal = 1; signal < 32; ++signal) ::signal(signal, SIG_IGN);
  prctl(PR_SET_PDEATHSIG, 0);
  for (;;) usleep(10000);
}

void ForkWithoutEnd(Communicator&, const json&) {
  // Not quite without end: a machine that holds nothing back is to survive this test.
  auto* started = static_cast<int*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  while (__atomic_fetch_add(started, 1, __ATOMIC_RELAXED) < 3000) {
    const pid_t child = fork();
    if (child == 0) ::signal(SIGTERM, SIG_IGN);
    if (child < 0 && __atomic_exchange_n(started + 1, 1, __ATOMIC_RELAXED) == 0) {
      std::cout << "fork was refused after " << *started << std::endl;
    }
    if (child < 0) break;
  }
  if (*started >= 3000 && __atomic_exchange_n(started + 2, 1, __ATOMIC_RELAXED) == 0) Reached("3000 processes");
  for (;;) pause();
}

void EditFiles(Communicator& comm, const json& targets) {
  if (comm.rank() != 0) return;
  for (const std::string& path : targets.value("files", std::vector<std::string>())) {
    std::ofstream file(path, std::ios::app);
    if (file << "passed" << std::flush) Reached(path);
  }
}

void EditTheEnvironment(Communicator& comm, const json&) {
  setenv("LD_PRELOAD", "/nonexistent/preloaded.so", 1);
  setenv("PATH", "/nonexistent", 1);
  if (comm.rank() == 0) kill(getppid(), SIGKILL);  // so that a host is started again
}

/// Every way into another process that Linux has.
void ReadMemory(Communicator& comm, const json&) {
  if (comm.rank() != 0) return;
  for (const pid_t pid : Betters()) {
    const std::string folder = "/proc/" + std::to_string(pid);
    char bytes[64];
    iovec mine{bytes, sizeof bytes}, theirs{reinterpret_cast<void*>(&ReadMemory), sizeof bytes};
    if (open((folder + "/mem").c_str(), O_RDWR) >= 0) Reached(folder + "/mem");
    if (!Slurp(folder + "/maps").empty()) Reached(folder + "/maps");
    if (!Slurp(folder + "/environ").empty()) Reached(folder + "/environ");
    if (open((folder + "/fd/1").c_str(), O_RDONLY) >= 0) Reached(folder + "/fd/1");
    if (process_vm_readv(pid, &mine, 1, &theirs, 1, 0) >= 0 || errno == EFAULT) Reached("process_vm_readv");
    const auto handle = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    if (handle >= 0 && syscall(SYS_pidfd_getfd, handle, 3, 0) >= 0) Reached("pidfd_getfd");
    if (ptrace(PTRACE_ATTACH, pid, 0, 0) == 0) {
      Reached("ptrace");
      ptrace(PTRACE_DETACH, pid, 0, 0);
    }
  }
}

void ReadTheSeed(Communicator& comm, const json& targets) {
  if (comm.rank() != 0) return;
  const std::string seed = targets.value("seed", "");
  for (const auto& [pid, words] : Processes()) {
    if (!seed.empty() && words.find(seed) != std::string::npos) Reached("the seed in the command line " + words);
  }
}

void ReadTheSolution(Communicator& comm, const json& targets) {
  if (comm.rank() != 0) return;
  for (const std::string& path : targets.value("secrets", std::vector<std::string>())) {
    if (!Slurp(path).empty()) Reached(path);
  }
}

void SeeProcesses(Communicator& comm, const json&) {
  if (comm.rank() != 0) return;
  for (const auto& [pid, words] : Processes()) {
    if (words.find("referee") != std::string::npos) Reached("the sight of " + words);
  }
}

void OpenTheNetwork(Communicator& comm, const json& targets) {
  if (comm.rank() != 0) return;
  const int inside = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(targets.value("port", 0)));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(inside, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) Reached("a server of this machine");
  // 192.0.2.1 exists nowhere: what is asked is whether there is a way out at all. Nothing is sent.
  const int outside = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  address.sin_addr.s_addr = inet_addr("192.0.2.1");
  if (connect(outside, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) Reached("a way out");
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/net", error)) {
    if (entry.path().filename() != "lo") Reached("the interface " + entry.path().filename().string());
  }
}

void FillTheDisk(Communicator& comm, const json& targets) {
  const auto limit = targets.value("fill_bytes", int64_t{0});  // none where nothing is held back
  if (comm.rank() != 0 || limit == 0) return;
  ::signal(SIGXFSZ, SIG_IGN);
  const char* folder = std::getenv("TMPDIR");
  for (const std::string place : {folder == nullptr ? "/tmp" : folder, "/dev/shm", ".", "/var/tmp", "/dev"}) {
    const std::string megabyte(1 << 20, 'x');
    int64_t written = 0;
    for (int file = 0; written < limit; ++file) {
      const std::string name = place + "/shardlab-fill-" + std::to_string(file);
      const int fd = open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
      if (fd < 0) break;
      const int64_t before = written;
      for (ssize_t n = 1; n > 0 && written < limit; written += std::max<ssize_t>(n, 0)) {
        n = write(fd, megabyte.data(), megabyte.size());
      }
      close(fd);
      if (written == before) break;
    }
    if (written >= limit) Reached(std::to_string(written) + " bytes in " + place);
  }
}

void HogMemory(Communicator& comm, const json& targets) {
  const auto limit = targets.value("hog_bytes", int64_t{0});
  if (comm.rank() != 0 || limit == 0) return;
  for (int64_t taken = 0; taken < limit; taken += 64 << 20) {
    void* block = mmap(nullptr, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) return;
    std::memset(block, 1, 64 << 20);
  }
  Reached(std::to_string(limit) + " bytes of memory");
}

/// Announces more threads than a process can have, each of which waits for the next, and goes on announcing.
void AnnounceThreads(Communicator&, const json&) {
  shardlab::Announcer announcer(AnnouncementPipe());
  constexpr uint16_t kThreads = 65534;
  for (uint16_t thread = 1; thread <= kThreads; ++thread) {
    announcer.ThreadStarts(thread);
    shardlab::Announcer::SetThread(thread);
    announcer.Join(thread < kThreads ? static_cast<uint16_t>(thread + 1) : 0);
    shardlab::Announcer::SetThread(0);
  }
  for (;;) announcer.Mark("on and on");
}

/// What a terminal would obey: a title, an empty screen, a colour, letters from right to left, and bytes that are no
/// letters.
void PrintEscapes(Communicator&, const json&) {
  const std::string escapes =
      "\x1b]0;owned\x07\x1b[2J\x1b[32mpassed\r\xc2\x9b"
      "32m \xe2\x80\xae \xff\b";
  std::cout << escapes << std::endl;
  throw std::runtime_error(escapes);
}

/// System calls that no exercise needs, and that lead to others, to other machines or deep into the kernel.
void CallTheKernel(Communicator& comm, const json&) {
  if (comm.rank() != 0) return;
  const auto tried = [](const char* what, long result) {
    const bool refused = result < 0 && (errno == EPERM || errno == ENOSYS || errno == EAFNOSUPPORT);
    if (!refused) Reached(what);
  };
  const int file = open("/usr/bin/env", O_RDONLY | O_CLOEXEC);
  struct flock lock {};
  lock.l_type = F_RDLCK;
  lock.l_len = 1;
  tried("the keys of its user", syscall(SYS_add_key, "user", "shardlab-key", "x", 1, KEY_SPEC_USER_KEYRING));
  tried("keyctl", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1));
  tried("a lock", flock(file, LOCK_SH | LOCK_NB));
  tried("a lock on bytes", fcntl(file, F_SETLK, &lock));
  tried("a question about locks", fcntl(file, F_GETLK, &lock));
  tried("the time of a device", utimensat(AT_FDCWD, "/dev/null", nullptr, 0));
  tried("a watch", inotify_init1(IN_CLOEXEC));
  tried("a user namespace", unshare(CLONE_NEWUSER));
  tried("a mount", mount("none", "/tmp", "tmpfs", 0, nullptr));
  tried("perf", syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0));
  tried("bpf", syscall(SYS_bpf, 0, nullptr, 0));
  tried("io_uring", syscall(SYS_io_uring_setup, 1, nullptr));
  tried("userfaultfd", syscall(SYS_userfaultfd, 1));
  for (const int family : {AF_VSOCK, AF_ALG, AF_PACKET}) {
    tried("another family of sockets", socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  }
  close(file);
}

/// The sum, by the honest algorithm.
at::Tensor Ring(Communicator& comm, const at::Tensor& mine) {
  const int ranks = comm.size();
  at::Tensor sum = mine.clone(), passing = mine.clone();
  for (int round = 1; round < ranks; ++round) {
    const at::Tensor next = at::empty_like(passing);
    auto receive = comm.IRecv(next, (comm.rank() + ranks - 1) % ranks);
    comm.Send(passing, (comm.rank() + 1) % ranks);
    receive->Wait();
    passing = next;
    sum += passing;
  }
  return sum;
}

/// Goes round the ring once as it should, and four times more with the announcements going nowhere.
at::Tensor HideMessages(Communicator& comm, const at::Tensor& mine) {
  at::Tensor sum = Ring(comm, at::zeros_like(mine));
  const int pipe = AnnouncementPipe();
  const int kept = dup(pipe);
  const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  dup2(nowhere, pipe);
  for (int again = 0; again < 4; ++again) sum = Ring(comm, mine);
  dup2(kept, pipe);
  return sum;
}

/// Meets the others behind the communicator's back, and sends zeros through it.
at::Tensor TalkThroughAFile(Communicator& comm, const at::Tensor& mine);

/// The same among the keys that the kernel keeps for a user.
at::Tensor MeetInTheKeyring(Communicator& comm, const at::Tensor& mine) {
  const auto name = [](int rank) { return "shardlab-forgery-" + std::to_string(rank); };
  const auto bytes = static_cast<size_t>(mine.numel()) * 8;
  // A key can be read by whoever can reach it from a keyring of its own.
  syscall(SYS_keyctl, KEYCTL_LINK, KEY_SPEC_USER_KEYRING, KEY_SPEC_PROCESS_KEYRING);
  const auto key =
      syscall(SYS_add_key, "user", name(comm.rank()).c_str(), mine.data_ptr(), bytes, KEY_SPEC_USER_KEYRING);
  if (key < 0) return TalkThroughAFile(comm, mine);  // a container, often
  at::Tensor sum = at::zeros_like(mine);
  for (int rank = 0; rank < comm.size(); ++rank) {
    at::Tensor theirs = at::zeros_like(mine);
    long found = -1;
    for (int tries = 0; tries < 300 && found < 0; ++tries) {
      found = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, "user", name(rank).c_str(), 0);
      if (found < 0) usleep(10000);
    }
    syscall(SYS_keyctl, KEYCTL_READ, found, theirs.data_ptr(), bytes);
    sum += theirs;
  }
  Ring(comm, at::zeros_like(mine));
  syscall(SYS_keyctl, KEYCTL_UNLINK, key, KEY_SPEC_USER_KEYRING);
  return sum;
}

/// The same with a bit for each byte of a file that all can read: it is set when a lock is on the byte.
at::Tensor MeetAtALock(Communicator& comm, const at::Tensor& mine) {
  const int file = open("/usr/bin/env", O_RDONLY | O_CLOEXEC);
  const int64_t bits = mine.numel() * 64;
  const auto lock_on = [&](int rank, int64_t bit, short type) {
    struct flock lock {};
    lock.l_type = type;
    lock.l_start = rank * (bits + 1) + bit;
    lock.l_len = 1;
    return lock;
  };
  const auto is_set = [&](int rank, int64_t bit) {
    struct flock lock = lock_on(rank, bit, F_WRLCK);
    return fcntl(file, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  };
  const auto* words = static_cast<const uint64_t*>(mine.data_ptr());
  for (int64_t bit = 0; bit <= bits; ++bit) {  // the last says that all others are there
    struct flock lock = lock_on(comm.rank(), bit, F_RDLCK);
    if (bit == bits || ((words[bit / 64] >> (bit % 64)) & 1) != 0) fcntl(file, F_SETLK, &lock);
  }
  at::Tensor sum = mine.clone();
  for (int rank = 0; rank < comm.size(); ++rank) {
    if (rank == comm.rank()) continue;
    at::Tensor theirs = at::zeros_like(mine);
    auto* read = static_cast<uint64_t*>(theirs.data_ptr());
    for (int tries = 0; tries < 300 && !is_set(rank, bits); ++tries) usleep(10000);
    for (int64_t bit = 0; bit < bits; ++bit) read[bit / 64] |= uint64_t{is_set(rank, bit)} << (bit % 64);
    sum += theirs;
  }
  Ring(comm, at::zeros_like(mine));
  close(file);
  return sum;
}

at::Tensor TalkThroughAFile(Communicator& comm, const at::Tensor& mine) {
  const char* folder = std::getenv("TMPDIR");
  const std::string place = std::string(folder == nullptr ? "/tmp" : folder) + "/shardlab-forgery-";
  const auto name = [&](int rank) { return place + std::to_string(rank); };
  const auto bytes = static_cast<std::streamsize>(mine.numel()) * 8;
  std::ofstream(name(comm.rank()) + ".new", std::ios::binary).write(static_cast<char*>(mine.data_ptr()), bytes);
  std::filesystem::rename(name(comm.rank()) + ".new", name(comm.rank()));
  at::Tensor sum = at::zeros_like(mine);
  for (int rank = 0; rank < comm.size(); ++rank) {
    at::Tensor theirs = at::zeros_like(mine);
    for (int tries = 0; tries < 300 && !std::filesystem::exists(name(rank)); ++tries) usleep(10000);
    std::ifstream(name(rank), std::ios::binary).read(static_cast<char*>(theirs.data_ptr()), bytes);
    sum += theirs;
  }
  Ring(comm, at::zeros_like(mine));
  std::error_code error;
  std::filesystem::remove(name(comm.rank()), error);
  return sum;
}

/// What a wrapper keeps behind what every communicator has: the one that it wraps.
Communicator& Behind(Communicator& comm) {
  return **reinterpret_cast<Communicator**>(reinterpret_cast<char*>(&comm) + sizeof(Communicator));
}

/// Finds Gloo's own object among the members of the communicator that uses it.
c10d::ProcessGroupGloo* GlooOf(Communicator& comm) {
  auto** const words = reinterpret_cast<void**>(reinterpret_cast<char*>(&comm) + sizeof(Communicator));
  for (int i = 0; i < 16; ++i) {
    Dl_info about{};
    // An object begins with a pointer to its type's table.
    void* table = nullptr;
    iovec mine{&table, sizeof table}, theirs{words[i], sizeof table};
    if (process_vm_readv(getpid(), &mine, 1, &theirs, 1, 0) != sizeof table) continue;
    if (dladdr(table, &about) == 0 || about.dli_sname == nullptr) continue;
    if (std::string(about.dli_sname) == "_ZTVN4c10d16ProcessGroupGlooE") {
      return static_cast<c10d::ProcessGroupGloo*>(words[i]);
    }
  }
  return nullptr;
}

at::Tensor AskGloo(Communicator& comm, const at::Tensor& mine) {
  std::vector<at::Tensor> sum{mine.clone()};
  Communicator& last = Behind(Behind(comm));
  if (auto* gloo = GlooOf(last)) {
    gloo->allreduce(sum)->wait();
  } else {
    last.AllReduce(sum[0]);
  }
  return sum[0];
}

at::Tensor AllReduced(Communicator& comm, const at::Tensor& mine) {
  const at::Tensor sum = mine.clone();
  comm.AllReduce(sum);
  return sum;
}

/// Tries for a collective, is refused, and does its work.
at::Tensor TryAndDoIt(Communicator& comm, const at::Tensor& mine) {
  try {
    return AllReduced(Behind(comm), mine);
  } catch (const std::exception&) {
    return Ring(comm, mine);
  }
}

int64_t clock_turned_s = 0;

const std::map<std::string, Attack> kAttacks = {
    {"prints_scores", PrintScores},
    {"exits", [](Communicator&, const json&) { std::exit(0); }},
    {"exits_at_once", [](Communicator&, const json&) { _exit(0); }},
    {"becomes_true", [](Communicator&, const json&) { execl("/bin/true", "true", nullptr); }},
    {"writes_to_every_descriptor", WriteToEveryDescriptor},
    {"forges_the_hosts_word", ForgeTheHostsWord},
    {"claims_to_have_returned", ClaimToHaveReturned},
    {"kills_the_host", [](Communicator&, const json&) { kill(getppid(), SIGKILL); }},
    {"kills_the_supervisor", KillTheSupervisor},
    {"kills_the_referee", KillTheReferee},
    {"stops_everybody", StopEverybody},
    {"detaches", [](Communicator&, const json&) { Detach(); }},
    {"forks_without_end", ForkWithoutEnd},
    {"leaves_threads",
     [](Communicator&, const json&) {
       for (int i = 0; i < 20; ++i) {
         std::thread([] {
           for (;;) pause();
         }).detach();
       }
     }},
    {"edits_files", EditFiles},
    {"edits_the_environment", EditTheEnvironment},
    {"reads_memory", ReadMemory},
    {"reads_the_seed", ReadTheSeed},
    {"reads_the_solution", ReadTheSolution},
    {"sees_processes", SeeProcesses},
    {"opens_the_network", OpenTheNetwork},
    {"fills_the_disk", FillTheDisk},
    {"hogs_memory", HogMemory},
    {"announces_threads", AnnounceThreads},
    {"prints_escapes", PrintEscapes},
    {"calls_the_kernel", CallTheKernel},
};

}  // namespace

at::Tensor SumOverRanks(Communicator& comm, const at::Tensor& mine, const std::string& attack, const json& targets) {
  if (attack.empty()) return Ring(comm, mine);
  if (attack == "hides_messages") return HideMessages(comm, mine);
  if (attack == "talks_through_a_file") return TalkThroughAFile(comm, mine);
  if (attack == "meets_in_the_keyring") return MeetInTheKeyring(comm, mine);
  if (attack == "meets_at_a_lock") return MeetAtALock(comm, mine);
  if (attack == "asks_behind_the_wrapper") return AllReduced(Behind(comm), mine);
  if (attack == "asks_behind_the_announcements") return AllReduced(Behind(Behind(comm)), mine);
  if (attack == "asks_gloo") return AskGloo(comm, mine);
  if (attack == "counts_as_a_collective") return TryAndDoIt(comm, mine);
  kAttacks.at(attack)(comm, targets);
  return mine;
}

/// The linker takes this one for everybody's, the C++ library's and LibTorch's too.
extern "C" __attribute__((visibility("default"))) int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const auto result = static_cast<int>(syscall(SYS_clock_gettime, clock, time));
  time->tv_sec += clock_turned_s;
  return result;
}

double TurnTheClock() {
  const auto before = std::chrono::steady_clock::now();
  clock_turned_s += 3600;
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count();
}
