#include "resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dns.h"
#include "relay.h"
#include "say.h"

enum { DNS_PORT = 53, ANSWER_MAX = 4096, FILE_READ_MAX = 64 * 1024 };

static char lower(char byte) { return byte >= 'A' && byte <= 'Z' ? (char)(byte | 0x20) : byte; }

static bool same_name(struct text left, struct text right) {
  if (left.size != right.size) return false;
  for (size_t i = 0; i < left.size; i++) {
    if (lower(left.at[i]) != lower(right.at[i])) return false;
  }
  return true;
}

size_t find_host(struct text hosts, struct text name, struct ip *found, size_t most) {
  size_t count = 0;
  struct text line;
  while (count < most && cut(&hosts, '\n', &line)) {
    struct text rest = line;
    if (!cut(&rest, '#', &line)) continue;
    struct text word;
    if (!cut_word(&line, &word) || !read_ip(word, &found[count])) continue;
    while (cut_word(&line, &word)) {
      if (!same_name(word, name)) continue;
      count++;
      break;
    }
  }
  return count;
}

size_t find_nameservers(struct text file, struct ip *found, size_t most) {
  size_t count = 0;
  struct text line;
  while (count < most && cut(&file, '\n', &line)) {
    struct text word;
    /* A comment stands on a line of its own (resolv.conf(5)). */
    if (!cut_word(&line, &word) || !same(word, text_of("nameserver"))) continue;
    if (cut_word(&line, &word) && read_ip(word, &found[count])) count++;
  }
  return count;
}

/* The beginning of a file; nothing when it is none. */
static struct text read_beginning(const char *path, char *bytes, size_t room) {
  struct text text = {bytes, 0};
  struct stat found;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return text;
  if (fstat(fd, &found) == 0 && S_ISREG(found.st_mode)) {
    while (text.size < room) {
      ssize_t got = read(fd, bytes + text.size, room - text.size);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      text.size += (size_t)got;
    }
  }
  close(fd);
  return text;
}

bool wait_for(struct pollfd *waited, size_t count, int64_t deadline) {
  for (;;) {
    int64_t left = deadline - clock_ms();
    int ready = left <= 0 ? 0 : poll(waited, count, (int)left);
    if (ready > 0) return true;
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) errno = ETIMEDOUT;
    return false;
  }
}

static int ask(const struct ip *server, const unsigned char *question, size_t size) {
  int fd = socket(server->ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  struct socket_address address = socket_address(server, DNS_PORT);
  if (connect(fd, (struct sockaddr *)&address.storage, address.size) == 0 && send(fd, question, size, 0) >= 0) return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

/* Asks all nameservers at once, and takes the first answer. */
static void ask_all(struct text name, uint16_t type, const struct ip *servers, size_t count, int64_t deadline,
                    struct resolution *resolution) {
  static unsigned char answer[ANSWER_MAX];
  unsigned char question[DNS_QUESTION_MAX];
  struct pollfd asked[NAMESERVERS_MAX];
  uint16_t id = (uint16_t)((uint32_t)clock_ms() ^ (uint32_t)getpid() << 4 ^ type);
  size_t size = dns_question(name, type, id, question);
  size_t open = 0;
  resolution->problem = "no name that can be asked for";
  for (size_t i = 0; size > 0 && i < count; i++) {
    int fd = ask(&servers[i], question, size);
    if (fd < 0) resolution->problem = why();
    if (fd >= 0) asked[open++] = (struct pollfd){.fd = fd, .events = POLLIN};
  }
  for (size_t left = open; left > 0;) {
    if (!wait_for(asked, open, deadline)) {
      resolution->problem = why();
      break;
    }
    for (size_t i = 0; i < open && left > 0; i++) {
      if (asked[i].revents == 0) continue;
      ssize_t got = recv(asked[i].fd, answer, sizeof answer, MSG_DONTWAIT);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (got >= 0) {
        resolution->answered = true;
        resolution->problem = "a nameserver answered, without an address";
        resolution->count = dns_addresses(answer, (size_t)got, id, resolution->addresses, ADDRESSES_MAX);
        left = 0;
        break;
      }
      resolution->problem = why();
      close(asked[i].fd);
      /* poll(2) passes over it from now on. */
      asked[i].fd = -1;
      left--;
    }
  }
  for (size_t i = 0; i < open; i++) {
    if (asked[i].fd >= 0) close(asked[i].fd);
  }
}

struct resolution resolve(struct text host, int64_t deadline) {
  static char bytes[FILE_READ_MAX];
  struct resolution resolution = {.count = 0, .problem = ""};
  if (read_ip(host, &resolution.addresses[0])) {
    resolution.count = 1;
    return resolution;
  }
  struct text file = read_beginning("/etc/hosts", bytes, sizeof bytes);
  resolution.count = find_host(file, host, resolution.addresses, ADDRESSES_MAX);
  if (resolution.count > 0) return resolution;
  struct ip servers[NAMESERVERS_MAX];
  file = read_beginning("/etc/resolv.conf", bytes, sizeof bytes);
  size_t count = find_nameservers(file, servers, NAMESERVERS_MAX);
  resolution.problem = "no nameserver in /etc/resolv.conf";
  if (count == 0) return resolution;
  ask_all(host, DNS_A, servers, count, deadline, &resolution);
  if (resolution.count == 0 && resolution.answered) ask_all(host, DNS_AAAA, servers, count, deadline, &resolution);
  return resolution;
}
