#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "pty.h"
#include "relay.h"
#include "say.h"

enum {
  FRAMES_A_TURN = 16,
  READS_A_TURN = 64,
  FIRST_FRAME_MS = 1000,
  /* More than a terminal holds (kernel, drivers/tty/tty_buffer.c: 64 KiB); the rest would be of what the command left. */
  ALLOWANCE = 256 * 1024,
};

_Static_assert(SESSION_STDOUT < RELAY_EVENTS, "numbers of events differ");

static void watch(struct session *session, uint64_t number, int fd, uint32_t events) {
  uint32_t *watched = &session->watched[number - SESSION_STDIN];
  if (*watched == events) return;
  struct epoll_event event = {.events = events, .data = {.u64 = number}};
  /* Taken out rather than asked for nothing: a hang-up would be told of again and again. */
  int operation = *watched == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
  /* A standard output that is a file is never waited for, and cannot be. */
  if (epoll_ctl(session->epoll, operation, fd, &event) < 0 && number == SESSION_STDIN) {
    fail(STATUS_OWN_FAILURE, "cannot wait for standard input: ", why(), NULL);
  }
  *watched = events;
}

static void watch_all(struct session *session) {
  bool takes_frames = session->command != 0 && !session->has_ended && !session->is_over;
  /* Its end is looked for also when nothing is read. A pipe's is always told of. */
  uint32_t in = session->has_ended || session->is_over ? 0 : EPOLLRDHUP;
  if (takes_frames && !session->waits) in |= EPOLLIN;
  watch(session, SESSION_STDIN, STDIN_FILENO, in);
  bool is_empty = session->said_size == 0;
  if (session->input >= 0) {
    uint32_t both = takes_frames && session->waits ? EPOLLOUT : 0;
    if (session->kind == SESSION_TERMINAL && is_empty && !session->is_drained) both |= EPOLLIN;
    watch(session, SESSION_COMMAND, session->input, both);
  }
  watch(session, SESSION_STDOUT, STDOUT_FILENO, is_empty ? 0 : EPOLLOUT);
}

/*
 * Asked before each reading and writing, instead of making the streams non-blocking: that would hold for everybody who has
 * them too, and remain.
 */
static bool is_ready(int fd, short events, int limit) {
  struct pollfd one = {.fd = fd, .events = events};
  return poll(&one, 1, limit) > 0;
}

/* Reads on at the frame that is coming. True when it is whole. */
static bool receive(struct session *session) {
  while (!session->waits && !session->is_over) {
    switch (read_frame((struct text){session->bytes, session->received}, &session->frame)) {
      case FRAME_WHOLE:
        session->waits = true;
        session->given = 0;
        return true;
      case FRAME_MALFORMED: session->is_over = true; return false;
      case FRAME_PARTIAL: break;
    }
    if (!is_ready(STDIN_FILENO, POLLIN, 0)) return false;
    ssize_t got = read(STDIN_FILENO, session->bytes + session->received, session->frame.size - session->received);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return false;
    if (got <= 0) session->is_over = true;
    if (got > 0) session->received += (size_t)got;
  }
  return session->waits;
}

static void close_input(struct session *session) {
  if (session->input < 0) return;
  /* By hand, for the same reason as the relays' (relay.c). */
  watch(session, SESSION_COMMAND, session->input, 0);
  close(session->input);
  session->input = -1;
}

/* False when the command takes no more at the moment. */
static bool give(struct session *session, struct text bytes) {
  while (session->input >= 0 && session->given < bytes.size) {
    ssize_t count = write(session->input, bytes.at + session->given, bytes.size - session->given);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return false;
    if (count < 0) {
      /* A command that reads no further is no failure. What a terminal says is still heard. */
      if (session->kind == SESSION_PIPES) close_input(session);
      return true;
    }
    session->given += (size_t)count;
  }
  return true;
}

static bool give_end(struct session *session) {
  char byte = '\0';
  if (session->kind == SESSION_PIPES) {
    close_input(session);
    return true;
  }
  return !pty_end_byte(session->input, &byte) || give(session, (struct text){&byte, 1});
}

/* Does what the frame says, and is done with it. False when the command takes no more at the moment. */
static bool carry_out(struct session *session) {
  switch (session->frame.type) {
    case FRAME_DATA:
      if (!give(session, session->frame.payload)) return false;
      break;
    case FRAME_END:
      if (!give_end(session)) return false;
      break;
    case FRAME_SIZE:
      if (session->kind == SESSION_TERMINAL) resize_pty(session->input, session->frame.rows, session->frame.columns);
      break;
    case FRAME_SIGNAL:
      /* Before its first instructions made it a group, it is there by its own number only. */
      if (kill(-session->command, session->frame.signal) < 0 && errno == ESRCH) {
        kill(session->command, session->frame.signal);
      }
      break;
  }
  session->waits = false;
  session->received = 0;
  return true;
}

