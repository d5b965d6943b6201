#include "address.h"

#include <netinet/in.h>
#include <string.h>

#include "number.h"

static bool read_ipv4(struct text text, unsigned char *bytes) {
  struct text part;
  size_t count = 0;
  while (cut(&text, '.', &part)) {
    uint32_t number = 0;
    /* Leading zeros are octal to some and decimal to others, so they are nothing. */
    bool plain = part.size == 1 || (part.size <= 3 && part.size > 0 && part.at[0] != '0');
    if (count == 4 || !plain || !read_number(part.at, part.size, 255, &number)) return false;
    bytes[count++] = (unsigned char)number;
  }
  return count == 4;
}

static bool read_group(struct text text, uint16_t *group) {
  uint32_t sum = 0;
  for (size_t i = 0; i < text.size; i++) {
    char byte = text.at[i];
    if (byte >= '0' && byte <= '9') {
      sum = sum * 16 + (uint32_t)(byte - '0');
    } else if ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'f') {
      sum = sum * 16 + (uint32_t)((byte | 0x20) - 'a') + 10;
    } else {
      return false;
    }
  }
  *group = (uint16_t)sum;
  return text.size > 0 && text.size <= 4;
}

/* Groups between single colons, the last two perhaps as IPv4. False when they are more than fit. */
static bool read_groups(struct text text, unsigned char *bytes, size_t room, size_t *size) {
  *size = 0;
  if (text.size == 0) return true;
  struct text part;
  while (cut(&text, ':', &part)) {
    uint16_t group = 0;
    if (text.at == NULL && *size + 4 <= room && read_ipv4(part, bytes + *size)) {
      *size += 4;
    } else if (*size + 2 <= room && read_group(part, &group)) {
      bytes[(*size)++] = (unsigned char)(group >> 8);
      bytes[(*size)++] = (unsigned char)group;
    } else {
      return false;
    }
  }
  return true;
}

static bool read_ipv6(struct text text, unsigned char *bytes) {
  unsigned char tail[16];
  size_t head_size = 0;
  size_t tail_size = 0;
  size_t gap = 0;
  while (gap + 1 < text.size && !(text.at[gap] == ':' && text.at[gap + 1] == ':')) gap++;
  if (gap + 1 >= text.size) return read_groups(text, bytes, 16, &head_size) && head_size == 16;
  struct text head = {text.at, gap};
  struct text rest = {text.at + gap + 2, text.size - gap - 2};
  /* The gap is at least one group; IPv4 stands only at the very end. */
  if (memchr(text.at, '.', gap) != NULL) return false;
  if (!read_groups(head, bytes, 14, &head_size) || !read_groups(rest, tail, 14 - head_size, &tail_size)) return false;
  memset(bytes + head_size, 0, 16 - head_size - tail_size);
  memcpy(bytes + 16 - tail_size, tail, tail_size);
  return true;
}

bool read_ip(struct text text, struct ip *ip) {
  *ip = (struct ip){.ipv6 = false};
  if (text.size == 0 || text.size > 45) return false;
  if (read_ipv4(text, ip->bytes)) return true;
  ip->ipv6 = true;
  return read_ipv6(text, ip->bytes);
}

struct socket_address socket_address(const struct ip *ip, uint16_t port) {
  struct socket_address address = {.size = 0};
  if (ip->ipv6) {
    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    memcpy(&ipv6.sin6_addr, ip->bytes, 16);
    memcpy(&address.storage, &ipv6, sizeof ipv6);
    address.size = sizeof ipv6;
  } else {
    struct sockaddr_in ipv4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    memcpy(&ipv4.sin_addr, ip->bytes, 4);
    memcpy(&address.storage, &ipv4, sizeof ipv4);
    address.size = sizeof ipv4;
  }
  return address;
}
