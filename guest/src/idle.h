#ifndef BOTTLE_IDLE_H
#define BOTTLE_IDLE_H

/*
 * Keeps a machine's place: reaps what becomes its child, reads nothing, and returns with SIGTERM or SIGINT. Everything else
 * in the machine is somebody else's.
 */
void idle(void);

#endif
