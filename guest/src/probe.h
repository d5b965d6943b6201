#ifndef BOTTLE_PROBE_H
#define BOTTLE_PROBE_H

#include "options.h"

/*
 * Makes all attempts at once, each in a process of its own and for a second at most, and writes one line of JSON for each:
 * {"check":NAME,"outcome":"answered|refused|failed|error","detail":...}. False when one could not be told.
 */
bool run_probes(const struct options *options, int fd);

#endif
