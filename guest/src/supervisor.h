#ifndef BOTTLE_SUPERVISOR_H
#define BOTTLE_SUPERVISOR_H

#include <stdbool.h>
#include <sys/types.h>

#include "control.h"
#include "session.h"

/* Where the command is. Without a control connection it starts at once. */
enum phase {
  /* Not started; whoever made the bottle has yet to say so. */
  PHASE_HELD,
  PHASE_RUNS,
  PHASE_ENDED,
};

struct supervisor {
  enum phase phase;
  int epoll;
  int signals;
  struct control control;
  /* NULL: there is none. */
  struct session *session;
  /* The process that makes the attempts; 0 when it has ended, or there was none. */
  pid_t prober;
  /* Whether the peer knows that we wait for it, and whether it said that we need not. */
  bool is_ready;
  bool may_start;
  pid_t command;
  /* Tells what kept the command from starting, or ends when nothing did; -1 once that is known. */
  int start;
  bool is_unrunnable;
  int status;
  /* A signal came after the command's end: whoever sends it does not want to wait for what outlived it. */
  bool hurried;
  /* Nobody needs us after the command's end. */
  bool dismissed;
};

bool has_peer(const struct supervisor *supervisor);

/* Whether there is a session whose other end is gone. */
bool is_over(const struct supervisor *supervisor);

/* Sends the signal to the command's group. */
void forward(const struct supervisor *supervisor, int number);

void reap(struct supervisor *supervisor);

/* Learns whether the command was executed, and passes it on. */
void take_start(struct supervisor *supervisor);

/* Waits up to so many milliseconds (-1: as long as it takes) and does what there is to do. */
void take_turn(struct supervisor *supervisor, int limit);

#endif
