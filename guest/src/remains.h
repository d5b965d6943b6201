#ifndef BOTTLE_REMAINS_H
#define BOTTLE_REMAINS_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * What outlived the command: every process that descends from us, who adopt the orphans among them (PR_SET_CHILD_SUBREAPER).
 * Those that the engine put into the bottle from outside, and what hangs below them, have no ancestor here (their parent's
 * number is 0).
 */

/* What was found when the signal was sent. */
enum remains { REMAINS_NONE, REMAINS_SIGNALLED, REMAINS_UNKNOWN };

/* Sends the signal (0: none, only looks) to each of them. UNKNOWN where /proc cannot tell. */
enum remains signal_remains(int number);

/*
 * Kills the group of the command (which was not reaped yet), then all that descends from us, until nothing is left; where
 * /proc cannot tell, only the group.
 */
void kill_descendants(pid_t command);

/* The parent and whether it is a zombie, from the text of /proc/PID/stat (proc(5)). */
bool read_stat(const char *text, size_t size, pid_t *parent, bool *is_zombie);

#endif
