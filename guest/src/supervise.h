#ifndef BOTTLE_SUPERVISE_H
#define BOTTLE_SUPERVISE_H

#include "options.h"

/*
 * Opens the relays, becomes the user, runs the command and stays: relays, forwards signals to the command's group, reaps.
 * Returns the command's exit status, 128 + n when signal n ended it.
 */
int supervise(const struct options *options, char **environment);

#endif
