#ifndef BOTTLE_ADDRESS_H
#define BOTTLE_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "text.h"

/* An IP address, in network order; IPv4 has the first four bytes. */
struct ip {
  bool ipv6;
  unsigned char bytes[16];
};

/* Reads an address as inet_pton(3) does: four plain decimal numbers, or RFC 4291's text without a zone. */
bool read_ip(struct text text, struct ip *ip);

/* An address as the socket calls want it. */
struct socket_address {
  struct sockaddr_storage storage;
  socklen_t size;
};

struct socket_address socket_address(const struct ip *ip, uint16_t port);

#endif
