#ifndef BOTTLE_CONTROL_H
#define BOTTLE_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "text.h"

enum { ENTRIES_SIZE_MAX = 1 << 20, ENTRIES_MAX = 4096 };

/* The connection to whoever made the bottle: docs/bottle-init.md has what is said on it. */
struct control {
  /* -1: none, or gone. */
  int fd;
  /* The line that is coming, read byte by byte so that nothing after it is touched. */
  char line[16];
  size_t line_size;
  /* The environment that comes after `go`: NAME=VALUE entries, each with a NUL. Secret. */
  char *entries;
  size_t size;
  size_t received;
  bool reads_entries;
};

enum message {
  /* Not all of one has come. */
  MESSAGE_NONE,
  /* The entries are there, and are entries. */
  MESSAGE_GO,
  MESSAGE_END,
  /* The peer is gone. */
  MESSAGE_GONE,
  MESSAGE_MALFORMED,
};

/* Connects. Fails by itself. */
void open_control(struct control *control, const char *path);

/* The next message, without waiting for it. */
enum message next_message(struct control *control);

/* Whether these are entries of an environment: each has a name, an '=' and a NUL, and there are not too many. */
bool are_entries(struct text entries);

/* Wipes the environment. */
void forget_entries(struct control *control);

void close_control(struct control *control);

/* Each says one event; false when the peer is gone. */
bool tell_event(struct control *control, const char *event);
bool tell_exited(struct control *control, int status);
bool tell_unrunnable(struct control *control, int status, struct text detail);

#endif
