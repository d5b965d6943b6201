/*
 * The client of `npm run bench -- gate`, the same for every way to the server, and fast enough not to be what is measured.
 *
 *     client get|put|small|fresh VIA HOST PORT PATH COUNT
 *
 * VIA: direct, http:PORT, connect:PORT (a proxy on loopback), unix:PATH, unix-connect:PATH (a proxy on a socket).
 * get, put: COUNT bytes, prints the seconds they took. small: COUNT requests over one connection, after some that are
 * not counted; fresh: COUNT requests over a new connection each. Both print the times in microseconds, one a line.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static const char *via, *host, *path;
static int port;
static bool is_absolute, is_tunnel;
static char buffer[512 << 10];

static void die(const char *what) {
  perror(what);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int open_tcp(const char *address, int number) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)number)};
  inet_pton(AF_INET, address, &to.sin_addr);
  int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) die("connect");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  return fd;
}

static int open_unix(const char *name) {
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  strncpy(to.sun_path, name, sizeof to.sun_path - 1);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) die("connect");
  return fd;
}

static void send_all(int fd, const char *from, size_t length) {
  while (length > 0) {
    ssize_t n = send(fd, from, length, MSG_NOSIGNAL);
    if (n <= 0) die("send");
    from += n;
    length -= (size_t)n;
  }
}

/* Reads a head, and returns how much of the body came with it. The length of the body goes to `body`. */
static size_t read_head(int fd, long long *body) {
  size_t have = 0;
  for (;;) {
    ssize_t n = recv(fd, buffer + have, sizeof buffer - have - 1, 0);
    if (n <= 0) die("recv");
    have += (size_t)n;
    buffer[have] = 0;
    char *end = strstr(buffer, "\r\n\r\n");
    if (end == NULL) continue;
    if (buffer[9] != '2') {
      fprintf(stderr, "%.400s\n", buffer);
      exit(1);
    }
    const char *field = strcasestr(buffer, "\r\ncontent-length:");
    bool is_empty = strncmp(buffer + 9, "204", 3) == 0;
    *body = field != NULL && field < end ? atoll(field + 17) : is_empty || is_tunnel ? 0 : -1;
    return have - (size_t)(end + 4 - buffer);
  }
}

static int open_way(void) {
  const char *rest = strchr(via, ':');
  bool is_unix = strncmp(via, "unix", 4) == 0;
  int fd = rest == NULL ? open_tcp(host, port) : is_unix ? open_unix(rest + 1) : open_tcp("127.0.0.1", atoi(rest + 1));
  if (is_tunnel) {
    char head[512];
    long long body;
    int n = snprintf(head, sizeof head, "CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n\r\n", host, port, host, port);
    send_all(fd, head, (size_t)n);
    read_head(fd, &body);
  }
  return fd;
}

static void ask(int fd, const char *method, long long upload) {
  char head[1024], authority[256] = "", length[64] = "";
  if (is_absolute) snprintf(authority, sizeof authority, "http://%s:%d", host, port);
  if (upload >= 0) snprintf(length, sizeof length, "Content-Length: %lld\r\n", upload);
  int n = snprintf(head, sizeof head, "%s %s%s HTTP/1.1\r\nHost: %s:%d\r\n%s\r\n", method, authority, path, host, port, length);
  send_all(fd, head, (size_t)n);
}

static void read_answer(int fd) {
  long long left;
  size_t have = read_head(fd, &left);
  if (left < 0) {
    fprintf(stderr, "an answer without a length\n");
    exit(1);
  }
  for (left -= (long long)have; left > 0;) {
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) die("recv");
    left -= n;
  }
}

int main(int count, char **arguments) {
  if (count != 7) return 2;
  const char *mode = arguments[1];
  via = arguments[2];
  host = arguments[3];
  port = atoi(arguments[4]);
  path = arguments[5];
  long long total = atoll(arguments[6]);
  is_tunnel = strncmp(via, "connect:", 8) == 0 || strncmp(via, "unix-connect:", 13) == 0;
  is_absolute = strncmp(via, "http:", 5) == 0 || strncmp(via, "unix:", 5) == 0;

  if (strcmp(mode, "get") == 0 || strcmp(mode, "put") == 0) {
    int fd = open_way();
    double began = now();
    if (mode[0] == 'g') {
      ask(fd, "GET", -1);
    } else {
      ask(fd, "PUT", total);
      memset(buffer, 'x', sizeof buffer);
      for (long long left = total; left > 0;) {
        size_t n = left < (long long)sizeof buffer ? (size_t)left : sizeof buffer;
        send_all(fd, buffer, n);
        left -= (long long)n;
      }
    }
    read_answer(fd);
    printf("%.6f\n", now() - began);
    return 0;
  }
  bool is_fresh = strcmp(mode, "fresh") == 0;
  int fd = is_fresh ? -1 : open_way();
  for (long long i = -(total / 10); i < total; i++) {
    double began = now();
    if (is_fresh) fd = open_way();
    ask(fd, "GET", -1);
    read_answer(fd);
    double took = now() - began;
    if (is_fresh) close(fd);
    if (i >= 0) printf("%.1f\n", took * 1e6);
  }
  return 0;
}
