#include "tie.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"
#include "number.h"
#include "remains.h"
#include "say.h"

enum { HEADER_MAX = 64, ENVIRONMENT_MAX = 4 << 20, INPUT_MAX = 1 << 30 };

#define SIGNAL_EVENT UINT64_C(0)
#define TIE_EVENT UINT64_C(1)
#define INPUT_EVENT UINT64_C(2)

struct tie {
  int epoll;
  int signals;
  pid_t command;
  bool ended;
  int status;
  /* The command's input: all of it is taken in at once, or the end of the tie would wait behind it. */
  char *input;
  size_t size;
  size_t received;
  size_t written;
  /* The pipe into the command, -1 once it is closed. */
  int pipe;
};

static void *room(size_t size) {
  if (size == 0) return NULL;
  void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) fail(STATUS_OWN_FAILURE, "no memory for what comes with the command: ", why(), NULL);
  return at;
}

/* False at the end of the standard input. */
static bool read_some(char *bytes, size_t size, size_t *got) {
  ssize_t count = 0;
  do count = read(STDIN_FILENO, bytes, size);
  while (count < 0 && errno == EINTR);
  if (count <= 0) return false;
  *got = (size_t)count;
  return true;
}

static void read_all(char *bytes, size_t size) {
  size_t got = 0;
  for (size_t done = 0; done < size; done += got) {
    if (!read_some(bytes + done, size - done, &got)) fail(STATUS_OWN_FAILURE, "standard input ended too early", NULL);
  }
}

/* "go VARIABLES INPUT\n", both in bytes. */
static void read_header(uint32_t *variables, uint32_t *input) {
  char line[HEADER_MAX];
  size_t size = 0;
  do {
    if (size == sizeof line) fail(STATUS_OWN_FAILURE, "standard input does not begin with a go", NULL);
    read_all(line + size, 1);
  } while (line[size++] != '\n');
  size--;
  const char *space = size > 3 && strncmp(line, "go ", 3) == 0 ? memchr(line + 3, ' ', size - 3) : NULL;
  if (space == NULL || !read_number(line + 3, (size_t)(space - line - 3), ENVIRONMENT_MAX, variables) ||
      !read_number(space + 1, (size_t)(line + size - space - 1), INPUT_MAX, input)) {
    fail(STATUS_OWN_FAILURE, "standard input does not begin with a go", NULL);
  }
}

static bool same_name(const char *entry, const char *other) {
  const char *end = strchr(entry, '=');
  return end != NULL && strncmp(entry, other, (size_t)(end - entry) + 1) == 0;
}

/* The environment with the NUL-terminated NAME=VALUE of the block over it. */
static char **overlay(char **environment, char *block, size_t size) {
  if (size == 0) return environment;
  if (block[size - 1] != '\0') fail(STATUS_OWN_FAILURE, "a variable that came with the go has no end", NULL);
  size_t count = 0;
  while (environment[count] != NULL) count++;
  for (size_t at = 0; at < size; at++) count += block[at] == '\0' ? 1 : 0;
  char **merged = room((count + 1) * sizeof *merged);
  size_t kept = 0;
  for (size_t at = 0; at < size; at += strlen(block + at) + 1) merged[kept++] = block + at;
  size_t given = kept;
  for (; *environment != NULL; environment++) {
    bool replaced = false;
    for (size_t i = 0; i < given && !replaced; i++) replaced = same_name(merged[i], *environment);
    if (!replaced) merged[kept++] = *environment;
  }
  merged[kept] = NULL;
  return merged;
}

