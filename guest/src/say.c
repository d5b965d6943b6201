#include "say.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

struct line {
  char bytes[1024];
  size_t size;
};

static void add(struct line *line, const char *part) {
  for (; *part != '\0' && line->size < sizeof line->bytes - 1; part++) {
    unsigned char byte = (unsigned char)*part;
    line->bytes[line->size++] = byte < 0x20 || byte == 0x7f ? '?' : *part;
  }
}

/* Where `fail` tells its status and words too; -1 for nowhere. */
static int failures = -1;

void tell_failures(int fd) { failures = fd; }

static struct line collect(const char *prefix, const char *first, va_list rest) {
  struct line line = {.size = strlen(prefix)};
  memcpy(line.bytes, prefix, line.size);
  for (const char *part = first; part != NULL; part = va_arg(rest, const char *)) add(&line, part);
  return line;
}

static void say_all(const char *first, va_list rest) {
  struct line line = collect("bottle-init: ", first, rest);
  line.bytes[line.size++] = '\n';
  /* One write, so that lines of several processes do not mix; there is nobody to tell if it fails. */
  if (write(STDERR_FILENO, line.bytes, line.size) < 0) return;
}

void say(const char *first, ...) {
  va_list rest;
  va_start(rest, first);
  say_all(first, rest);
  va_end(rest);
}

void fail(int status, const char *first, ...) {
  va_list rest;
  va_start(rest, first);
  say_all(first, rest);
  va_end(rest);
  if (failures >= 0) {
    const char mark[] = {(char)status, '\0'};
    va_start(rest, first);
    struct line line = collect(mark, first, rest);
    va_end(rest);
    /* As above: nobody to tell. */
    if (write(failures, line.bytes, line.size) < 0) _exit(status);
  }
  _exit(status);
}

const char *why(void) {
  static const struct {
    int number;
    const char *words;
  } known[] = {
      {EPERM, "Operation not permitted"},
      {ENOENT, "No such file or directory"},
      {EIO, "Input/output error"},
      {E2BIG, "Argument list too long"},
      {ENOEXEC, "Exec format error"},
      {EAGAIN, "Resource temporarily unavailable"},
      {ENOMEM, "Cannot allocate memory"},
      {EACCES, "Permission denied"},
      {ENODEV, "No such device"},
      {ENOTDIR, "Not a directory"},
      {EISDIR, "Is a directory"},
      {EINVAL, "Invalid argument"},
      {ENFILE, "Too many open files in system"},
      {EMFILE, "Too many open files"},
      {ETXTBSY, "Text file busy"},
      {EEXIST, "File exists"},
      {EXDEV, "Invalid cross-device link"},
      {ENOSPC, "No space left on device"},
      {EFBIG, "File too large"},
      {EROFS, "Read-only file system"},
      {ENAMETOOLONG, "File name too long"},
      {ENOSYS, "Function not implemented"},
      {ELOOP, "Too many levels of symbolic links"},
      {EPIPE, "Broken pipe"},
      {EPROTONOSUPPORT, "Protocol not supported"},
      {EAFNOSUPPORT, "Address family not supported by protocol"},
      {EADDRINUSE, "Address already in use"},
      {EADDRNOTAVAIL, "Cannot assign requested address"},
      {ENETDOWN, "Network is down"},
      {ENETUNREACH, "Network is unreachable"},
      {ECONNRESET, "Connection reset by peer"},
      {ENOBUFS, "No buffer space available"},
      {ETIMEDOUT, "Connection timed out"},
      {ECONNREFUSED, "Connection refused"},
      {EHOSTUNREACH, "No route to host"},
  };
  static char unknown[] = "error \0\0\0\0\0\0\0\0\0\0";
  int number = errno;
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (known[i].number == number) return known[i].words;
  }
  size_t at = strlen("error ");
  unsigned left = (unsigned)number;
  unsigned unit = 1;
  while (left / unit >= 10) unit *= 10;
  for (; unit > 0; unit /= 10) unknown[at++] = (char)('0' + left / unit % 10);
  unknown[at] = '\0';
  return unknown;
}
