#include "supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "account.h"
#include "command.h"
#include "finish.h"
#include "identity.h"
#include "loopback.h"
#include "probe.h"
#include "relay.h"
#include "remains.h"
#include "say.h"
#include "supervisor.h"
#include "terminal.h"
#include "variables.h"

enum { EVENTS_A_BATCH = 256 };

/* The epoll's numbers for what is not the relays'. */
enum { SIGNAL_EVENT, CONTROL_EVENT, START_EVENT };

static bool watch_event(const struct supervisor *supervisor, int fd, uint64_t number) {
  struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = number}};
  return fd >= 0 && epoll_ctl(supervisor->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static void open_events(struct supervisor *supervisor, const sigset_t *watched) {
  supervisor->epoll = epoll_create1(EPOLL_CLOEXEC);
  supervisor->signals = signalfd(-1, watched, SFD_NONBLOCK | SFD_CLOEXEC);
  if (supervisor->epoll < 0 || !watch_event(supervisor, supervisor->signals, SIGNAL_EVENT)) {
    fail(STATUS_OWN_FAILURE, "cannot wait for events: ", why(), NULL);
  }
}

/* Every signal but those that tell of a fault of our own. */
static void catchable(sigset_t *set) {
  static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
  sigfillset(set);
  for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) sigdelset(set, faults[i]);
}

/* Those that end the waiting for the command's start. The others wait for the command, as they always do. */
static void ending(sigset_t *set) {
  sigemptyset(set);
  sigaddset(set, SIGTERM);
  sigaddset(set, SIGINT);
  sigaddset(set, SIGQUIT);
  sigaddset(set, SIGCHLD);
}

static struct rlimit raise_file_limit(void) {
  struct rlimit before = {0, 0};
  if (prlimit(0, RLIMIT_NOFILE, NULL, &before) == 0) {
    struct rlimit raised = {before.rlim_max, before.rlim_max};
    prlimit(0, RLIMIT_NOFILE, &raised, NULL);
  }
  return before;
}

bool has_peer(const struct supervisor *supervisor) { return supervisor->control.fd >= 0; }

/* The peer is gone, or has lost its senses. A command that was not started then never is. */
static void lose_peer(struct supervisor *supervisor, const char *what) {
  if (supervisor->phase == PHASE_HELD) fail(STATUS_OWN_FAILURE, "not started: ", what, NULL);
  /* By hand, for the same reason as the relays' (relay.c). */
  epoll_ctl(supervisor->epoll, EPOLL_CTL_DEL, supervisor->control.fd, NULL);
  forget_entries(&supervisor->control);
  close_control(&supervisor->control);
}

static void take_messages(struct supervisor *supervisor) {
  while (has_peer(supervisor)) {
    switch (next_message(&supervisor->control)) {
      case MESSAGE_NONE: return;
      case MESSAGE_GO:
        if (supervisor->is_ready && supervisor->phase == PHASE_HELD) {
          supervisor->may_start = true;
          return;
        }
        lose_peer(supervisor, "a go that nobody asked for");
        break;
      case MESSAGE_END:
        if (supervisor->phase == PHASE_HELD) _exit(0);
        supervisor->dismissed = true;
        break;
      case MESSAGE_GONE: lose_peer(supervisor, "the control connection ended"); break;
      case MESSAGE_MALFORMED: lose_peer(supervisor, "a malformed message on the control connection"); break;
    }
  }
}

void take_start(struct supervisor *supervisor) {
  char words[512];
  ssize_t got = read(supervisor->start, words, sizeof words);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  close(supervisor->start);
  supervisor->start = -1;
  supervisor->is_unrunnable = got > 0;
  if (!has_peer(supervisor)) return;
  bool told = got > 0 ? tell_unrunnable(&supervisor->control, words[0], (struct text){words + 1, (size_t)got - 1})
                      : tell_event(&supervisor->control, "started");
  if (!told) lose_peer(supervisor, "");
}

bool is_over(const struct supervisor *supervisor) {
  return supervisor->session != NULL && supervisor->session->is_over;
}

static void take_session_event(struct supervisor *supervisor, const struct epoll_event *event) {
  session_event(supervisor->session, event->data.u64, event->events);
  if (supervisor->phase == PHASE_HELD && is_over(supervisor)) {
    fail(STATUS_OWN_FAILURE, "not started: standard input ended", NULL);
  }
}

void forward(const struct supervisor *supervisor, int number) {
  /* Before its first instructions made it a group, it is there by its own number only. */
  if (kill(-supervisor->command, number) < 0 && errno == ESRCH) kill(supervisor->command, number);
}

void reap(struct supervisor *supervisor) {
  for (;;) {
    int status = 0;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid < 0 && errno == EINTR) continue;
    if (pid <= 0) return;
    /* Once they were reaped, their numbers may be anybody's. */
    if (pid == supervisor->prober) {
      supervisor->prober = 0;
      if (status != 0) fail(STATUS_OWN_FAILURE, "not started: the probes could not be told", NULL);
    }
    if (pid != supervisor->command || supervisor->phase != PHASE_RUNS) continue;
    supervisor->phase = PHASE_ENDED;
    supervisor->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
}

static void take_signal(struct supervisor *supervisor, int number) {
  bool asks = number == SIGTERM || number == SIGQUIT;
  switch (supervisor->phase) {
    case PHASE_HELD:
      if (asks || number == SIGINT) _exit(128 + number);
      break;
    case PHASE_RUNS: forward(supervisor, number); break;
    case PHASE_ENDED:
      supervisor->hurried = supervisor->hurried || asks || number == SIGINT;
      supervisor->dismissed = supervisor->dismissed || asks;
      break;
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
    } else {
      take_signal(supervisor, number);
    }
  }
}

