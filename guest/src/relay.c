#include "relay.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "say.h"
#include "stream.h"

enum {
  BACKLOG = 4096,
  /* More than this wait in the backlog. */
  STREAMS_MAX = 16384,
  /* What one connection may move before the next has its turn, in bytes a direction. */
  SHARE = 256 * 1024,
  ACCEPTS_A_TURN = 64,
  RETRY_FIRST_MS = 2,
  RETRY_LAST_MS = 64,
};

/* One relay. It pauses while the other side's backlog is full or descriptors are used up, and tries again later. */
struct listener {
  int fd;
  /* Accepted, but not connected yet; -1 for none. */
  int pending;
  bool paused;
  int64_t retry_at;
  int retry_ms;
  struct sockaddr_un socket;
};

/* The number of an event: listeners first, then two for each stream. */
#define STREAM_EVENTS (RELAY_EVENTS + RELAYS_MAX)

static struct {
  int epoll;
  unsigned listener_count;
  struct listener listeners[RELAYS_MAX];
  struct stream *streams;
  size_t stream_count;
  /* Streams ever used: those above were never touched, so their memory is not there. */
  size_t used;
  struct stream *free;
  struct stream *ready;
  struct stream **ready_end;
} relay = {.ready_end = &relay.ready};

int64_t clock_ms(void) {
  struct timespec now = {0, 0};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool watch(int fd, uint32_t events, uint64_t number, int operation) {
  struct epoll_event event = {.events = events, .data = {.u64 = number}};
  return epoll_ctl(relay.epoll, operation, fd, &event) == 0;
}

static int listen_on(const struct relay_address *address) {
  int fd = socket(address->ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int yes = 1;
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0) return -1;
  uint16_t port = htons(address->port);
  struct sockaddr_in ipv4 = {.sin_family = AF_INET, .sin_port = port, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6, .sin6_port = port, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  int bound = address->ipv6 ? bind(fd, (struct sockaddr *)&ipv6, sizeof ipv6)
                            : bind(fd, (struct sockaddr *)&ipv4, sizeof ipv4);
  return bound < 0 || listen(fd, BACKLOG) < 0 ? -1 : fd;
}

void open_relays(const struct options *options, int epoll) {
  relay.epoll = epoll;
  if (options->relay_count == 0) return;
  struct rlimit files = {256, 256};
  prlimit(0, RLIMIT_NOFILE, NULL, &files);
  /* Two descriptors a stream, and some for ourselves. */
  rlim_t fitting = files.rlim_cur < 64 ? 8 : (files.rlim_cur - 48) / 2;
  relay.stream_count = fitting > STREAMS_MAX ? STREAMS_MAX : (size_t)fitting;
  size_t size = relay.stream_count * sizeof *relay.streams;
  relay.streams = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (relay.streams == MAP_FAILED) fail(STATUS_OWN_FAILURE, "cannot relay: ", why(), NULL);
  for (unsigned i = 0; i < options->relay_count; i++) {
    const struct relay_address *address = &options->relays[i];
    struct listener *listener = &relay.listeners[i];
    *listener = (struct listener){.fd = listen_on(address), .pending = -1, .retry_ms = RETRY_FIRST_MS};
    listener->socket.sun_family = AF_UNIX;
    memcpy(listener->socket.sun_path, address->socket, strlen(address->socket) + 1);
    if (listener->fd < 0 || !watch(listener->fd, EPOLLIN, RELAY_EVENTS + i, EPOLL_CTL_ADD)) {
      fail(STATUS_OWN_FAILURE, "cannot listen for ", address->socket, ": ", why(), NULL);
    }
    relay.listener_count++;
  }
}

static void make_ready(struct stream *stream) {
  if (stream->ready) return;
  stream->ready = true;
  stream->next = NULL;
  *relay.ready_end = stream;
  relay.ready_end = &stream->next;
}

static void pause_listener(struct listener *listener, unsigned index) {
  listener->paused = true;
  listener->retry_at = clock_ms() + listener->retry_ms;
  listener->retry_ms = listener->retry_ms * 2 > RETRY_LAST_MS ? RETRY_LAST_MS : listener->retry_ms * 2;
  watch(listener->fd, 0, RELAY_EVENTS + index, EPOLL_CTL_MOD);
}

static struct stream *new_stream(void) {
  struct stream *stream = relay.free;
  if (stream != NULL) {
    relay.free = stream->next;
    return stream;
  }
  return relay.used < relay.stream_count ? &relay.streams[relay.used++] : NULL;
}

/*
 * Taken out of the epoll by hand: a process that was just forked and has not executed its program yet holds a copy of the
 * descriptor, and the kernel would go on with its events (epoll(7)).
 */
static void hang_up(int fd) {
  watch(fd, 0, 0, EPOLL_CTL_DEL);
  close(fd);
}

/* The client sees a reset rather than an orderly end, so that nobody takes it for an empty answer. */
static void refuse(int client) {
  struct linger at_once = {1, 0};
  setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(client);
}

enum outcome { CONNECTED, REFUSED, LATER };

static enum outcome open_stream(const struct listener *listener, int client) {
  int server = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (server < 0) return LATER;
  const struct sockaddr *address = (const struct sockaddr *)&listener->socket;
  if (connect(server, address, sizeof listener->socket) < 0) {
    /* EAGAIN: the backlog is full, and unlike TCP there is nothing to wait on (unix(7)). */
    enum outcome outcome = errno == EAGAIN || errno == EINTR ? LATER : REFUSED;
    close(server);
    return outcome;
  }
  struct stream *stream = new_stream();
  if (stream == NULL) {
    close(server);
    return LATER;
  }
  int yes = 1;
  setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  *stream = (struct stream){.end = {{.fd = client}, {.fd = server}}};
  uint64_t number = STREAM_EVENTS + 2 * (uint64_t)(stream - relay.streams);
  uint32_t events = EPOLLIN | EPOLLOUT | EPOLLET;
  if (!watch(client, events, number, EPOLL_CTL_ADD) || !watch(server, events, number + 1, EPOLL_CTL_ADD)) {
    watch(client, 0, 0, EPOLL_CTL_DEL);
    hang_up(server);
    stream->next = relay.free;
    relay.free = stream;
    return REFUSED;
  }
  return CONNECTED;
}

static bool is_shortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void accept_streams(unsigned index) {
  struct listener *listener = &relay.listeners[index];
  for (int i = 0; i < ACCEPTS_A_TURN; i++) {
    int client = listener->pending;
    if (client < 0) client = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) {
      if (is_shortage(errno)) pause_listener(listener, index);
      if (is_shortage(errno) || errno == EAGAIN) return;
      /* What happened to one connection before it was accepted says nothing of the next (accept(2)). */
      continue;
    }
    listener->pending = -1;
    enum outcome outcome = open_stream(listener, client);
    if (outcome == LATER) {
      listener->pending = client;
      pause_listener(listener, index);
      return;
    }
    if (outcome == REFUSED) refuse(client);
    listener->retry_ms = RETRY_FIRST_MS;
  }
}

void relay_event(uint64_t number, uint32_t events) {
  if (number < STREAM_EVENTS) {
    unsigned index = (unsigned)(number - RELAY_EVENTS);
    if (!relay.listeners[index].paused) accept_streams(index);
    return;
  }
  struct stream *stream = &relay.streams[(number - STREAM_EVENTS) / 2];
  stream_event(stream, (number - STREAM_EVENTS) % 2, events);
  make_ready(stream);
}

static void resume_listeners(void) {
  int64_t now = 0;
  for (unsigned i = 0; i < relay.listener_count; i++) {
    struct listener *listener = &relay.listeners[i];
    if (!listener->paused) continue;
    if (now == 0) now = clock_ms();
    if (now < listener->retry_at) continue;
    listener->paused = false;
    watch(listener->fd, EPOLLIN, RELAY_EVENTS + i, EPOLL_CTL_MOD);
    accept_streams(i);
  }
}

void relay_turn(void) {
  struct stream *stream = relay.ready;
  relay.ready = NULL;
  relay.ready_end = &relay.ready;
  while (stream != NULL) {
    struct stream *next = stream->next;
    stream->ready = false;
    switch (stream_move(stream, SHARE)) {
      case STREAM_WAITS: break;
      case STREAM_HAS_MORE: make_ready(stream); break;
      case STREAM_ENDED:
        /* No event can name it any more: they are all taken before a turn, and its descriptors are closed. */
        hang_up(stream->end[CLIENT].fd);
        hang_up(stream->end[SERVER].fd);
        stream->next = relay.free;
        relay.free = stream;
        break;
    }
    stream = next;
  }
  resume_listeners();
}

int relay_timeout(void) {
  if (relay.ready != NULL) return 0;
  int soonest = -1;
  int64_t now = 0;
  for (unsigned i = 0; i < relay.listener_count; i++) {
    const struct listener *listener = &relay.listeners[i];
    if (!listener->paused) continue;
    if (now == 0) now = clock_ms();
    int left = listener->retry_at <= now ? 0 : (int)(listener->retry_at - now);
    if (soonest < 0 || left < soonest) soonest = left;
  }
  return soonest;
}
