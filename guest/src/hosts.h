#ifndef BOTTLE_HOSTS_H
#define BOTTLE_HOSTS_H

/* Sees to it that localhost has an address where /etc/hosts names nobody. What the image says there stays. */
void name_localhost(void);

#endif
