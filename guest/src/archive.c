#include "archive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount.h"
#include "say.h"
#include "tar_output.h"

/* A descriptor and a piece of the stack for each directory on the way. */
enum { DEPTH_MAX = 900, ENTRIES_SIZE = 2048 };

/* The name in the archive of what is at hand; grows and shrinks with the way down. */
static struct {
  char path[PATH_MAX];
  size_t size;
  uint64_t mount;
  unsigned depth;
} archiving;

_Noreturn static void give_up(const char *what) {
  fail(STATUS_OWN_FAILURE, "cannot archive ", archiving.path, ": ", what, NULL);
}

static void archive_one(int parent, const char *name);

static bool is_dot(const char *name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }

static void archive_below(int directory) {
  _Alignas(struct dirent64) char entries[ENTRIES_SIZE];
  size_t above = archiving.size;
  ssize_t size = 0;
  if (++archiving.depth > DEPTH_MAX) give_up("it is too deep");
  while ((size = getdents64(directory, entries, sizeof entries)) > 0) {
    for (ssize_t at = 0; at < size;) {
      const struct dirent64 *entry = (const void *)(entries + at);
      at += entry->d_reclen;
      if (is_dot(entry->d_name)) continue;
      size_t length = strlen(entry->d_name);
      if (above + 1 + length >= sizeof archiving.path) give_up("a name below it is too long");
      archiving.path[above] = '/';
      memcpy(archiving.path + above + 1, entry->d_name, length + 1);
      archiving.size = above + 1 + length;
      archive_one(directory, entry->d_name);
      archiving.size = above;
      archiving.path[above] = '\0';
    }
  }
  if (size < 0) give_up(why());
  archiving.depth--;
}

/* Opens what was looked at, if it is still that; -1 when it is gone. */
static int open_found(int parent, const char *name, struct stat *found) {
  mode_t type = found->st_mode & S_IFMT;
  int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (S_ISDIR(type) ? O_DIRECTORY : 0);
  int fd = openat(parent, name, flags);
  if (fd < 0 && errno == ENOENT) return -1;
  if (fd < 0 || fstat(fd, found) < 0) give_up(why());
  if ((found->st_mode & S_IFMT) != type) give_up("it became something else");
  return fd;
}

static void archive_opened(int parent, const char *name, struct stat *found) {
  int fd = open_found(parent, name, found);
  if (fd < 0) return;
  if (S_ISREG(found->st_mode)) {
    put_entry(archiving.path, "", found);
    put_data(fd, (uint64_t)found->st_size);
  } else {
    bool is_inside = mount_of(fd, "") == archiving.mount;
    /* A slash behind it, as every tar has it. */
    if (archiving.size + 1 >= sizeof archiving.path) give_up("its name is too long");
    memcpy(archiving.path + archiving.size, "/", 2);
    put_entry(archiving.path, "", found);
    archiving.path[archiving.size] = '\0';
    if (is_inside) archive_below(fd);
  }
  close(fd);
}

static void archive_symlink(int parent, const char *name, const struct stat *found) {
  char link[PATH_MAX];
  ssize_t size = readlinkat(parent, name, link, sizeof link);
  if (size < 0 && errno == ENOENT) return;
  if (size < 0) give_up(why());
  if ((size_t)size == sizeof link) give_up("what it links to is too long");
  link[size] = '\0';
  put_entry(archiving.path, link, found);
}

static void archive_one(int parent, const char *name) {
  struct stat found;
  if (fstatat(parent, name, &found, AT_SYMLINK_NOFOLLOW) < 0) {
    /* Gone since its name was read. */
    if (errno == ENOENT) return;
    give_up(why());
  }
  switch (found.st_mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR: archive_opened(parent, name, &found); break;
    case S_IFLNK: archive_symlink(parent, name, &found); break;
    case S_IFSOCK: break;
    default: put_entry(archiving.path, "", &found); break;
  }
}

/* A descriptor for each directory on the way, whatever the limit was. */
static void raise_file_limit(void) {
  struct rlimit files;
  if (prlimit(0, RLIMIT_NOFILE, NULL, &files) < 0) return;
  files.rlim_cur = files.rlim_max;
  prlimit(0, RLIMIT_NOFILE, &files, NULL);
}

void archive(const char *given) {
  static char path[PATH_MAX];
  struct stat found;
  size_t size = strlen(given);
  /* With a slash behind it the kernel would follow a symlink. */
  while (size > 1 && given[size - 1] == '/') size--;
  if (size >= sizeof path) fail(STATUS_OWN_FAILURE, "cannot archive ", given, ": the path is too long", NULL);
  memcpy(path, given, size);
  size_t from = size;
  while (path[from - 1] != '/') from--;
  /* The root has no name; below it, everything is named from here. */
  const char *name = from == size ? "." : path + from;
  if (from != size && is_dot(name)) fail(STATUS_OWN_FAILURE, "cannot archive ", path, ": it does not end with a name", NULL);
  archiving.size = strlen(name);
  memcpy(archiving.path, name, archiving.size + 1);
  if (fstatat(AT_FDCWD, path, &found, AT_SYMLINK_NOFOLLOW) < 0) {
    bool is_missing = errno == ENOENT || errno == ENOTDIR;
    if (is_missing) fail(STATUS_NO_PATH, "no such path: ", path, NULL);
    give_up(why());
  }
  raise_file_limit();
  archiving.mount = mount_of(AT_FDCWD, path);
  archive_one(AT_FDCWD, path);
  put_end();
}
