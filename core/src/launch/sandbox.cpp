#include "shardlab/launch/sandbox.hpp"

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/launch/filter.hpp"

namespace shardlab::launch {

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

void Append(Words& words, const Words& more) { words.insert(words.end(), more.begin(), more.end()); }

struct Ran {
  bool well = false;
  std::string printed;
};

/// Runs a program that ends soon.
Ran Run(ProgramSpec spec, double limit_s) {
  const Fd printed = MakeSharedMemory("shardlab-sandbox-printed", 1 << 20);
  spec.output = printed.get();
  const pid_t pid = StartProgram(spec);
  int status = 0;
  if (!Reap(pid, limit_s, &status)) {
    KillTree(pid);
    return {false, fmt::format("{} did not end within {:g} s", spec.program, limit_s)};
  }
  return {WIFEXITED(status) && WEXITSTATUS(status) == 0, PrintedTo(printed, (1 << 20) - 4096)};
}

std::string FirstLineOf(const std::string& text) { return text.substr(0, text.find('\n')); }

bool IsSystems(const std::string& path) {
  for (const char* folder : {"/usr/", "/lib", "/bin/", "/sbin/"}) {
    if (path.rfind(folder, 0) == 0) return true;
  }
  return false;
}

/// The program and the libraries that it needs, as far as they are not the system's: what a sandbox has to show of the
/// build folder. No more than that: beside them lie the solutions.
Words FilesOf(const std::string& program) {
  Words files;
  if (!IsSystems(program)) files.push_back(program);
  ProgramSpec ldd;
  ldd.program = FindProgram("ldd");
  if (ldd.program.empty()) throw EnvironmentError("the program ldd was not found, which the sandbox needs (libc-bin)");
  ldd.arguments = {program};
  const Ran ran = Run(ldd, 20);
  if (!ran.well) throw EnvironmentError(fmt::format("cannot find the libraries of {}: {}", program, ran.printed));
  std::istringstream lines(ran.printed);
  for (std::string line; std::getline(lines, line);) {
    const size_t arrow = line.find("=> /");
    if (arrow == std::string::npos) continue;
    const std::string path = line.substr(arrow + 3, line.rfind(" (") - arrow - 3);
    if (!IsSystems(path)) files.push_back(fs::path(path).lexically_normal());
  }
  return files;
}

/// A user who owns nothing and whom nobody else is: of the range that systemd gives to services for as long as they
/// run. A name that only one socket of the machine can have keeps others of this program from being the same one.
class SpareUser {
 public:
  SpareUser() {
    static std::atomic<unsigned> taken{0};
    const unsigned first = static_cast<unsigned>(getpid()) * 37 + taken++;
    for (unsigned tries = 0; tries < kUsers; ++tries) {
      id_ = kFirst + (first + tries) % kUsers;
      name_.Reset(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      const std::string name = fmt::format("shardlab-user-{}", id_);
      name.copy(address.sun_path + 1, sizeof address.sun_path - 1);  // in no folder
      const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
      if (!name_ || bind(name_.get(), reinterpret_cast<sockaddr*>(&address), length) == 0) return;
    }
    throw EnvironmentError(fmt::format("all of {} users for sandboxes are in use", unsigned{kUsers}));
  }

  uid_t id() const { return id_; }

 private:
  static constexpr unsigned kFirst = 61184, kUsers = 4000;
  uid_t id_ = 0;
  Fd name_;
};

/// A spare user with a folder.
class UserWithFolder {
 public:
  UserWithFolder() {
    std::string pattern = (fs::temp_directory_path() / "shardlab-sandbox-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr || chown(pattern.c_str(), id(), id()) != 0) {
      throw EnvironmentError(
          fmt::format("cannot make a folder for the sandbox in {}", fs::temp_directory_path().string()));
    }
    folder_ = pattern;
  }
  ~UserWithFolder() {
    std::error_code error;
    fs::remove_all(folder_, error);
    // Where everybody may write, nothing stays either.
    for (const char* open : {"/tmp", "/var/tmp", "/dev/shm"}) {
      for (const auto& entry : fs::directory_iterator(open, error)) {
        struct stat about {};
        if (lstat(entry.path().c_str(), &about) == 0 && about.st_uid == id()) fs::remove_all(entry.path(), error);
      }
    }
  }
  UserWithFolder(const UserWithFolder&) = delete;
  UserWithFolder& operator=(const UserWithFolder&) = delete;

  uid_t id() const { return user_.id(); }
  const std::string& folder() const { return folder_; }

