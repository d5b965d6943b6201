/*
 * bottle-init: the first process of a bottle. It opens the way to the gate, becomes the image's user, runs the command
 * and looks after it. docs/bottle-init.md tells what it promises.
 */
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "account.h"
#include "archive.h"
#include "command.h"
#include "control.h"
#include "identity.h"
#include "idle.h"
#include "options.h"
#include "probe.h"
#include "say.h"
#include "settle.h"
#include "supervise.h"
#include "tie.h"
#include "unpack.h"
#include "variables.h"

/* Goes up when what it promises to its caller changes. */
static const char version[] = "bottle-init 3\n";

static int print(const char *text) {
  size_t size = strlen(text);
  return write(STDOUT_FILENO, text, size) == (ssize_t)size ? 0 : STATUS_OWN_FAILURE;
}

/* A further command in a bottle that runs: no relays, only the user, and supervision only if it is tied. */
static int join(const struct options *options, char **environment) {
  static struct account account;
  if (options->user != NULL) {
    load_account(options->user, &account);
    if (!options->keeps_home) environment = environment_with_home(environment, account.home);
  }
  become(options->user == NULL ? NULL : &account, options);
  if (options->variables != NULL) {
    struct control told;
    size_t size = 0;
    ask_variables(&told, options->variables);
    environment = environment_with(environment, (struct text){told.entries, told.size}, &size);
  }
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
    case MODE_EXEC:
      if (options.session == SESSION_NONE) return join(&options, envp);
      break;
    case MODE_PROBE: return run_probes(&options, STDOUT_FILENO) ? 0 : STATUS_OWN_FAILURE;
    case MODE_IDLE: idle(); return 0;
    case MODE_UNPACK: unpack(options.path); return 0;
    case MODE_ARCHIVE: archive(options.path); return 0;
    case MODE_SETTLE: settle(options.user); return 0;
    case MODE_RUN: break;
  }
  return supervise(&options, envp);
}
