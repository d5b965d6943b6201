#ifndef BOTTLE_TIE_H
#define BOTTLE_TIE_H

#include "options.h"

/*
 * Runs the command, as the user who we are by now, for as long as our standard input stays open: when that ends, the
 * command and everything it started are killed. What is read there first are variables and the command's own input
 * (docs/bottle-init.md). Returns the command's status, 128 + n when signal n ended it. Fails by itself.
 */
int run_tied(const struct options *options, char **environment);

#endif
