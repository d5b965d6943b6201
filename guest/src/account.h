#ifndef BOTTLE_ACCOUNT_H
#define BOTTLE_ACCOUNT_H

#include <linux/limits.h>
#include <stddef.h>
#include <sys/types.h>

#include "text.h"

enum { ACCOUNT_GROUPS_MAX = 1024 };

/* Whom to become. */
struct account {
  uid_t uid;
  gid_t gid;
  /* The primary group first, then the supplementary ones, each once. */
  gid_t groups[ACCOUNT_GROUPS_MAX];
  size_t group_count;
  char home[PATH_MAX];
};

/*
 * Finds an account as Docker does for USER (moby/sys, user/user.go, GetExecUser): digits are always a number; a number
 * without an entry has group 0, home "/" and no supplementary groups; a group that is given replaces all others. One
 * thing is stricter: an entry whose numbers are not numbers is no entry.
 * Returns NULL, or what is wrong, for people.
 */
const char *find_account(const char *spec, struct text passwd, struct text group, struct account *account);

/* As find_account, with the /etc/passwd and /etc/group that are here; a missing file is an empty one. Fails by itself. */
void load_account(const char *spec, struct account *account);

#endif