/* Gives standard output what it takes. True when nothing is left. */
static bool pass_on(struct session *session) {
  while (session->said_given < session->said_size && !session->is_unheard) {
    if (!is_ready(STDOUT_FILENO, POLLOUT, 0)) return false;
    size_t left = session->said_size - session->said_given;
    /* So much a pipe that is ready takes without blocking (pipe(7)). */
    if (left > PIPE_BUF) left = PIPE_BUF;
    ssize_t count = write(STDOUT_FILENO, session->said + session->said_given, left);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return false;
    session->is_unheard = count < 0;
    if (count < 0) break;
    session->said_given += (size_t)count;
    session->passed += (size_t)count;
  }
  session->said_size = 0;
  session->said_given = 0;
  return true;
}

/* False when the terminal says nothing at the moment, or any more. */
static bool listen_to(struct session *session) {
  if (session->is_drained) return false;
  size_t size = session->has_ended && session->allowance < sizeof session->said ? session->allowance : sizeof session->said;
  ssize_t got = size == 0 ? 0 : read(session->input, session->said, size);
  if (got < 0 && errno == EINTR) return true;
  if (got <= 0) {
    /* The kernel says so only after all that was written before has come through (n_tty.c). */
    session->is_drained = session->has_ended || got == 0 || errno != EAGAIN;
    return false;
  }
  session->said_size = (size_t)got;
  if (session->has_ended) session->allowance -= (size_t)got;
  return true;
}

/* Does all that is possible now, within the session's share of a turn. */
static void move(struct session *session) {
  bool takes_frames = session->command != 0 && !session->has_ended;
  for (unsigned left = takes_frames ? FRAMES_A_TURN : 0; left > 0 && receive(session) && carry_out(session); left--) continue;
  unsigned left = session->kind == SESSION_TERMINAL ? READS_A_TURN : 0;
  for (; left > 0 && pass_on(session) && listen_to(session); left--) continue;
  if (left == 0) pass_on(session);
  watch_all(session);
}

void open_session(struct session *session, enum session_kind kind, int epoll) {
  session->kind = kind;
  session->epoll = epoll;
  if (kind == SESSION_TERMINAL) {
    open_pty(&session->input, &session->theirs);
  } else {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0 || fcntl(ends[1], F_SETFL, (long)O_NONBLOCK) < 0) {
      fail(STATUS_OWN_FAILURE, "cannot make a pipe: ", why(), NULL);
    }
    session->theirs = ends[0];
    session->input = ends[1];
  }
  watch_all(session);
}

void settle_session(struct session *session) {
  int64_t deadline = clock_ms() + FIRST_FRAME_MS;
  if (session->kind != SESSION_TERMINAL) return;
  for (;;) {
    bool has_size = false;
    while (receive(session) && session->frame.type == FRAME_SIZE) has_size = carry_out(session);
    int64_t left = deadline - clock_ms();
    if (has_size || session->waits || session->is_over || left <= 0) return;
    is_ready(STDIN_FILENO, POLLIN, (int)left);
  }
}

void take_session(const struct session *session) {
  setsid();
  if (session->kind == SESSION_TERMINAL) {
    take_pty(session->theirs);
  } else if (dup3(session->theirs, STDIN_FILENO, 0) < 0) {
    fail(STATUS_OWN_FAILURE, "cannot hand over the input: ", why(), NULL);
  }
}

static void close_theirs(struct session *session) {
  if (session->theirs >= 0) close(session->theirs);
  session->theirs = -1;
}

void begin_session(struct session *session, pid_t command) {
  session->command = command;
  /* The terminal is kept open, so that it does not hang up when the command closes it and opens it again. */
  if (session->kind == SESSION_PIPES) close_theirs(session);
  move(session);
}

void session_event(struct session *session, uint64_t number, uint32_t events) {
  bool reads = (session->watched[0] & EPOLLIN) != 0;
  if (number == SESSION_STDIN && !reads && (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) session->is_over = true;
  move(session);
}

void end_session(struct session *session) {
  session->has_ended = true;
  session->allowance = ALLOWANCE;
  close_theirs(session);
  if (session->kind == SESSION_PIPES) close_input(session);
  move(session);
}

bool session_drains(const struct session *session) {
  return session->kind == SESSION_TERMINAL && (!session->is_drained || session->said_size > 0);
}
