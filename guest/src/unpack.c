#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "say.h"
#include "tar_input.h"

/* The times of directories that were unpacked: set last, since what is unpacked into them changes them. Mostly untouched. */
enum { TIMES_SIZE = 256 << 20 };

struct directory_time {
  int64_t mtime;
  uint32_t mtime_ns;
  /* Bytes of the name and its NUL, which come next, rounded up to 8. */
  uint32_t size;
};

static struct {
  int root;
  char *times;
  size_t times_size;
} unpacking;

_Noreturn static void refuse(const struct tar_entry *entry, const char *what) {
  fail(STATUS_OWN_FAILURE, "cannot unpack ", entry->path, ": ", what, NULL);
}

/* The next component of a path, "." left out; false when there is none. */
static bool next_component(struct text *path, struct text *component) {
  while (cut(path, '/', component)) {
    if (component->size > 0 && !same(*component, text_of("."))) return true;
  }
  return false;
}

/* Whether the path has a component at all, and none that leads up. */
static const char *check_path(const char *string, bool *is_root) {
  struct text path = text_of(string);
  struct text component;
  *is_root = true;
  while (next_component(&path, &component)) {
    if (same(component, text_of(".."))) return "it leads up with \"..\"";
    if (component.size > NAME_MAX) return "a name in it is too long";
    *is_root = false;
  }
  return NULL;
}

/* Opens a directory in another, without following anything; makes it when it is missing and may be made. */
static int step(int from, const char *name, bool may_make) {
  int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  int fd = openat(from, name, flags);
  if (fd >= 0 || errno != ENOENT || !may_make) return fd;
  if (mkdirat(from, name, 0755) < 0) return -1;
  return openat(from, name, flags);
}

/*
 * Opens the parent of what the path names, step by step from the root, and copies the last name. -1 with errno when there
 * is something else than a directory on the way.
 */
static int open_parent(const char *string, bool may_make, char name[NAME_MAX + 1]) {
  struct text path = text_of(string);
  struct text component;
  int parent = fcntl(unpacking.root, F_DUPFD_CLOEXEC, 0L);
  bool has_next = next_component(&path, &component);
  while (parent >= 0 && has_next) {
    memcpy(name, component.at, component.size);
    name[component.size] = '\0';
    has_next = next_component(&path, &component);
    if (!has_next) break;
    int fd = step(parent, name, may_make);
    int error = errno;
    close(parent);
    errno = error;
    parent = fd;
  }
  return parent;
}

static const char *parent_words(void) {
  return errno == ENOTDIR || errno == ELOOP ? "a parent is a symlink or no directory" : why();
}

/* Makes room: what is there and no directory is removed. True when a directory is there. */
static bool make_room(const struct tar_entry *entry, int parent, const char *name) {
  struct stat found;
  if (fstatat(parent, name, &found, AT_SYMLINK_NOFOLLOW) < 0) {
    if (errno == ENOENT) return false;
    refuse(entry, why());
  }
  if (S_ISDIR(found.st_mode)) return true;
  if (unlinkat(parent, name, 0) < 0) refuse(entry, why());
  return false;
}

static void set_times(struct timespec times[2], int64_t mtime, uint32_t mtime_ns) {
  times[0] = (struct timespec){.tv_nsec = UTIME_OMIT};
  times[1] = (struct timespec){.tv_sec = mtime, .tv_nsec = (long)mtime_ns};
}

/* The owner first: a change of owner takes set-uid bits away. */
static void settle_file(const struct tar_entry *entry, int fd) {
  struct timespec times[2];
  set_times(times, entry->mtime, entry->mtime_ns);
  if (fchown(fd, entry->uid, entry->gid) < 0 || fchmod(fd, (mode_t)entry->mode) < 0 || futimens(fd, times) < 0) {
    refuse(entry, why());
  }
}

static void remember_time(const struct tar_entry *entry) {
  size_t size = (strlen(entry->path) + 1 + 7) & ~(size_t)7;
  struct directory_time time = {entry->mtime, entry->mtime_ns, (uint32_t)size};
  if (unpacking.times == NULL) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    unpacking.times = mmap(NULL, TIMES_SIZE, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (unpacking.times == MAP_FAILED) refuse(entry, why());
  }
  if (sizeof time + size > TIMES_SIZE - unpacking.times_size) refuse(entry, "there are too many directories");
  memcpy(unpacking.times + unpacking.times_size, &time, sizeof time);
  unpacking.times_size += sizeof time;
  memcpy(unpacking.times + unpacking.times_size, entry->path, strlen(entry->path) + 1);
  unpacking.times_size += size;
}

static void restore_times(void) {
  for (size_t at = 0; at < unpacking.times_size;) {
    struct directory_time time;
    char name[NAME_MAX + 1];
    struct timespec times[2];
    memcpy(&time, unpacking.times + at, sizeof time);
    at += sizeof time;
    int parent = open_parent(unpacking.times + at, false, name);
    int fd = parent < 0 ? -1 : step(parent, name, false);
    set_times(times, time.mtime, time.mtime_ns);
    /* A later entry may have put something else there. */
    if (fd >= 0) futimens(fd, times);
    if (fd >= 0) close(fd);
    if (parent >= 0) close(parent);
    at += time.size;
  }
}