 private:
  SpareUser user_;
  std::string folder_;
};

/// \throws EnvironmentError when an ordinary user can not read `path`. `folders`: nor get there.
void RequireReadable(const std::string& path, bool folders) {
  const auto refuse = [&](const std::string& what) {
    throw EnvironmentError(
        fmt::format("the sandbox runs as an ordinary user, who cannot read {}: chmod o+rX {}", what, what));
  };
  struct stat about {};
  if (stat(path.c_str(), &about) != 0 || (about.st_mode & S_IROTH) == 0) refuse(path);
  for (fs::path folder = fs::path(path).parent_path(); folders && folder.has_relative_path();
       folder = folder.parent_path()) {
    if (stat(folder.c_str(), &about) != 0 || (about.st_mode & S_IXOTH) == 0) refuse(folder);
  }
}

/// As root: becomes that user, for good. The end of the parent is asked for again: a change of user forgets it.
Words BecomeUser(uid_t id) {
  const std::string user = std::to_string(id);
  return {"/usr/bin/setpriv", "--reuid=" + user,     "--regid=" + user,     "--clear-groups",
          "--inh-caps=-all",  "--bounding-set=-all", "--pdeathsig=SIGKILL", "--no-new-privs"};
}

Words WithLimits(const SandboxLimits& limits) {
  return {"/usr/bin/prlimit",
          fmt::format("--nproc={}", limits.processes),
          fmt::format("--fsize={}", limits.file_bytes),
          fmt::format("--data={}", limits.memory_bytes),
          fmt::format("--nofile={}", limits.open_files),
          "--core=0"};
}

ProgramSpec Becoming(const ProgramSpec& program, const Words& command) {
  ProgramSpec spec = program;
  spec.program = command[0];
  spec.arguments.assign(command.begin() + 1, command.end());
  spec.arguments.push_back(program.program);
  Append(spec.arguments, program.arguments);
  spec.scoped = false;  // the sandbox is more than that
  spec.inherit_environment = false;
  for (const auto& [name, value] : std::map<std::string, std::string>{{"PATH", "/usr/bin:/bin"}, {"LANG", "C.UTF-8"}}) {
    spec.environment.emplace(name, value);
  }
  for (const char* name : {"LD_LIBRARY_PATH", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "SHARDLAB_NO_ONEDNN"}) {
    if (const char* value = std::getenv(name)) spec.environment.emplace(name, value);
  }
  return spec;
}

class Namespaces final : public Sandbox {
 public:
  Namespaces(std::string bwrap, const SandboxLimits& limits) : bwrap_(std::move(bwrap)), limits_(limits) {}

  ProgramSpec Inside(const ProgramSpec& program) const override {
    const Words files = FilesOf(program.program);
    if (IsRoot()) {
      for (const std::string& file : files) RequireReadable(file, /*folders=*/false);
    }
    const std::string temporary = std::to_string(limits_.temporary_bytes);
    Words command = {bwrap_,
                     "--die-with-parent",
                     "--new-session",
                     "--unshare-ipc",
                     "--unshare-pid",
                     "--unshare-net",
                     "--unshare-uts",
                     "--hostname",
                     "sandbox",
                     "--cap-drop",
                     "ALL",
                     "--ro-bind",
                     "/usr",
                     "/usr",
                     "--proc",
                     "/proc",
                     "--dev",
                     "/dev",
                     "--unshare-cgroup-try"};
    if (IsRoot()) {
      for (const char* right : {"CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"}) Append(command, {"--cap-add", right});
    } else {
      Append(command, {"--unshare-user", "--uid", "65534", "--gid", "65534"});
    }
    for (const char* folder : {"/bin", "/sbin", "/lib", "/lib32", "/lib64"}) {
      std::error_code error;
      const fs::path link = fs::read_symlink(folder, error);
      if (!error) Append(command, {"--symlink", link, folder});
      if (error && fs::is_directory(folder, error)) Append(command, {"--ro-bind", folder, folder});
    }
    for (const char* folder : {"/tmp", "/dev/shm"}) {
      Append(command, {"--perms", "1777", "--size", temporary, "--tmpfs", folder});
    }
    // The folders on the way to the files are bwrap's own and empty; left to itself it would make them for root alone.
    std::set<std::string> folders = {"/etc"};
    for (const std::string& file : files) {
      for (fs::path folder = fs::path(file).parent_path(); folder.has_relative_path(); folder = folder.parent_path()) {
        folders.insert(folder);
      }
    }
    for (const std::string& folder : folders) Append(command, {"--perms", "0755", "--dir", folder});
    for (const char* file : {"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives"}) {
      Append(command, {"--ro-bind-try", file, file});
    }
    for (const std::string& file : files) Append(command, {"--ro-bind", file, file});
    Append(command, {"--remount-ro", "/dev", "--remount-ro", "/", "--seccomp", "4", "--chdir", "/tmp", "--"});
    auto held = std::make_shared<std::pair<std::optional<SpareUser>, Fd>>();
    if (IsRoot()) Append(command, BecomeUser(held->first.emplace().id()));
    Append(command, WithLimits(limits_));
    ProgramSpec spec = Becoming(program, command);
    spec.environment["TMPDIR"] = spec.environment["HOME"] = "/tmp";
    // A file of its own: whoever reads it moves on in it.
    held->second = MakeSealedMemory("shardlab-filter", filter_);
    lseek(held->second.get(), 0, SEEK_SET);
    spec.filter_channel = held->second.get();
    spec.held = held;
    return spec;
  }

