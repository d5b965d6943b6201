#include "remains.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "number.h"
#include "text.h"

enum { PROCESSES_MAX = 32768, STAT_READ_MAX = 512, RETRY_MS = 5 };

struct process {
  pid_t pid;
  pid_t parent;
  bool is_zombie;
  bool is_ours;
};

static struct {
  struct process list[PROCESSES_MAX];
  size_t count;
} seen;

bool read_stat(const char *text, size_t size, pid_t *parent, bool *is_zombie) {
  struct text rest = {text, size};
  struct text after;
  struct text state;
  struct text number;
  uint32_t pid = 0;
  /* The name in parentheses may hold anything, parentheses too. */
  if (!cut_last(&rest, ')', &after) || !cut_word(&after, &state) || !cut_word(&after, &number)) return false;
  if (!read_number(number.at, number.size, INT32_MAX, &pid)) return false;
  *parent = (pid_t)pid;
  *is_zombie = state.at[0] == 'Z' || state.at[0] == 'X';
  return true;
}

static bool look_at(struct text name, struct process *process) {
  char path[sizeof "/proc//stat" + 16];
  char text[STAT_READ_MAX];
  uint32_t pid = 0;
  if (name.size > 10 || !read_number(name.at, name.size, INT32_MAX, &pid)) return false;
  memcpy(path, "/proc/", 6);
  memcpy(path + 6, name.at, name.size);
  memcpy(path + 6 + name.size, "/stat", 6);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t got = read(fd, text, sizeof text);
  close(fd);
  *process = (struct process){.pid = (pid_t)pid};
  return got > 0 && read_stat(text, (size_t)got, &process->parent, &process->is_zombie);
}

/* In the order of their numbers, in which /proc lists them already. */
static void insert(struct process process) {
  size_t at = seen.count++;
  for (; at > 0 && seen.list[at - 1].pid > process.pid; at--) seen.list[at] = seen.list[at - 1];
  seen.list[at] = process;
}

/* Whether /proc is one, and of our own numbers: what "self" is there, we are here. */
static bool is_our_proc(void) {
  char text[STAT_READ_MAX];
  int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t got = read(fd, text, sizeof text);
  close(fd);
  struct text rest = {text, got > 0 ? (size_t)got : 0};
  struct text number;
  uint32_t pid = 0;
  return cut(&rest, ' ', &number) && read_number(number.at, number.size, INT32_MAX, &pid) && (pid_t)pid == getpid();
}

static bool look_at_all(void) {
  static _Alignas(struct dirent64) char bytes[16 * 1024];
  int fd = is_our_proc() ? open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  if (fd < 0) return false;
  seen.count = 0;
  ssize_t got = 0;
  while ((got = getdents64(fd, bytes, sizeof bytes)) > 0) {
    for (ssize_t at = 0; at < got;) {
      const struct dirent64 *entry = (const struct dirent64 *)(const void *)(bytes + at);
      struct process process;
      if (look_at(text_of(entry->d_name), &process) && seen.count < PROCESSES_MAX) insert(process);
      at += entry->d_reclen;
    }
  }
  close(fd);
  return got == 0;
}

static struct process *find(pid_t pid) {
  size_t from = 0;
  size_t to = seen.count;
  while (from < to) {
    size_t middle = from + (to - from) / 2;
    if (seen.list[middle].pid == pid) return &seen.list[middle];
    if (seen.list[middle].pid < pid) {
      from = middle + 1;
    } else {
      to = middle;
    }
  }
  return NULL;
}

/* A parent mostly has the lower number, so that one or two rounds find all. */
static void mark_ours(void) {
  pid_t self = getpid();
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < seen.count; i++) {
      struct process *process = &seen.list[i];
      const struct process *parent = process->is_ours ? NULL : find(process->parent);
      if (parent == NULL || !(parent->pid == self || parent->is_ours)) continue;
      process->is_ours = true;
      changed = true;
    }
  }
}

enum remains signal_remains(int number) {
  if (!look_at_all()) return REMAINS_UNKNOWN;
  mark_ours();
  enum remains remains = REMAINS_NONE;
  for (size_t i = 0; i < seen.count; i++) {
    const struct process *process = &seen.list[i];
    if (!process->is_ours || process->is_zombie) continue;
    if (kill(process->pid, number) == 0) remains = REMAINS_SIGNALLED;
  }
  return remains;
}

void kill_descendants(pid_t command) {
  kill(-command, SIGKILL);
  kill(command, SIGKILL);
  for (;;) {
    enum remains remains = signal_remains(SIGKILL);
    pid_t pid = 0;
    do pid = waitpid(-1, NULL, WNOHANG);
    while (pid > 0);
    if (pid < 0 || remains == REMAINS_UNKNOWN) return;
    poll(NULL, 0, RETRY_MS);
  }
}
