#include "identity.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "filter.h"
#include "say.h"
#include "terminal.h"

static void fail_at(const char *what) { fail(STATUS_OWN_FAILURE, what, ": ", why(), NULL); }

void refuse_borrowed_rights(void) {
  if (getauxval(AT_SECURE) != 0) fail(STATUS_OWN_FAILURE, "will not run with set-uid or file capabilities", NULL);
}

/*
 * So that /dev/stderr and the terminal can be opened by name, which asks the pipe's or terminal's owner: runc does so for
 * the user it starts (libcontainer/init_linux.go, fixStdioPermissions). Where it is not allowed the streams still work.
 */
static void give_streams(uid_t uid) {
  for (int fd = 0; fd <= 2; fd++) {
    struct stat found;
    if (fstat(fd, &found) < 0 || found.st_uid == uid) continue;
    if (!S_ISFIFO(found.st_mode) && !is_terminal(fd)) continue;
    if (fchown(fd, uid, (gid_t)-1) < 0) continue;
  }
}

/* The sets of one process as three numbers. */
struct capability_sets {
  uint64_t effective;
  uint64_t permitted;
  uint64_t inheritable;
};

static struct capability_sets read_capabilities(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0, 0, 0}};
  if (syscall(SYS_capget, &header, data) < 0) fail_at("cannot read the capabilities");
  return (struct capability_sets){
      .effective = data[0].effective | (uint64_t)data[1].effective << 32,
      .permitted = data[0].permitted | (uint64_t)data[1].permitted << 32,
      .inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32,
  };
}

static void limit_capabilities(uint64_t kept) {
  struct capability_sets now = read_capabilities();
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  uint64_t all = now.effective & kept;
  uint64_t permitted = now.permitted & kept;
  uint64_t inheritable = now.inheritable & kept;
  struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
      {(uint32_t)all, (uint32_t)permitted, (uint32_t)inheritable},
      {(uint32_t)(all >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)},
  };
  if (syscall(SYS_capset, &header, data) < 0) fail_at("cannot drop capabilities");
  now = read_capabilities();
  if (((now.effective | now.permitted | now.inheritable) & ~kept) != 0) {
    fail(STATUS_OWN_FAILURE, "a dropped capability is still there", NULL);
  }
}

static void limit_bounding_set(uint64_t kept) {
  for (unsigned long number = 0; number < 64; number++) {
    /* Past the last one that this kernel knows. */
    int held = prctl(PR_CAPBSET_READ, number, 0L, 0L, 0L);
    if (held < 0) return;
    if (held == 0 || (kept >> number & 1) != 0) continue;
    if (prctl(PR_CAPBSET_DROP, number, 0L, 0L, 0L) < 0) fail_at("cannot drop capabilities");
  }
}

static bool has_groups(const struct account *account) {
  static gid_t held[ACCOUNT_GROUPS_MAX];
  int count = getgroups(ACCOUNT_GROUPS_MAX, held);
  if (count < 0) return false;
  size_t matched = 0;
  for (size_t i = 0; i < account->group_count; i++) {
    int at = 0;
    while (at < count && held[at] != account->groups[i]) at++;
    /* Whether the primary group is in the list as well makes no difference: it is ours in any case. */
    if (at < count) {
      matched++;
    } else if (account->groups[i] != account->gid) {
      return false;
    }
  }
  return matched == (size_t)count;
}

static bool has_ids(const struct account *account) {
  uid_t uid[3];
  gid_t gid[3];
  if (getresuid(&uid[0], &uid[1], &uid[2]) < 0 || getresgid(&gid[0], &gid[1], &gid[2]) < 0) return false;
  for (size_t i = 0; i < 3; i++) {
    if (uid[i] != account->uid || gid[i] != account->gid) return false;
  }
  return true;
}

static void change_ids(const struct account *account) {
  if (!has_groups(account) && setgroups(account->group_count, account->groups) < 0) {
    fail_at("cannot take the user's groups (needs root with SETGID)");
  }
  if (has_ids(account)) return;
  if (setresgid(account->gid, account->gid, account->gid) < 0) {
    fail_at("cannot take the user's group (needs root with SETGID)");
  }
  if (setresuid(account->uid, account->uid, account->uid) < 0) {
    fail_at("cannot become the user (needs root with SETUID)");
  }
}

static void verify(const struct account *account) {
  if (!has_ids(account) || !has_groups(account)) fail(STATUS_OWN_FAILURE, "the user did not take hold", NULL);
  if (account->uid == 0) return;
  if (setresuid(0, 0, 0) == 0 || setresuid((uid_t)-1, 0, (uid_t)-1) == 0) {
    fail(STATUS_OWN_FAILURE, "the user could become root again", NULL);
  }
}

void become(const struct account *account, const struct options *options) {
  bool leaves_root = account != NULL && account->uid != 0;
  if (options->limits_capabilities) limit_bounding_set(options->kept_capabilities);
  if (account != NULL) {
    give_streams(account->uid);
    change_ids(account);
  }
  if (leaves_root || options->limits_capabilities) {
    /* Kernels and sandboxes without ambient capabilities say EINVAL; there is nothing to clear then. */
    if (prctl(PR_CAP_AMBIENT, (long)PR_CAP_AMBIENT_CLEAR_ALL, 0L, 0L, 0L) < 0 && errno != EINVAL) {
      fail_at("cannot drop capabilities");
    }
    limit_capabilities(leaves_root ? 0 : options->kept_capabilities);
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) < 0) fail_at("cannot forbid new privileges");
  forbid_calls();
  if (account != NULL) verify(account);
}
