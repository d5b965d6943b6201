/*
 * bottle-init: the first process of a bottle. It opens the way to the gate, becomes the image's user, runs the command
 * and looks after it. docs/bottle-init.md tells what it promises.
 */
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "account.h"
#include "command.h"
#include "control.h"
#include "identity.h"
#include "idle.h"
#include "options.h"
#include "probe.h"
#include "say.h"
#include "supervise.h"
#include "tie.h"

/* Goes up when what it promises to its caller changes. */
enum { TOLD_WITHIN_MS = 10000 };

static const char version[] = "bottle-init 3\n";

static int print(const char *text) {
  size_t size = strlen(text);
  return write(STDOUT_FILENO, text, size) == (ssize_t)size ? 0 : STATUS_OWN_FAILURE;
}

/* The environment with what the socket tells laid over it. Asked for as the user, who must not be able to ask for more. */
static char **with_told_variables(char **environment, const char *path) {
  struct control control;
  open_control(&control, path);
  enum message message = MESSAGE_NONE;
  while (message == MESSAGE_NONE) {
    struct pollfd readable = {.fd = control.fd, .events = POLLIN};
    if (poll(&readable, 1, TOLD_WITHIN_MS) == 0) fail(STATUS_OWN_FAILURE, path, " says nothing", NULL);
    message = next_message(&control);
  }
  if (message != MESSAGE_GO) fail(STATUS_OWN_FAILURE, path, " says no variables", NULL);
  close_control(&control);
  size_t size = 0;
  return environment_with(environment, (struct text){control.entries, control.size}, &size);
}

/* A further command in a bottle that runs: no relays, only the user, and supervision if it is tied. */
static int join(const struct options *options, char **environment) {
  static struct account account;
  if (options->user != NULL) {
    load_account(options->user, &account);
    if (!options->keeps_home) environment = environment_with_home(environment, account.home);
  }
  become(options->user == NULL ? NULL : &account, options);
  if (options->variables != NULL) environment = with_told_variables(environment, options->variables);
  if (options->tied) return run_tied(options, environment);
  enter(options->workdir);
  execute(options->command, environment);
}

int main(int argc, char **argv, char **envp) {
  static struct options options;
  struct complaint complaint = {NULL, NULL};
  refuse_borrowed_rights();
  if (!parse_options(argc, argv, &options, &complaint)) {
    fail(STATUS_OWN_FAILURE, complaint.about, ": ", complaint.what, NULL);
  }
  switch (options.mode) {
    case MODE_HELP: return print(usage);
    case MODE_VERSION: return print(version);
    case MODE_EXEC: return join(&options, envp);
    case MODE_PROBE: return run_probes(&options, STDOUT_FILENO) ? 0 : STATUS_OWN_FAILURE;
    case MODE_IDLE: idle(); return 0;
    case MODE_RUN: break;
  }
  return supervise(&options, envp);
}
