#ifndef BOTTLE_FINISH_H
#define BOTTLE_FINISH_H

#include "options.h"
#include "supervisor.h"

/*
 * Does what is left when the command has ended, or nobody is there to have it: its last words, whatever outlived it, the
 * report, and staying for others. Returns the command's status.
 */
int finish(struct supervisor *supervisor, const struct options *options);

#endif
