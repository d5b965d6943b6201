#ifndef BOTTLE_RESOLVE_H
#define BOTTLE_RESOLVE_H

#include <poll.h>
#include <stdint.h>

#include "address.h"

enum { ADDRESSES_MAX = 4, NAMESERVERS_MAX = 3 };

/* What became of a name. */
struct resolution {
  struct ip addresses[ADDRESSES_MAX];
  size_t count;
  /* Whether a nameserver said anything at all: then there is a way out, whatever it said. */
  bool answered;
  /* Without an address: what is in the way. Never NULL. */
  const char *problem;
};

/* The text of a hosts(5) file: the addresses that it gives the name. */
size_t find_host(struct text hosts, struct text name, struct ip *found, size_t most);

/* The text of a resolv.conf(5) file: its first nameservers. */
size_t find_nameservers(struct text file, struct ip *found, size_t most);

/* An address is itself; a name is looked for in /etc/hosts, then asked of all nameservers at once. */
struct resolution resolve(struct text host, int64_t deadline);

/* Waits for one of the descriptors. False with errno when the deadline came first. */
bool wait_for(struct pollfd *waited, size_t count, int64_t deadline);

#endif
