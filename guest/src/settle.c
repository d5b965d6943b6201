#include "settle.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "account.h"
#include "hosts.h"
#include "mount.h"
#include "report.h"
#include "say.h"

enum { DEPTH_MAX = 900, ENTRIES_SIZE = 2048, HOME_MAX = 400 };

static const int directory_flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

static void open_tmp_to_all(void) {
  struct stat found;
  umask(0);
  if (mkdirat(AT_FDCWD, "/tmp", 01777) < 0 && errno != EEXIST) fail(STATUS_OWN_FAILURE, "cannot make /tmp: ", why(), NULL);
  int fd = open("/tmp", directory_flags);
  if (fd < 0) fail(STATUS_OWN_FAILURE, "/tmp is no directory of its own: ", why(), NULL);
  if (fstat(fd, &found) < 0 || ((found.st_mode & 07777) != 01777 && fchmod(fd, 01777) < 0)) {
    fail(STATUS_OWN_FAILURE, "cannot open /tmp to all: ", why(), NULL);
  }
  close(fd);
}

/* Homes of the system's own accounts, which are everybody's: daemon's is /usr/sbin, and who has no home has /. */
static bool is_of_the_system(const struct stat *home) {
  static const char *const directories[] = {
      "/",     "/bin",     "/boot",    "/dev",      "/etc",     "/home",      "/lib", "/lib64", "/opt",     "/proc", "/run",
      "/sbin", "/sys",     "/tmp",     "/usr",      "/usr/bin", "/usr/games", "/usr/lib",       "/usr/local",
      "/srv",  "/usr/local/bin",       "/usr/sbin", "/usr/share",             "/var", "/var/lib",
  };
  for (size_t i = 0; i < sizeof directories / sizeof directories[0]; i++) {
    struct stat found;
    /* Followed: /bin is mostly another name of /usr/bin. */
    if (fstatat(AT_FDCWD, directories[i], &found, 0) < 0) continue;
    if (found.st_dev == home->st_dev && found.st_ino == home->st_ino) return true;
  }
  return false;
}

static void give_below(const struct account *account, int directory, uint64_t mount, unsigned depth);

static void give_one(const struct account *account, int parent, const char *name, uint64_t mount, unsigned depth) {
  struct stat found;
  if (fstatat(parent, name, &found, AT_SYMLINK_NOFOLLOW) < 0) return;
  if (mount_of(parent, name) != mount) return;
  mode_t type = found.st_mode & S_IFMT;
  if (type == S_IFDIR) {
    int fd = openat(parent, name, directory_flags);
    if (fd < 0) fail(STATUS_OWN_FAILURE, "cannot open ", name, " in the home of the user: ", why(), NULL);
    give_below(account, fd, mount, depth + 1);
    close(fd);
  }
  /* Another name of a file may be anywhere, and a device is not the user's. */
  bool is_shared = type == S_IFREG && found.st_nlink > 1;
  if (found.st_uid != 0 || is_shared || type == S_IFCHR || type == S_IFBLK) return;
  if (fchownat(parent, name, account->uid, account->gid, AT_SYMLINK_NOFOLLOW) < 0) {
    fail(STATUS_OWN_FAILURE, "cannot give ", name, " in the home of the user to the user: ", why(), NULL);
  }
}

static void give_below(const struct account *account, int directory, uint64_t mount, unsigned depth) {
  _Alignas(struct dirent64) char entries[ENTRIES_SIZE];
  ssize_t size = 0;
  if (depth > DEPTH_MAX) fail(STATUS_OWN_FAILURE, "the home of the user is too deep", NULL);
  while ((size = getdents64(directory, entries, sizeof entries)) > 0) {
    for (ssize_t at = 0; at < size;) {
      const struct dirent64 *entry = (const void *)(entries + at);
      at += entry->d_reclen;
      if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
      give_one(account, directory, entry->d_name, mount, depth);
    }
  }
  if (size < 0) fail(STATUS_OWN_FAILURE, "cannot read the home of the user: ", why(), NULL);
}

static void give_home(const struct account *account) {
  struct stat home;
  struct stat root;
  if (account->uid == 0) return;
  int fd = open(account->home, directory_flags);
  /* There is none, or it is a symlink: not ours to make good. */
  if (fd < 0) return;
  uint64_t mount = mount_of(fd, "");
  if (fstat(fd, &home) < 0 || fstatat(AT_FDCWD, "/", &root, 0) < 0) {
    fail(STATUS_OWN_FAILURE, "cannot look at ", account->home, ": ", why(), NULL);
  }
  /* What is mounted there belongs to the host, or to whoever mounted it. */
  bool is_mounted = mount != mount_of(AT_FDCWD, "/") || home.st_dev != root.st_dev;
  if (home.st_uid != account->uid && !is_mounted && !is_of_the_system(&home)) {
    give_below(account, fd, mount, 0);
    /* Last, so that what was broken off in between is done again. */
    if (fchown(fd, account->uid, account->gid) < 0) {
      fail(STATUS_OWN_FAILURE, "cannot give ", account->home, " to the user: ", why(), NULL);
    }
  }
  close(fd);
}

static void raise_file_limit(void) {
  struct rlimit files;
  if (prlimit(0, RLIMIT_NOFILE, NULL, &files) < 0) return;
  files.rlim_cur = files.rlim_max;
  prlimit(0, RLIMIT_NOFILE, &files, NULL);
}

void settle(const char *user) {
  static struct account account;
  struct report report = {.size = 0};
  raise_file_limit();
  open_tmp_to_all();
  name_localhost();
  load_account(user, &account);
  if (strlen(account.home) > HOME_MAX) fail(STATUS_OWN_FAILURE, "the user's home is too long a path", NULL);
  give_home(&account);
  report_raw(&report, "{\"uid\":");
  report_number(&report, account.uid);
  report_raw(&report, ",\"gid\":");
  report_number(&report, account.gid);
  report_raw(&report, ",\"home\":");
  report_path(&report, account.home);
  report_raw(&report, "}");
  if (!send_report(&report, STDOUT_FILENO)) fail(STATUS_OWN_FAILURE, "cannot say who the user is: ", why(), NULL);
}
