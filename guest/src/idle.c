#include "idle.h"

#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>

void idle(void) {
  sigset_t awaited;
  sigset_t all;
  sigemptyset(&awaited);
  sigaddset(&awaited, SIGTERM);
  sigaddset(&awaited, SIGINT);
  sigaddset(&awaited, SIGCHLD);
  /* Also what would end us where we are not the first process. */
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  /* Where it is inherited as ignored, nobody could be waited for (sigaction(2)). */
  signal(SIGCHLD, SIG_DFL);
  for (;;) {
    int number = sigtimedwait(&awaited, NULL, NULL);
    if (number == SIGTERM || number == SIGINT) return;
    while (waitpid(-1, NULL, WNOHANG) > 0) continue;
  }
}
