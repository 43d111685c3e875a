#include "shardlab/launch/scope.hpp"

#include <linux/capability.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

// A Landlock domain is what makes the scope. Nothing of what it is known for, rules for files, is wanted here: those of
// a student's own machine are the student's. What counts is that a process inside a domain cannot trace one outside of
// it, which covers /proc/PID/mem and the like, and that newer kernels hold back signals.

namespace shardlab::launch {

namespace {

/// As in Linux 6.12; older kernels take a shorter one, older headers declare a shorter one.
struct RulesetAttributes {
  uint64_t handled_files = 0;
  uint64_t handled_network = 0;
  uint64_t scoped = 0;
};
constexpr uint64_t kScopeAbstractSockets = 1;
constexpr uint64_t kScopeSignals = 2;
constexpr long kFirstWithScopes = 6;

/// Root without these is an ordinary user who may touch everybody's files: it cannot look into processes that hide, or
/// that have more rights than it.
void KeepOnlyRightsToFiles() {
  constexpr uint32_t kFiles = 1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH | 1u << CAP_FOWNER;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct rights[2] = {};
  if (syscall(SYS_capget, &header, rights) != 0) return;
  rights[0] = {rights[0].effective & kFiles, rights[0].permitted & kFiles, 0};
  rights[1] = {};
  syscall(SYS_capset, &header, rights);
}

long Version() { return syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION); }

}  // namespace

void EnterOwnScope() {
  KeepOnlyRightsToFiles();
  // Also: an exec by root does not bring back what was given up.
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  const long version = Version();
  if (version < 1) return;
  RulesetAttributes attributes;
  // A domain has to forbid something: device nodes are what no exercise makes.
  attributes.handled_files = LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_CHAR;
  size_t size = sizeof attributes.handled_files;
  if (version >= kFirstWithScopes) {
    attributes.scoped = kScopeAbstractSockets | kScopeSignals;
    size = sizeof attributes;
  }
  const long ruleset = syscall(SYS_landlock_create_ruleset, &attributes, size, 0);
  if (ruleset < 0) return;
  syscall(SYS_landlock_restrict_self, ruleset, 0);
  close(static_cast<int>(ruleset));
}

bool ScopeHoldsSignals() { return Version() >= kFirstWithScopes; }

void HideMemory() { prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }

}  // namespace shardlab::launch