static void unpack_directory(const struct tar_entry *entry, int parent, const char *name) {
  if (!make_room(entry, parent, name) && mkdirat(parent, name, 0700) < 0) refuse(entry, why());
  int fd = step(parent, name, false);
  if (fd < 0) refuse(entry, why());
  settle_file(entry, fd);
  close(fd);
  remember_time(entry);
}

/* Nothing of a file is left when not all of it is there. */
static const char *copy_data(uint64_t size, int fd) {
  for (uint64_t left = size; left > 0;) {
    struct text piece = next_piece(&left);
    if (piece.size == 0) return "the archive ends too early";
    while (piece.size > 0) {
      ssize_t count = write(fd, piece.at, piece.size);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return why();
      piece.at += count;
      piece.size -= (size_t)count;
    }
  }
  return NULL;
}

static void unpack_file(const struct tar_entry *entry, int parent, const char *name) {
  if (make_room(entry, parent, name)) refuse(entry, "there is a directory");
  int fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) refuse(entry, why());
  const char *problem = copy_data(entry->size, fd);
  if (problem != NULL) {
    unlinkat(parent, name, 0);
    refuse(entry, problem);
  }
  settle_file(entry, fd);
  close(fd);
  skip_padding(entry->size);
}

static void unpack_symlink(const struct tar_entry *entry, int parent, const char *name) {
  struct timespec times[2];
  set_times(times, entry->mtime, entry->mtime_ns);
  if (make_room(entry, parent, name)) refuse(entry, "there is a directory");
  if (symlinkat(entry->link, parent, name) < 0 ||
      fchownat(parent, name, entry->uid, entry->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
      utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) < 0) {
    refuse(entry, why());
  }
}

/* The parent of what a hard link is to be another name of, which is there and no directory. */
static int open_link(const struct tar_entry *entry, char name[NAME_MAX + 1], struct stat *found) {
  bool is_root = false;
  const char *problem = check_path(entry->link, &is_root);
  if (problem == NULL && is_root) problem = "it names nothing";
  if (problem != NULL) fail(STATUS_OWN_FAILURE, "cannot unpack ", entry->path, ", a link to ", entry->link, ": ", problem, NULL);
  int parent = open_parent(entry->link, false, name);
  if (parent < 0) refuse(entry, parent_words());
  if (fstatat(parent, name, found, AT_SYMLINK_NOFOLLOW) < 0) refuse(entry, "what it links to is not there");
  if (S_ISDIR(found->st_mode)) refuse(entry, "what it links to is a directory");
  return parent;
}

static void unpack_hardlink(const struct tar_entry *entry) {
  char from_name[NAME_MAX + 1];
  char name[NAME_MAX + 1];
  struct stat target;
  struct stat there;
  int from = open_link(entry, from_name, &target);
  int parent = open_parent(entry->path, true, name);
  if (parent < 0) refuse(entry, parent_words());
  bool is_there = fstatat(parent, name, &there, AT_SYMLINK_NOFOLLOW) == 0;
  /* One name of it, or the only one: not to be removed. */
  if (!is_there || there.st_dev != target.st_dev || there.st_ino != target.st_ino) {
    if (make_room(entry, parent, name)) refuse(entry, "there is a directory");
    if (linkat(from, from_name, parent, name, 0) < 0) refuse(entry, why());
  }
  close(from);
  close(parent);
}

static void unpack_entry(const struct tar_entry *entry) {
  char name[NAME_MAX + 1];
  bool is_root = false;
  const char *problem = check_path(entry->path, &is_root);
  if (problem != NULL) refuse(entry, problem);
  bool is_file = entry->type == TAR_REGULAR;
  if (!is_file && entry->type != TAR_DIRECTORY && entry->type != TAR_SYMLINK && entry->type != TAR_HARDLINK) {
    refuse(entry, "only files, directories and links are unpacked");
  }
  if (!is_file && entry->size > 0) refuse(entry, "it has data, which its type has not");
  /* The directory itself is whoever made it's. */
  if (is_root && entry->type == TAR_DIRECTORY) return;
  if (is_root) refuse(entry, "it names the directory itself");
  if (entry->type == TAR_HARDLINK) {
    unpack_hardlink(entry);
    return;
  }
  if (entry->type == TAR_SYMLINK && entry->link[0] == '\0') refuse(entry, "it links to nothing");
  int parent = open_parent(entry->path, true, name);
  if (parent < 0) refuse(entry, parent_words());
  switch (entry->type) {
    case TAR_DIRECTORY: unpack_directory(entry, parent, name); break;
    case TAR_SYMLINK: unpack_symlink(entry, parent, name); break;
    default: unpack_file(entry, parent, name);
  }
  close(parent);
}

void unpack(const char *directory) {
  static struct tar_entry entry;
  unpacking.root = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (unpacking.root < 0) fail(STATUS_OWN_FAILURE, "cannot unpack into ", directory, ": ", why(), NULL);
  umask(0);
  while (next_entry(&entry)) unpack_entry(&entry);
  restore_times();
}
