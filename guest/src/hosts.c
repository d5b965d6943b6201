#include "hosts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "say.h"

static const char localhost[] = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/* Whether any line has more than blanks and a comment. */
static bool names_somebody(int fd) {
  char bytes[4096];
  bool is_comment = false;
  ssize_t got = 0;
  while ((got = read(fd, bytes, sizeof bytes)) != 0) {
    if (got < 0 && errno == EINTR) continue;
    /* What cannot be read is no file to write to either. */
    if (got < 0) return true;
    for (ssize_t at = 0; at < got; at++) {
      if (bytes[at] == '\n') {
        is_comment = false;
      } else if (bytes[at] == '#') {
        is_comment = true;
      } else if (!is_comment && bytes[at] != ' ' && bytes[at] != '\t' && bytes[at] != '\r') {
        return true;
      }
    }
  }
  return false;
}

void name_localhost(void) {
  struct stat found;
  /* A symlink, or anything but a file, is somebody's own arrangement. */
  int fd = open("/etc/hosts", O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) fd = open("/etc/hosts", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  /* Without an /etc nobody looks there. */
  if (fd < 0) return;
  bool is_silent = fstat(fd, &found) == 0 && S_ISREG(found.st_mode) && !names_somebody(fd);
  if (is_silent && write(fd, localhost, sizeof localhost - 1) != (ssize_t)(sizeof localhost - 1)) {
    fail(STATUS_OWN_FAILURE, "cannot write /etc/hosts: ", why(), NULL);
  }
  close(fd);
}
