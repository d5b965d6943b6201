#ifndef BOTTLE_COMMAND_H
#define BOTTLE_COMMAND_H

#include "text.h"

/* The environment with HOME set to this, or as it is when home is NULL. Fails by itself. */
char **environment_with_home(char **environment, const char *home);

/*
 * The environment with these entries (each with its NUL) laid over it: an entry replaces whatever had its name before. It
 * points into both. `size` is what to unmap of it. Fails by itself.
 */
char **environment_with(char **environment, struct text entries, size_t *size);

/* Goes to the working directory (NULL: stays). Fails by itself. */
void enter(const char *workdir);

/*
 * Becomes the command. A name without a slash is looked for in the absolute directories of the environment's PATH. Ends
 * this process with 127 when there is no such program, 126 when it cannot be executed.
 */
_Noreturn void execute(char **command, char **environment);

#endif
