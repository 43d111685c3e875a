#include "shardlab/launch/filter.hpp"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <initializer_list>
#include <memory>

#include <fmt/format.h>
#include <seccomp.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/launch/process.hpp"

namespace shardlab::launch {

namespace {

// What is not a call of this machine is left out. Newer programs call newer ones first and fall back: clone3, whose flags
// a filter cannot see, is not here on purpose.
// Nor are those that set a file's times: a device is the machine's, and who may write to it may touch it.
constexpr const char* kFiles[] = {
    "access",          "chdir",           "chmod",        "chown",    "close",    "close_range",
    "copy_file_range", "creat",           "dup",          "dup2",     "dup3",     "faccessat",
    "faccessat2",      "fallocate",       "fchdir",       "fchmod",   "fchmodat", "fchown",
    "fchownat",        "fdatasync",       "fstat",        "fstatfs",  "fsync",    "ftruncate",
    "getcwd",          "getdents",        "getdents64",   "lchown",   "link",     "linkat",
    "lseek",           "lstat",           "memfd_create", "mkdir",    "mkdirat",  "mknod",
    "mknodat",         "newfstatat",      "open",         "openat",   "openat2",  "pipe",
    "pipe2",           "pread64",         "preadv",       "pwrite64", "pwritev",  "read",
    "readlink",        "readlinkat",      "readv",        "rename",   "renameat", "renameat2",
    "rmdir",           "sendfile",        "stat",         "statfs",   "statx",    "symlink",
    "symlinkat",       "sync_file_range", "truncate",     "umask",    "unlink",   "unlinkat",
    "write",           "writev"};
constexpr const char* kMemory[] = {"brk",        "get_mempolicy", "madvise",       "mbind",        "membarrier",
                                   "mlock",      "mlock2",        "mlockall",      "mmap",         "mprotect",
                                   "mremap",     "msync",         "munlock",       "munlockall",   "munmap",
                                   "pkey_alloc", "pkey_free",     "pkey_mprotect", "set_mempolicy"};
constexpr const char* kProcesses[] = {"arch_prctl",
                                      "capget",
                                      "capset",
                                      "execve",
                                      "execveat",
                                      "exit",
                                      "exit_group",
                                      "fork",
                                      "futex",
                                      "futex_waitv",
                                      "get_robust_list",
                                      "getcpu",
                                      "getegid",
                                      "geteuid",
                                      "getgid",
                                      "getgroups",
                                      "getpgid",
                                      "getpgrp",
                                      "getpid",
                                      "getppid",
                                      "getpriority",
                                      "getrandom",
                                      "getresgid",
                                      "getresuid",
                                      "getrlimit",
                                      "getrusage",
                                      "getsid",
                                      "gettid",
                                      "getuid",
                                      "kill",
                                      "pause",
                                      "prctl",
                                      "prlimit64",
                                      "restart_syscall",
                                      "rseq",
                                      "rt_sigaction",
                                      "rt_sigpending",
                                      "rt_sigprocmask",
                                      "rt_sigqueueinfo",
                                      "rt_sigreturn",
                                      "rt_sigsuspend",
                                      "rt_sigtimedwait",
                                      "rt_tgsigqueueinfo",
                                      "sched_get_priority_max",
                                      "sched_get_priority_min",
                                      "sched_getaffinity",
                                      "sched_getattr",
                                      "sched_getparam",
                                      "sched_getscheduler",
                                      "sched_rr_get_interval",
                                      "sched_setaffinity",
                                      "sched_setattr",
                                      "sched_setparam",
                                      "sched_setscheduler",
                                      "sched_yield",
                                      "seccomp",
                                      "set_robust_list",
                                      "set_tid_address",
                                      "setgid",
                                      "setgroups",
                                      "setpgid",
                                      "setpriority",
                                      "setregid",
                                      "setresgid",
                                      "setresuid",
                                      "setreuid",
                                      "setrlimit",
                                      "setsid",
                                      "setuid",
                                      "sigaltstack",
                                      "signalfd",
                                      "signalfd4",
                                      "sysinfo",
                                      "tgkill",
                                      "tkill",
                                      "uname",
                                      "vfork",
                                      "wait4",
                                      "waitid",
                                      "waitpid"};
constexpr const char* kClocks[] = {
    "alarm",         "clock_getres",  "clock_gettime",  "clock_nanosleep", "getitimer",       "gettimeofday",
    "nanosleep",     "setitimer",     "time",           "timer_create",    "timer_delete",    "timer_getoverrun",
    "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime", "timerfd_settime", "times"};
constexpr const char* kWaitingAndSockets[] = {
    "accept",      "accept4",      "bind",       "connect", "epoll_create", "epoll_create1", "epoll_ctl",
    "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2",     "getpeername",   "getsockname",
    "getsockopt",  "listen",       "poll",       "ppoll",   "pselect6",     "recvfrom",      "recvmmsg",
    "recvmsg",     "select",       "sendmmsg",   "sendmsg", "sendto",       "setsockopt",    "shutdown"};

using Filter = std::unique_ptr<void, void (*)(void*)>;

void Check(int error) {
  if (error != 0) throw EnvironmentError(fmt::format("cannot make a filter of system calls: {}", strerror(-error)));
}

/// Allows a call where all of `conditions` hold.
void Allow(const Filter& filter, const char* name, std::initializer_list<scmp_arg_cmp> conditions = {}) {
  const int number = seccomp_syscall_resolve_name(name);
  if (number < 0) return;
  Check(seccomp_rule_add_array(filter.get(), SCMP_ACT_ALLOW, number, static_cast<unsigned>(conditions.size()),
                               conditions.begin()));
}

scmp_arg_cmp Is(unsigned argument, uint64_t value) { return {argument, SCMP_CMP_EQ, value, 0}; }
/// An `int` fills half of what a filter sees.
scmp_arg_cmp IsInt(unsigned argument, int value) {
  return {argument, SCMP_CMP_MASKED_EQ, 0xffffffffu, static_cast<uint32_t>(value)};
}

std::string Exported(const Filter& filter) {
  const Fd file(memfd_create("shardlab-filter", MFD_CLOEXEC));
  if (!file) throw EnvironmentError(fmt::format("cannot make a filter of system calls: {}", strerror(errno)));
  Check(seccomp_export_bpf(filter.get(), file.get()));
  const off_t size = lseek(file.get(), 0, SEEK_END);
  std::string program(static_cast<size_t>(size), '\0');
  if (pread(file.get(), program.data(), program.size(), 0) != size) {
    throw EnvironmentError("cannot read a filter of system calls back");
  }
  return program;
}

}  // namespace

std::string SystemCallFilter() {
  const Filter filter(seccomp_init(SCMP_ACT_ERRNO(ENOSYS)), seccomp_release);
  if (!filter) throw EnvironmentError("libseccomp cannot make a filter of system calls");
  for (const char* name : kFiles) Allow(filter, name);
  for (const char* name : kMemory) Allow(filter, name);
  for (const char* name : kProcesses) Allow(filter, name);
  for (const char* name : kClocks) Allow(filter, name);
  for (const char* name : kWaitingAndSockets) Allow(filter, name);
  // Threads and processes, no namespaces.
  constexpr uint64_t kNamespaces =
      CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
  Allow(filter, "clone", {{0, SCMP_CMP_MASKED_EQ, kNamespaces, 0}});
  // Not locks, leases and watches.
  for (const int command : {F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_SETPIPE_SZ, F_GETPIPE_SZ,
                            F_ADD_SEALS, F_GET_SEALS}) {
    Allow(filter, "fcntl", {IsInt(1, command)});
  }
  for (const int family : {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK}) Allow(filter, "socket", {IsInt(0, family)});
  Allow(filter, "socketpair", {IsInt(0, AF_UNIX)});
  // Not what writes into a terminal's input.
  for (const uint64_t request : std::initializer_list<uint64_t>{FIONREAD, FIONBIO, FIOCLEX, FIONCLEX, TCGETS,
                                                                0x802c542a /* TCGETS2 */, TIOCGWINSZ, TIOCGPGRP}) {
    Allow(filter, "ioctl", {IsInt(1, static_cast<int>(request))});
  }
  for (const int request : {0x8912, 0x8913, 0x8915, 0x8919, 0x891b, 0x8921, 0x8927, 0x8933, 0x8946}) {
    Allow(filter, "ioctl", {IsInt(1, request)});  // SIOCGIF...: what is known of an interface
  }
  Allow(filter, "personality", {Is(0, 0xffffffff)});  // which one it is
  return Exported(filter);
}

bool EnterFilter(const std::string& filter) {
  const sock_fprog program{static_cast<uint16_t>(filter.size() / sizeof(sock_filter)),
                           reinterpret_cast<sock_filter*>(const_cast<char*>(filter.data()))};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

}  // namespace shardlab::launch