  std::string shortcomings() const override { return ""; }

  // bwrap's second process, which is the first inside, and the program.
  bool HasStrays(pid_t pid) const override { return DescendantsOf(pid).size() > 2; }

  // bwrap passes a signal on as a shell does.
  int ProgramsWaitStatus(int wait_status) const override {
    const bool signalled = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) > 128;
    return signalled ? WEXITSTATUS(wait_status) - 128 : wait_status;
  }

 private:
  static bool IsRoot() { return getuid() == 0; }

  std::string bwrap_;
  SandboxLimits limits_;
  std::string filter_ = SystemCallFilter();
};

class SpareUserOnly final : public Sandbox {
 public:
  SpareUserOnly(const SandboxLimits& limits, std::string why) : limits_(limits), why_(std::move(why)) {}

  ProgramSpec Inside(const ProgramSpec& program) const override {
    for (const std::string& file : FilesOf(program.program)) RequireReadable(file, /*folders=*/true);
    const auto user = std::make_shared<UserWithFolder>();
    Words command = BecomeUser(user->id());
    Append(command, WithLimits(limits_));
    ProgramSpec spec = Becoming(program, command);
    spec.folder = user->folder();
    spec.environment["TMPDIR"] = spec.environment["HOME"] = user->folder();
    spec.filter = filter_;
    spec.held = user;
    return spec;
  }

  std::string shortcomings() const override {
    return fmt::format(
        "this machine allows no namespaces ({}): the exercises run as a user of their own with limits, but the "
        "network, "
        "the disk as a whole, and what every user may read are open to them",
        why_);
  }

  // They become the supervisor's children, as without a sandbox.
  bool HasStrays(pid_t) const override { return false; }
  int ProgramsWaitStatus(int wait_status) const override { return wait_status; }

 private:
  SandboxLimits limits_;
  std::string why_;
  std::string filter_ = SystemCallFilter();
};

/// Whether a program can be run with it; empty, or why not.
std::string WhyNot(const Sandbox& sandbox) {
  try {
    ProgramSpec spec;
    spec.program = "/usr/bin/true";
    const Ran ran = Run(sandbox.Inside(spec), 10);
    return ran.well ? "" : ran.printed.empty() ? "it ended without a word" : FirstLineOf(ran.printed);
  } catch (const EnvironmentError& error) {
    return error.what();
  }
}

}  // namespace

std::string Sandbox::WhyNoNamespaces() {
  const std::string bwrap = FindProgram("bwrap");
  if (bwrap.empty()) return "bubblewrap is not installed";
  return WhyNot(Namespaces(bwrap, {}));
}

std::shared_ptr<const Sandbox> Sandbox::Find(const SandboxLimits& limits) {
  const std::string why = WhyNoNamespaces();
  if (why.empty()) return std::make_shared<Namespaces>(FindProgram("bwrap"), limits);
  const std::string help = why == "bubblewrap is not installed" ? "apt-get install bubblewrap"
                                                                : "a machine or container that allows namespaces";
  if (getuid() != 0) {
    throw EnvironmentError(
        fmt::format("--sandbox: {}, and only root can let another user stand in: {}, or run this as root", why, help));
  }
  auto sandbox = std::make_shared<SpareUserOnly>(limits, why);
  const std::string why_no_user = WhyNot(*sandbox);
  if (why_no_user.empty()) return sandbox;
  throw EnvironmentError(fmt::format("--sandbox: {}, and no other user can stand in ({}): {}", why, why_no_user, help));
}

}  // namespace shardlab::launch