static void watch(const struct tie *tie, int fd, uint32_t what, uint64_t name) {
  struct epoll_event event = {.events = what, .data = {.u64 = name}};
  if (epoll_ctl(tie->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
    fail(STATUS_OWN_FAILURE, "cannot wait for events: ", why(), NULL);
  }
}

static void close_input(struct tie *tie) {
  close(tie->pipe);
  tie->pipe = -1;
}

static void feed(struct tie *tie) {
  while (tie->pipe >= 0 && tie->written < tie->received) {
    ssize_t count = write(tie->pipe, tie->input + tie->written, tie->received - tie->written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    /* A command that reads no further is no failure. */
    if (count < 0) {
      close_input(tie);
      return;
    }
    tie->written += (size_t)count;
  }
  if (tie->pipe >= 0 && tie->written == tie->size) close_input(tie);
}

static void reap(struct tie *tie) {
  for (;;) {
    int status = 0;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid < 0 && errno == EINTR) continue;
    if (pid <= 0) return;
    if (pid != tie->command) continue;
    tie->ended = true;
    tie->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
}

/* False when the tie has ended. */
static bool take_in(struct tie *tie) {
  char ignored[256];
  size_t got = 0;
  if (tie->received == tie->size) return read_some(ignored, sizeof ignored, &got);
  if (!read_some(tie->input + tie->received, tie->size - tie->received, &got)) return false;
  tie->received += got;
  feed(tie);
  return true;
}

/* False when the tie has ended. */
static bool take_turn(struct tie *tie) {
  struct epoll_event events[4];
  struct signalfd_siginfo info;
  int count = epoll_wait(tie->epoll, events, 4, -1);
  if (count < 0 && errno != EINTR) fail(STATUS_OWN_FAILURE, "cannot wait for events: ", why(), NULL);
  for (int i = 0; i < count; i++) {
    switch (events[i].data.u64) {
      case SIGNAL_EVENT:
        while (read(tie->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        }
        reap(tie);
        break;
      case TIE_EVENT:
        if (!take_in(tie)) return false;
        break;
      default: feed(tie); break;
    }
  }
  return true;
}

_Noreturn static void start(const struct options *options, char **environment, int input, const sigset_t *mask) {
  setsid();
  if (dup3(input, STDIN_FILENO, 0) < 0) fail(STATUS_OWN_FAILURE, "cannot hand over the input: ", why(), NULL);
  enter(options->workdir);
  sigprocmask(SIG_SETMASK, mask, NULL);
  execute(options->command, environment);
}

int run_tied(const struct options *options, char **environment) {
  uint32_t variables = 0;
  uint32_t input = 0;
  /* Nobody else of this user may read what is about to come in, or untie us (ptrace(2)). */
  prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L);
  read_header(&variables, &input);
  char *block = room(variables);
  read_all(block, variables);
  environment = overlay(environment, block, variables);

  struct tie tie = {.input = room(input), .size = input, .pipe = -1};
  sigset_t watched;
  sigset_t mask;
  sigemptyset(&watched);
  sigaddset(&watched, SIGCHLD);
  tie.signals = signalfd(-1, &watched, SFD_NONBLOCK | SFD_CLOEXEC);
  sigaddset(&watched, SIGPIPE);
  sigprocmask(SIG_BLOCK, &watched, &mask);
  /* Where it is inherited as ignored, nobody could be waited for (sigaction(2)). */
  signal(SIGCHLD, SIG_DFL);
  prctl(PR_SET_CHILD_SUBREAPER, 1L, 0L, 0L, 0L);

  int ends[2];
  tie.epoll = epoll_create1(EPOLL_CLOEXEC);
  if (tie.epoll < 0 || tie.signals < 0 || pipe2(ends, O_CLOEXEC) < 0) {
    fail(STATUS_OWN_FAILURE, "cannot wait for events: ", why(), NULL);
  }
  tie.pipe = ends[1];
  tie.command = fork();
  if (tie.command < 0) fail(STATUS_OWN_FAILURE, "cannot start a process: ", why(), NULL);
  if (tie.command == 0) start(options, environment, ends[0], &mask);
  close(ends[0]);
  fcntl(tie.pipe, F_SETFL, (long)O_NONBLOCK);
  watch(&tie, tie.signals, EPOLLIN, SIGNAL_EVENT);
  watch(&tie, STDIN_FILENO, EPOLLIN, TIE_EVENT);
  /* Told of once, each time there is room again. */
  watch(&tie, tie.pipe, EPOLLOUT | EPOLLET, INPUT_EVENT);
  feed(&tie);
  while (!tie.ended) {
    if (take_turn(&tie)) continue;
    kill_descendants(tie.command);
    return 128 + SIGKILL;
  }
  return tie.status;
}
