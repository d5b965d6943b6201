#ifndef BOTTLE_SETTLE_H
#define BOTTLE_SETTLE_H

/*
 * Makes a machine fit for its user before anything runs in it, as root: /tmp is everybody's, and the user's home, whose
 * owner the packing of the image may have lost, is the user's. Says in one line of JSON who that is. Fails by itself.
 */
void settle(const char *user);

#endif