void take_turn(struct supervisor *supervisor, int limit) {
  static struct epoll_event events[EVENTS_A_BATCH];
  int timeout = relay_timeout();
  if (timeout < 0 || (limit >= 0 && limit < timeout)) timeout = limit;
  int count = epoll_wait(supervisor->epoll, events, EVENTS_A_BATCH, timeout);
  if (count < 0 && errno != EINTR) fail(STATUS_OWN_FAILURE, "cannot wait for events: ", why(), NULL);
  for (int i = 0; i < count; i++) {
    switch (events[i].data.u64) {
      case SIGNAL_EVENT: take_signals(supervisor); break;
      case CONTROL_EVENT: take_messages(supervisor); break;
      case START_EVENT: take_start(supervisor); break;
      case SESSION_STDIN:
      case SESSION_COMMAND:
      case SESSION_STDOUT: take_session_event(supervisor, &events[i]); break;
      default: relay_event(events[i].data.u64, events[i].events);
    }
  }
  relay_turn();
}

/* Makes the attempts while the relays run, tells that all is ready, and waits for the peer's go. */
static void hold(struct supervisor *supervisor, const struct options *options, const sigset_t *watched) {
  sigset_t ends;
  ending(&ends);
  if (signalfd(supervisor->signals, &ends, SFD_NONBLOCK | SFD_CLOEXEC) < 0 ||
      !watch_event(supervisor, supervisor->control.fd, CONTROL_EVENT)) {
    fail(STATUS_OWN_FAILURE, "cannot wait for events: ", why(), NULL);
  }
  if (options->probe_count > 0) {
    supervisor->prober = fork();
    if (supervisor->prober < 0) fail(STATUS_OWN_FAILURE, "cannot start a process: ", why(), NULL);
    if (supervisor->prober == 0) {
      prctl(PR_SET_PDEATHSIG, (long)SIGKILL, 0L, 0L, 0L);
      _exit(run_probes(options, supervisor->control.fd) ? 0 : STATUS_OWN_FAILURE);
    }
  }
  while (supervisor->prober > 0) take_turn(supervisor, -1);
  supervisor->is_ready = true;
  if (!tell_event(&supervisor->control, "ready")) lose_peer(supervisor, "the control connection ended");
  while (!supervisor->may_start) take_turn(supervisor, -1);
  if (signalfd(supervisor->signals, watched, SFD_NONBLOCK | SFD_CLOEXEC) < 0) {
    fail(STATUS_OWN_FAILURE, "cannot wait for events: ", why(), NULL);
  }
}

_Noreturn static void start(const struct supervisor *supervisor, const struct options *options, char **environment,
                            enum terminal terminal, const struct rlimit *files, const sigset_t *mask) {
  if (supervisor->session != NULL) {
    take_session(supervisor->session);
  } else {
    take_terminal(terminal);
  }
  prlimit(0, RLIMIT_NOFILE, files, NULL);
  enter(options->workdir);
  sigprocmask(SIG_SETMASK, mask, NULL);
  execute(options->command, environment);
}

static void start_command(struct supervisor *supervisor, const struct options *options, char **environment,
                          enum terminal terminal, const struct rlimit *files, const sigset_t *mask) {
  struct text entries = {supervisor->control.entries, supervisor->control.size};
  int ends[2] = {-1, -1};
  size_t size = 0;
  if (supervisor->control.entries != NULL) environment = environment_with(environment, entries, &size);
  if (has_peer(supervisor)) {
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0 || !watch_event(supervisor, ends[0], START_EVENT)) {
      fail(STATUS_OWN_FAILURE, "cannot start a process: ", why(), NULL);
    }
  }
  supervisor->command = fork();
  if (supervisor->command < 0) fail(STATUS_OWN_FAILURE, "cannot start a process: ", why(), NULL);
  if (supervisor->command == 0) {
    tell_failures(ends[1]);
    start(supervisor, options, environment, terminal, files, mask);
  }
  supervisor->phase = PHASE_RUNS;
  supervisor->start = ends[0];
  if (ends[1] >= 0) close(ends[1]);
  /* The command has its own copy, and nobody else is to find one here. */
  forget_entries(&supervisor->control);
  if (size > 0) munmap(environment, size);
  if (supervisor->session != NULL) begin_session(supervisor->session, supervisor->command);
}

static void make_session(struct supervisor *supervisor, const struct options *options) {
  static struct session session;
  if (options->session == SESSION_NONE) return;
  supervisor->session = &session;
  open_session(&session, options->session, supervisor->epoll);
}

int supervise(const struct options *options, char **environment) {
  static struct account account;
  struct supervisor supervisor = {.phase = PHASE_HELD, .control = {.fd = -1}, .start = -1};
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
  if (options->control != NULL) open_control(&supervisor.control, options->control);

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

  make_session(&supervisor, options);
  if (options->variables != NULL) ask_variables(&supervisor.control, options->variables);
  if (has_peer(&supervisor)) hold(&supervisor, options, &watched);
  enum terminal terminal = supervisor.session == NULL ? release_terminal() : TERMINAL_OWN;
  if (supervisor.session != NULL) settle_session(supervisor.session);
  if (is_over(&supervisor)) fail(STATUS_OWN_FAILURE, "not started: standard input ended", NULL);
  start_command(&supervisor, options, environment, terminal, &files, &mask);
  while (supervisor.phase != PHASE_ENDED && !is_over(&supervisor)) take_turn(&supervisor, -1);
  recover_terminal(terminal);
  if (options->mode == MODE_EXEC && supervisor.phase != PHASE_ENDED) {
    kill_descendants(supervisor.command);
    return 128 + SIGKILL;
  }
  return finish(&supervisor, options);
}
