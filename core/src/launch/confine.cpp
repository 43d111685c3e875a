#include "shardlab/launch/confine.hpp"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#include "shardlab/launch/process.hpp"

namespace shardlab::launch {

namespace {

/// As in Linux 6.2, where files can be cut short; older headers have less.
constexpr uint64_t kRefer = uint64_t{1} << 13, kTruncate = uint64_t{1} << 14;
constexpr uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr uint64_t kRun = kRead | LANDLOCK_ACCESS_FS_EXECUTE;
constexpr uint64_t kOfFile = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_EXECUTE;

long LandlockVersion() { return syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION); }

/// All that this kernel can forbid.
uint64_t Everything() {
  const long version = LandlockVersion();
  constexpr uint64_t kFirst = (uint64_t{1} << 13) - 1;
  return version < 1 ? 0 : kFirst | (version >= 2 ? kRefer : 0) | (version >= 3 ? kTruncate : 0);
}

void Allow(const Fd& rules, const std::string& path, uint64_t what) {
  const Fd place(open(path.c_str(), O_PATH | O_CLOEXEC));
  struct stat about {};
  if (!place || fstat(place.get(), &about) != 0) return;
  if (!S_ISDIR(about.st_mode)) what &= kOfFile | kTruncate;
  landlock_path_beneath_attr rule{};
  rule.allowed_access = what & Everything();
  rule.parent_fd = place.get();
  syscall(SYS_landlock_add_rule, rules.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

}  // namespace

bool CanConfine() { return LandlockVersion() >= 1; }

bool Confine(const Confinement& confinement) {
  landlock_ruleset_attr attributes{};
  attributes.handled_access_fs = Everything();
  const Fd rules(
      static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes.handled_access_fs, 0)));
  if (attributes.handled_access_fs == 0 || !rules) return false;
  for (const char* folder : {"/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin"}) Allow(rules, folder, kRun);
  for (const char* file : {"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives",
                           "/proc/cpuinfo", "/sys/devices/system/cpu"}) {
    Allow(rules, file, kRead);
  }
  Allow(rules, "/dev/null", kRead | LANDLOCK_ACCESS_FS_WRITE_FILE);
  for (const std::string& path : confinement.reads) Allow(rules, path, kRead);
  for (const std::string& path : confinement.writes) Allow(rules, path, Everything() & ~LANDLOCK_ACCESS_FS_EXECUTE);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
  return syscall(SYS_landlock_restrict_self, rules.get(), 0) == 0;
}

std::vector<std::string> FilesNamedIn(const std::vector<std::string>& command) {
  std::vector<std::string> files;
  for (size_t i = 1; i < command.size(); ++i) {
    std::string path = command[i];
    for (const char* option : {"-I", "-L", "-B"}) {
      if (path.compare(0, 2, option) == 0) path = path.substr(2);
    }
    if (path.empty() || path[0] == '-' || access(path.c_str(), F_OK) != 0) continue;
    files.push_back(path);
    if (access((path + ".gch").c_str(), F_OK) == 0) files.push_back(path + ".gch");
  }
  return files;
}

}  // namespace shardlab::launch
