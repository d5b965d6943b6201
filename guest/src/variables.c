#include "variables.h"

#include <poll.h>
#include <stddef.h>

#include "say.h"

enum { TOLD_WITHIN_MS = 10000 };

void ask_variables(struct control *told, const char *path) {
  open_control(told, path);
  enum message message = MESSAGE_NONE;
  while (message == MESSAGE_NONE) {
    struct pollfd readable = {.fd = told->fd, .events = POLLIN};
    if (poll(&readable, 1, TOLD_WITHIN_MS) == 0) fail(STATUS_OWN_FAILURE, path, " says nothing", NULL);
    message = next_message(told);
  }
  if (message != MESSAGE_GO) fail(STATUS_OWN_FAILURE, path, " says no variables", NULL);
  close_control(told);
}
