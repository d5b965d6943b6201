#ifndef BOTTLE_TERMINAL_H
#define BOTTLE_TERMINAL_H

#include <stdbool.h>

/*
 * How the command gets the terminal that is our standard input. OWN: a session of its own, which takes the terminal if it
 * is free, so that the terminal's signals reach the command and never us, as if it were the container's first process.
 * SHARED: a group of its own in front, where the terminal belongs to a session that goes on without us.
 */
enum terminal { TERMINAL_OWN, TERMINAL_SHARED };

bool is_terminal(int fd);

/* Lets go of the terminal if it is ours to give. Signals must be blocked. */
enum terminal release_terminal(void);

/* For the child, before the command: takes what was released. Signals must be blocked. */
void take_terminal(enum terminal terminal);

/* Puts ourselves in front again. */
void recover_terminal(enum terminal terminal);

#endif
