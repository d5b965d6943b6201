#ifndef BOTTLE_DNS_H
#define BOTTLE_DNS_H

#include <stdint.h>

#include "address.h"

enum { DNS_QUESTION_MAX = 12 + 255 + 4, DNS_A = 1, DNS_AAAA = 28 };

/* Writes a question for a recursive resolver (RFC 1035, 4). Returns its size; 0 when the name is none. */
size_t dns_question(struct text name, uint16_t type, uint16_t id, unsigned char question[static DNS_QUESTION_MAX]);

/* Takes the addresses out of an answer, whoever's they are (the names may be aliases), up to so many. Returns how many. */
size_t dns_addresses(const unsigned char *answer, size_t size, uint16_t id, struct ip *found, size_t most);

#endif
