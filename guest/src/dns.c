#include "dns.h"

#include <string.h>

enum { HEADER_SIZE = 12, NAME_MAX_ON_WIRE = 255 };

static size_t put16(unsigned char *at, unsigned number) {
  at[0] = (unsigned char)(number >> 8);
  at[1] = (unsigned char)number;
  return 2;
}

static unsigned get16(const unsigned char *at) { return (unsigned)at[0] << 8 | at[1]; }

size_t dns_question(struct text name, uint16_t type, uint16_t id, unsigned char question[static DNS_QUESTION_MAX]) {
  memset(question, 0, HEADER_SIZE);
  put16(question, id);
  /* Recursion desired, one question. */
  question[2] = 1;
  question[5] = 1;
  size_t size = HEADER_SIZE;
  if (name.size > 0 && name.at[name.size - 1] == '.') name.size--;
  struct text label;
  while (cut(&name, '.', &label)) {
    if (label.size == 0 || label.size > 63 || size - HEADER_SIZE + label.size + 2 > NAME_MAX_ON_WIRE) return 0;
    question[size++] = (unsigned char)label.size;
    memcpy(question + size, label.at, label.size);
    size += label.size;
  }
  if (size == HEADER_SIZE) return 0;
  question[size++] = 0;
  size += put16(question + size, type);
  size += put16(question + size, 1);
  return size;
}

/* Where what follows a name begins; 0 when it does not end within the answer. */
static size_t skip_name(const unsigned char *answer, size_t size, size_t at) {
  while (at < size) {
    unsigned char length = answer[at];
    if (length == 0) return at + 1;
    /* A pointer ends a name (RFC 1035, 4.1.4); where it leads is of no interest. */
    if ((length & 0xc0) == 0xc0) return at + 2 <= size ? at + 2 : 0;
    if ((length & 0xc0) != 0) return 0;
    at += 1U + length;
  }
  return 0;
}

size_t dns_addresses(const unsigned char *answer, size_t size, uint16_t id, struct ip *found, size_t most) {
  if (size < HEADER_SIZE || get16(answer) != id || (answer[2] & 0x80) == 0) return 0;
  size_t at = HEADER_SIZE;
  for (unsigned left = get16(answer + 4); left > 0; left--) {
    at = skip_name(answer, size, at);
    if (at == 0 || at + 4 > size) return 0;
    at += 4;
  }
  size_t count = 0;
  for (unsigned left = get16(answer + 6); left > 0 && count < most; left--) {
    at = skip_name(answer, size, at);
    /* Type, class, time to live, length. */
    if (at == 0 || at + 10 > size) return count;
    unsigned type = get16(answer + at);
    size_t length = get16(answer + at + 8);
    at += 10;
    if (at + length > size) return count;
    if ((type == DNS_A && length == 4) || (type == DNS_AAAA && length == 16)) {
      found[count] = (struct ip){.ipv6 = type == DNS_AAAA};
      memcpy(found[count].bytes, answer + at, length);
      count++;
    }
    at += length;
  }
  return count;
}
