#ifndef BOTTLE_SESSION_H
#define BOTTLE_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "frames.h"
#include "options.h"

/*
 * A command whose input comes in frames (frames.h) on our standard input, because who speaks to it is behind a line that
 * carries nothing but bytes: no terminal, no signals, and no word of its own end but the line's. What comes in is taken no
 * faster than the command takes it, and what the terminal says no faster than our standard output.
 */

/* Events of a session carry these numbers. */
enum { SESSION_STDIN = 8, SESSION_COMMAND = 9, SESSION_STDOUT = 10 };

struct session {
  enum session_kind kind;
  int epoll;
  /* 0 until it has started. */
  pid_t command;
  bool has_ended;
  /* Our standard input has ended: nobody is there any more. */
  bool is_over;
  /* Into the command: a pipe, or the master of its terminal; -1 once it is closed. */
  int input;
  /* The command's end of it. */
  int theirs;
  /* The frame that is coming or waits to be done; `given` counts what of its payload the command has. */
  char bytes[FRAME_MAX];
  size_t received;
  struct frame frame;
  bool waits;
  size_t given;
  /* What the terminal said and standard output has yet to take. */
  char said[64 * 1024];
  size_t said_size;
  size_t said_given;
  /* Nobody reads our standard output. */
  bool is_unheard;
  /* There is nothing more to come from the terminal. */
  bool is_drained;
  /* What is still read from the terminal once the command has ended. */
  size_t allowance;
  /* All bytes that standard output took. */
  uint64_t passed;
  /* What the epoll looks for, by event number. */
  uint32_t watched[3];
};

/* Makes the terminal or the pipe, as the user, and looks for the end of standard input from now on. Fails by itself. */
void open_session(struct session *session, enum session_kind kind, int epoll);

/* Just before the command: a terminal gets the size that was asked for first. Waits a second for it at most. */
void settle_session(struct session *session);

/* For the child, before the command: its own session, its streams. Fails by itself. */
void take_session(const struct session *session);

/* The command has started. */
void begin_session(struct session *session, pid_t command);

/* Takes one event of the epoll. */
void session_event(struct session *session, uint64_t number, uint32_t events);

/* The command has ended: no more frames, and what its terminal still holds is to be passed on. */
void end_session(struct session *session);

/* Whether something of that is left. */
bool session_drains(const struct session *session);

#endif
