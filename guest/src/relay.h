#ifndef BOTTLE_RELAY_H
#define BOTTLE_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "options.h"

/*
 * Relays from loopback ports to Unix sockets, all in one thread. Bytes are looked at in the sender's queue, given to the
 * receiver, and only what it took is removed from the queue: nothing is ever held here, so a slow reader slows its writer
 * through the kernel's own limits, and a connection costs a fixed few bytes. Each direction ends by itself (half-close).
 */

/* Events of the relays carry numbers from this on; below it the caller's own. */
#define RELAY_EVENTS UINT64_C(16)

/* Listens for every relay and registers with the epoll. Fails by itself. */
void open_relays(const struct options *options, int epoll);

/* Takes one event of the epoll. */
void relay_event(uint64_t number, uint32_t events);

/* Does what events made possible, a fair share for every connection. After every batch of events. */
void relay_turn(void);

/* Milliseconds until relay_turn has something to do by itself: 0 at once, -1 never. */
int relay_timeout(void);

/* Milliseconds of a clock that only goes forward. */
int64_t clock_ms(void);

#endif
