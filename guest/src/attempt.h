#ifndef BOTTLE_ATTEMPT_H
#define BOTTLE_ATTEMPT_H

#include <stdint.h>

#include "address.h"
#include "text.h"

enum attempt_kind { ATTEMPT_PROXY, ATTEMPT_DIRECT, ATTEMPT_TCP, ATTEMPT_UDP };

/* One way of getting out. Every text points into what was read. */
struct attempt {
  enum attempt_kind kind;
  /* Of proxy and direct: the whole URL, and its parts; `path` begins with '/' or is empty. */
  struct text url;
  struct text authority;
  struct text host;
  struct text path;
  /* Of tcp and udp. */
  struct ip address;
  uint16_t port;
  /* Of udp: what to ask for. */
  struct text name;
};

/* Reads `proxy:URL`, `direct:URL`, `tcp:ADDRESS:PORT` or `udp:ADDRESS:PORT:NAME`. Returns NULL, or what is wrong. */
const char *read_attempt(const char *text, struct attempt *attempt);

#endif
