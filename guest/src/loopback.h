#ifndef BOTTLE_LOOPBACK_H
#define BOTTLE_LOOPBACK_H

#include <stdbool.h>

/* Brings up the loopback interface if it is down, as it is in a new machine. Where it is needed, fails by itself. */
void raise_loopback(bool needed);

#endif
