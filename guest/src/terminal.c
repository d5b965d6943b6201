#include "terminal.h"

#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

bool is_terminal(int fd) {
  /* Any request that only terminals answer; this one has the same shape on all machines. */
  struct winsize size;
  return ioctl(fd, TIOCGWINSZ, &size) == 0;
}

static bool is_in_front(void) {
  pid_t front = 0;
  return ioctl(STDIN_FILENO, TIOCGPGRP, &front) == 0 && front == getpgrp();
}

/* Works only from a group in the background because SIGTTOU is blocked. */
static void bring_to_front(void) {
  pid_t group = getpgrp();
  ioctl(STDIN_FILENO, TIOCSPGRP, &group);
}

enum terminal release_terminal(void) {
  pid_t session = 0;
  /* Fails for no terminal, and for one that is not our controlling terminal. */
  if (ioctl(STDIN_FILENO, TIOCGSID, &session) < 0 || session != getsid(0)) return TERMINAL_OWN;
  if (session != getpid()) return is_in_front() ? TERMINAL_SHARED : TERMINAL_OWN;
  if (ioctl(STDIN_FILENO, TIOCNOTTY, 0L) < 0) return TERMINAL_SHARED;
  /* Letting go hangs up on the group in front, which is us (kernel, drivers/tty/tty_jobctrl.c, disassociate_ctty). */
  sigset_t hangup;
  struct timespec now = {0, 0};
  sigemptyset(&hangup);
  sigaddset(&hangup, SIGHUP);
  sigaddset(&hangup, SIGCONT);
  while (sigtimedwait(&hangup, NULL, &now) > 0) continue;
  return TERMINAL_OWN;
}

void take_terminal(enum terminal terminal) {
  if (terminal == TERMINAL_SHARED) {
    setpgid(0, 0);
    bring_to_front();
    return;
  }
  setsid();
  ioctl(STDIN_FILENO, TIOCSCTTY, 0L);
}

void recover_terminal(enum terminal terminal) {
  if (terminal == TERMINAL_SHARED) bring_to_front();
}
