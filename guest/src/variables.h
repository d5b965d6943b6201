#ifndef BOTTLE_VARIABLES_H
#define BOTTLE_VARIABLES_H

#include "control.h"

/*
 * Asks the Unix socket for variables, as the user, who must not be able to ask for more. They are the entries of `told`,
 * whose connection is closed. Fails by itself.
 */
void ask_variables(struct control *told, const char *path);

#endif
