#include "attempt.h"

#include <stddef.h>

#include "dns.h"
#include "number.h"

enum { URL_MAX = 1024, HOST_MAX = 253, HTTP_PORT = 80 };

static bool read_port(struct text text, uint16_t *port) {
  uint32_t number = 0;
  if (!read_number(text.at, text.size, UINT16_MAX, &number) || number == 0) return false;
  *port = (uint16_t)number;
  return true;
}

/* With or without brackets. */
static bool read_address(struct text text, struct ip *ip) {
  bool bracketed = text.size >= 2 && text.at[0] == '[' && text.at[text.size - 1] == ']';
  if (bracketed) text = (struct text){text.at + 1, text.size - 2};
  return read_ip(text, ip) && (ip->ipv6 || !bracketed);
}

static bool is_host(struct text text) {
  for (size_t i = 0; i < text.size; i++) {
    char byte = text.at[i];
    bool letter = (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';
    if (!letter && !(byte >= '0' && byte <= '9') && byte != '-' && byte != '.' && byte != '_') return false;
  }
  return text.size > 0 && text.size <= HOST_MAX;
}

static const char *read_url(struct text url, struct attempt *attempt) {
  static const char form[] = "a URL is http://HOST[:PORT][/PATH]";
  attempt->url = url;
  if (url.size > URL_MAX) return "a URL of over 1024 bytes";
  for (size_t i = 0; i < url.size; i++) {
    /* What could end a line of the request, or the part of it. */
    if (url.at[i] <= ' ' || url.at[i] > '~' || url.at[i] == '#') return form;
  }
  if (!cut_prefix(&url, "http://")) return form;
  size_t size = 0;
  while (size < url.size && url.at[size] != '/') size++;
  attempt->authority = (struct text){url.at, size};
  attempt->path = (struct text){url.at + size, url.size - size};
  attempt->port = HTTP_PORT;
  struct text host = attempt->authority;
  struct text port;
  /* The last colon, unless it is one of an IPv6 address in brackets. */
  if (host.size > 0 && host.at[host.size - 1] != ']' && cut_last(&host, ':', &port) &&
      !read_port(port, &attempt->port)) {
    return form;
  }
  struct ip ip;
  attempt->host = host;
  if (host.size > 0 && host.at[0] == '[') {
    attempt->host = (struct text){host.at + 1, host.size - 2};
    return read_address(host, &ip) ? NULL : form;
  }
  return is_host(host) ? NULL : form;
}

const char *read_attempt(const char *string, struct attempt *attempt) {
  *attempt = (struct attempt){.kind = ATTEMPT_TCP};
  struct text text = text_of(string);
  if (cut_prefix(&text, "proxy:")) {
    attempt->kind = ATTEMPT_PROXY;
    return read_url(text, attempt);
  }
  if (cut_prefix(&text, "direct:")) {
    attempt->kind = ATTEMPT_DIRECT;
    return read_url(text, attempt);
  }
  if (cut_prefix(&text, "udp:")) {
    unsigned char question[DNS_QUESTION_MAX];
    attempt->kind = ATTEMPT_UDP;
    if (!cut_last(&text, ':', &attempt->name) || !is_host(attempt->name) ||
        dns_question(attempt->name, DNS_A, 0, question) == 0) {
      return "udp is udp:ADDRESS:PORT:NAME";
    }
  } else if (!cut_prefix(&text, "tcp:")) {
    return "an attempt is proxy:URL, direct:URL, tcp:ADDRESS:PORT or udp:ADDRESS:PORT:NAME";
  }
  struct text port;
  if (!cut_last(&text, ':', &port) || !read_port(port, &attempt->port)) return "the port is a number from 1 to 65535";
  return read_address(text, &attempt->address) ? NULL : "the address is an IPv4 or IPv6 address";
}
