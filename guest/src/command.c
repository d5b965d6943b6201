#include "command.h"

#include <errno.h>
#include <linux/limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "say.h"

/* What runc searches when the environment has no PATH, and Docker gives every container. */
static const char default_path[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
static const char home_name[] = "HOME=";

char **environment_with_home(char **environment, const char *home) {
  static char entry[sizeof home_name + PATH_MAX];
  if (home == NULL) return environment;
  size_t size = strlen(home);
  if (size >= PATH_MAX) fail(STATUS_OWN_FAILURE, "the user's home is too long a path", NULL);
  memcpy(entry, home_name, sizeof home_name - 1);
  memcpy(entry + sizeof home_name - 1, home, size + 1);
  size_t count = 0;
  while (environment[count] != NULL) count++;
  char **changed = mmap(NULL, (count + 2) * sizeof *changed, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (changed == MAP_FAILED) fail(STATUS_OWN_FAILURE, "cannot set HOME: ", why(), NULL);
  size_t kept = 0;
  for (size_t i = 0; i < count; i++) {
    if (strncmp(environment[i], home_name, sizeof home_name - 1) != 0) changed[kept++] = environment[i];
  }
  changed[kept++] = entry;
  changed[kept] = NULL;
  return changed;
}

static bool same_name(const char *left, const char *right) {
  size_t i = 0;
  while (left[i] == right[i] && left[i] != '=' && left[i] != '\0') i++;
  return left[i] == '=' && right[i] == '=';
}

static bool is_replaced(const char *entry, char *const *later) {
  for (; *later != NULL; later++) {
    if (same_name(entry, *later)) return true;
  }
  return false;
}

char **environment_with(char **environment, struct text entries, size_t *size) {
  size_t before = 0;
  size_t count = 0;
  while (environment[before] != NULL) before++;
  for (size_t i = 0; i < entries.size; i++) count += entries.at[i] == '\0';
  *size = (before + count + 1) * sizeof *environment;
  char **laid = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (laid == MAP_FAILED) fail(STATUS_OWN_FAILURE, "cannot set the environment: ", why(), NULL);
  memcpy(laid, environment, before * sizeof *environment);
  for (size_t i = before; i < before + count; i++) {
    laid[i] = (char *)(uintptr_t)entries.at;
    entries.at += strlen(entries.at) + 1;
  }
  size_t kept = 0;
  for (size_t i = 0; i < before + count; i++) {
    if (!is_replaced(laid[i], laid + (i < before ? before : i + 1))) laid[kept++] = laid[i];
  }
  laid[kept] = NULL;
  return laid;
}

void enter(const char *workdir) {
  if (workdir == NULL || chdir(workdir) == 0) return;
  fail(STATUS_OWN_FAILURE, "cannot go to ", workdir, ": ", why(), NULL);
}

static const char *search_path(char **environment) {
  for (; *environment != NULL; environment++) {
    if (strncmp(*environment, "PATH=", strlen("PATH=")) == 0) return *environment + strlen("PATH=");
  }
  return default_path;
}

_Noreturn static void give_up(const char *name) {
  int status = errno == ENOENT || errno == ENOTDIR ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE;
  fail(status, "cannot run ", name, ": ", why(), NULL);
}

void execute(char **command, char **environment) {
  const char *name = command[0];
  size_t size = strlen(name);
  errno = ENOENT;
  if (size == 0) give_up("an empty name");
  if (strchr(name, '/') != NULL) {
    execve(name, command, environment);
    give_up(name);
  }
  int worst = ENOENT;
  const char *directory = search_path(environment);
  while (directory != NULL) {
    const char *end = strchr(directory, ':');
    size_t length = end == NULL ? strlen(directory) : (size_t)(end - directory);
    static char path[PATH_MAX];
    /* A relative directory would make what runs depend on where we are. */
    if (length > 0 && directory[0] == '/' && length + size + 2 <= sizeof path) {
      memcpy(path, directory, length);
      path[length] = '/';
      memcpy(path + length + 1, name, size + 1);
      execve(path, command, environment);
      if (errno != ENOENT && errno != ENOTDIR) {
        worst = errno;
        if (errno != EACCES) break;
      }
    }
    directory = end == NULL ? NULL : end + 1;
  }
  errno = worst;
  if (worst == ENOENT) fail(STATUS_NOT_FOUND, "cannot run ", name, ": not found in PATH", NULL);
  give_up(name);
}
