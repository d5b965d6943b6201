#ifndef BOTTLE_OPTIONS_H
#define BOTTLE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "text.h"

enum { RELAYS_MAX = 16, PROBES_MAX = 16, PROBE_NAME_MAX = 64 };

enum mode { MODE_RUN, MODE_EXEC, MODE_PROBE, MODE_IDLE, MODE_UNPACK, MODE_ARCHIVE, MODE_SETTLE, MODE_HELP, MODE_VERSION };

/* Of `--session`: what the command has for its standard streams. */
enum session_kind { SESSION_NONE, SESSION_PIPES, SESSION_TERMINAL };

/* One `--relay`: where to listen, always on loopback, and the socket that answers. */
struct relay_address {
  bool ipv6;
  uint16_t port;
  const char *socket;
};

/* One `--probe`: what its report is called, and the attempt (attempt.h), which may be none. */
struct probe {
  struct text name;
  const char *attempt;
};

/* What the arguments ask for. Every string points into argv. */
struct options {
  enum mode mode;
  /* NULL: stay who we are. */
  const char *user;
  bool keeps_home;
  /* Of exec: everything ends with the standard input. */
  bool tied;
  /* Standard input is frames. Not with `tied`. */
  enum session_kind session;
  /* A socket that tells variables; NULL: none. */
  const char *variables;
  /* NULL: stay where we are. */
  const char *workdir;
  /* Whether capabilities are limited to `kept_capabilities`, a bit for each by its number. */
  bool limits_capabilities;
  uint64_t kept_capabilities;
  /* Milliseconds between TERM and KILL for what outlives the command. */
  unsigned grace;
  struct relay_address relays[RELAYS_MAX];
  unsigned relay_count;
  /* NULL: the command starts at once, and nobody is told of it. */
  const char *control;
  struct probe probes[PROBES_MAX];
  unsigned probe_count;
  /* Of unpack and archive: an absolute path. */
  const char *path;
  /* NULL-terminated, not empty. NULL but for MODE_RUN and MODE_EXEC. */
  char **command;
};

/* What is wrong with the arguments, and with which; both for people. */
struct complaint {
  const char *what;
  const char *about;
};

/* Reads the whole command line (argv[0] is skipped). False with a complaint when it is not one of ours. */
bool parse_options(int argc, char **argv, struct options *options, struct complaint *complaint);

extern const char usage[];

#endif
