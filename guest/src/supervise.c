#include "supervise.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "account.h"
#include "command.h"
#include "identity.h"
#include "loopback.h"
#include "relay.h"
#include "say.h"
#include "terminal.h"

enum { EVENTS_A_BATCH = 256, ENDING_POLL_MS = 10 };

/* The epoll's number for signals. */
#define SIGNAL_EVENT UINT64_C(0)

struct supervisor {
  int epoll;
  int signals;
  pid_t command;
  /* Set once the command was reaped: its number may then be anybody's. */
  bool ended;
  int status;
  /* Whether a signal came after the command's end: whoever sends it does not want to wait. */
  bool hurried;
};

static void open_events(struct supervisor *supervisor, const sigset_t *watched) {
  supervisor->epoll = epoll_create1(EPOLL_CLOEXEC);
  supervisor->signals = signalfd(-1, watched, SFD_NONBLOCK | SFD_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = SIGNAL_EVENT}};
  if (supervisor->epoll < 0 || supervisor->signals < 0 ||
      epoll_ctl(supervisor->epoll, EPOLL_CTL_ADD, supervisor->signals, &event) < 0) {
    fail(STATUS_OWN_FAILURE, "cannot wait for events: ", why(), NULL);
  }
}

/* Every signal but those that tell of a fault of our own. */
static void catchable(sigset_t *set) {
  static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
  sigfillset(set);
  for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) sigdelset(set, faults[i]);
}

static struct rlimit raise_file_limit(void) {
  struct rlimit before = {0, 0};
  if (prlimit(0, RLIMIT_NOFILE, NULL, &before) == 0) {
    struct rlimit raised = {before.rlim_max, before.rlim_max};
    prlimit(0, RLIMIT_NOFILE, &raised, NULL);
  }
  return before;
}

static void forward(const struct supervisor *supervisor, int number) {
  /* Before its first instructions made it a group, it is there by its own number only. */
  if (kill(-supervisor->command, number) < 0 && errno == ESRCH) kill(supervisor->command, number);
}

static void reap(struct supervisor *supervisor) {
  for (;;) {
    int status = 0;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid < 0 && errno == EINTR) continue;
    if (pid <= 0) return;
    if (pid != supervisor->command || supervisor->ended) continue;
    supervisor->ended = true;
    supervisor->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
}

static void take_signals(struct supervisor *supervisor) {
  struct signalfd_siginfo info;
  while (read(supervisor->signals, &info, sizeof info) == (ssize_t)sizeof info) {
    int number = (int)info.ssi_signo;
    /* SIGPIPE is about our own writing; the two others about our own use of the terminal. */
    if (number == SIGPIPE || number == SIGTTIN || number == SIGTTOU) continue;
    if (number == SIGCHLD) {
      reap(supervisor);
    } else if (supervisor->ended) {
      supervisor->hurried = supervisor->hurried || number == SIGTERM || number == SIGINT || number == SIGQUIT;
    } else {
      forward(supervisor, number);
    }
  }
}

/* Waits up to so many milliseconds (-1: as long as it takes) and does what there is to do. */
static void take_turn(struct supervisor *supervisor, int limit) {
  static struct epoll_event events[EVENTS_A_BATCH];
  int timeout = relay_timeout();
  if (timeout < 0 || (limit >= 0 && limit < timeout)) timeout = limit;
  int count = epoll_wait(supervisor->epoll, events, EVENTS_A_BATCH, timeout);
  if (count < 0 && errno != EINTR) fail(STATUS_OWN_FAILURE, "cannot wait for events: ", why(), NULL);
  for (int i = 0; i < count; i++) {
    if (events[i].data.u64 == SIGNAL_EVENT) {
      take_signals(supervisor);
    } else {
      relay_event(events[i].data.u64, events[i].events);
    }
  }
  relay_turn();
}

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

_Noreturn static void start(const struct options *options, char **environment, enum terminal terminal,
                            const struct rlimit *files, const sigset_t *mask) {
  take_terminal(terminal);
  prlimit(0, RLIMIT_NOFILE, files, NULL);
  enter(options->workdir);
  sigprocmask(SIG_SETMASK, mask, NULL);
  execute(options->command, environment);
}

int supervise(const struct options *options, char **environment) {
  static struct account account;
  struct supervisor supervisor = {.command = 0};
  sigset_t watched;
  sigset_t mask;
  catchable(&watched);
  sigprocmask(SIG_SETMASK, &watched, &mask);
  /* Where it is inherited as ignored, nobody could be waited for (sigaction(2)). */
  signal(SIGCHLD, SIG_DFL);
  open_events(&supervisor, &watched);
  struct rlimit files = raise_file_limit();
  raise_loopback(options->relay_count > 0);
  open_relays(options, supervisor.epoll);

  const struct account *wanted = NULL;
  if (options->user != NULL) {
    load_account(options->user, &account);
    wanted = &account;
  }
  environment = environment_with_home(environment, wanted != NULL && !options->keeps_home ? account.home : NULL);
  /* We become the user too, so that no process in the bottle keeps more rights than the command has. */
  become(wanted, options);
  /* And are closed to the others of that user: they can neither trace us nor open what we have open (ptrace(2)). */
  prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L);
  /* Orphans come to us even where we are not the first process. */
  prctl(PR_SET_CHILD_SUBREAPER, 1L, 0L, 0L, 0L);

  enum terminal terminal = release_terminal();
  supervisor.command = fork();
  if (supervisor.command < 0) fail(STATUS_OWN_FAILURE, "cannot start a process: ", why(), NULL);
  if (supervisor.command == 0) start(options, environment, terminal, &files, &mask);
  while (!supervisor.ended) take_turn(&supervisor, -1);
  recover_terminal(terminal);
  if (getpid() == 1) end_others(&supervisor, options->grace);
  return supervisor.status;
}
