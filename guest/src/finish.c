#include "finish.h"

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "relay.h"
#include "remains.h"

enum {
  ENDING_POLL_MS = 10,
  /* Rounds of KILL for what the command left, before those from outside are not spared any longer. */
  KILLS_MAX = 200,
  /* How long nobody may read what the terminal of a session said last, and the same where nobody is known to be there. */
  DRAIN_MS = 10000,
  DRAIN_ALONE_MS = 500,
};

/*
 * Ends what outlived the command: all there is besides us, also what was started from outside and is nobody's child
 * here. When we go, the kernel kills the rest.
 */
static void end_others(struct supervisor *supervisor, unsigned grace) {
  if (grace == 0 || kill(-1, SIGTERM) < 0) return;
  kill(-1, SIGCONT);
  int64_t deadline = clock_ms() + grace;
  while (!supervisor->hurried && clock_ms() < deadline) {
    reap(supervisor);
    if (kill(-1, 0) < 0) return;
    take_turn(supervisor, ENDING_POLL_MS);
  }
  kill(-1, SIGKILL);
}

/* As end_others, but spares what was started from outside. Where we are not the first process, that is all the rest. */
static void end_remains(struct supervisor *supervisor, unsigned grace) {
  enum remains remains = signal_remains(grace == 0 ? 0 : SIGTERM);
  if (remains == REMAINS_UNKNOWN) {
    if (getpid() == 1) end_others(supervisor, grace);
    return;
  }
  if (remains == REMAINS_SIGNALLED && grace > 0) signal_remains(SIGCONT);
  int64_t deadline = clock_ms() + grace;
  while (remains == REMAINS_SIGNALLED && !supervisor->hurried && clock_ms() < deadline) {
    take_turn(supervisor, ENDING_POLL_MS);
    reap(supervisor);
    remains = signal_remains(0);
  }
  for (unsigned i = 0; remains == REMAINS_SIGNALLED && i < KILLS_MAX; i++) {
    remains = signal_remains(SIGKILL);
    reap(supervisor);
  }
  /* What multiplies faster than it can be counted. */
  if (remains != REMAINS_NONE && getpid() == 1) kill(-1, SIGKILL);
}

/* Nobody is there any more: the command is told in the ways in which it hears of that, and does not outlive the grace. */
static void hang_up_on(struct supervisor *supervisor, unsigned grace) {
  int64_t deadline = clock_ms() + grace;
  forward(supervisor, SIGHUP);
  forward(supervisor, SIGTERM);
  forward(supervisor, SIGCONT);
  while (supervisor->phase == PHASE_RUNS && !supervisor->hurried && clock_ms() < deadline) {
    take_turn(supervisor, ENDING_POLL_MS);
  }
  while (supervisor->phase == PHASE_RUNS) {
    forward(supervisor, SIGKILL);
    signal_remains(SIGKILL);
    take_turn(supervisor, ENDING_POLL_MS);
  }
}

/* Passes on what the terminal of a session still holds, for as long as somebody reads it. */
static void drain(struct supervisor *supervisor) {
  struct session *session = supervisor->session;
  int64_t limit = session->is_over ? DRAIN_ALONE_MS : DRAIN_MS;
  end_session(session);
  uint64_t passed = session->passed;
  int64_t deadline = clock_ms() + limit;
  while (session_drains(session) && !supervisor->hurried && clock_ms() < deadline) {
    take_turn(supervisor, (int)limit);
    if (session->passed != passed) deadline = clock_ms() + limit;
    passed = session->passed;
  }
}

/* Stays for the programs that were started from outside, until somebody says that it is over. */
static void linger(struct supervisor *supervisor) {
  if (!tell_exited(&supervisor->control, supervisor->status) || is_over(supervisor)) return;
  while (has_peer(supervisor) && !supervisor->dismissed) take_turn(supervisor, -1);
}

int finish(struct supervisor *supervisor, const struct options *options) {
  if (supervisor->phase == PHASE_RUNS) hang_up_on(supervisor, options->grace);
  if (supervisor->start >= 0) take_start(supervisor);
  if (supervisor->session != NULL) drain(supervisor);
  if (options->mode == MODE_EXEC) return supervisor->status;
  unsigned grace = is_over(supervisor) ? 0 : options->grace;
  bool lingers = has_peer(supervisor) && !supervisor->dismissed && !supervisor->is_unrunnable;
  if (getpid() == 1 && !lingers) {
    end_others(supervisor, grace);
  } else if (getpid() == 1 || supervisor->session != NULL) {
    end_remains(supervisor, grace);
  }
  if (lingers && has_peer(supervisor)) linger(supervisor);
  return supervisor->status;
}
