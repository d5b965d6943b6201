#include "stream.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DISCARD_MAX = 8 << 20 };

/*
 * Where bytes pass through; between two calls it holds nothing. The size of a Unix socket's queue (net.core.wmem_default is
 * 208 KiB), so that one look takes all of it: a third less time than with 64 KiB.
 */
static char passing[256 * 1024];

void stream_event(struct stream *stream, size_t end, uint32_t events) {
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) stream->end[end].readable = true;
  if ((events & EPOLLOUT) != 0) stream->end[end].writable = true;
  if (end == CLIENT) {
    if ((events & EPOLLERR) != 0) stream->end[CLIENT].broken = true;
  } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
    /* The server is gone altogether, so it takes nothing more; what it said last may still be in the queue. */
    stream->end[CLIENT].finished = true;
  }
}

/* Gives the bytes to the end, as many as it takes; false when it takes no more, ever. */
static bool give(struct stream *stream, size_t end, size_t size, size_t *given) {
  *given = 0;
  while (*given < size) {
    ssize_t sent = send(stream->end[end].fd, passing + *given, size - *given, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      *given += (size_t)sent;
    } else if (errno == EAGAIN) {
      stream->end[end].writable = false;
      return true;
    } else if (errno == ENOBUFS || errno == ENOMEM) {
      /* Nothing tells when memory is back: left writable, so that it is tried again. */
      return true;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

/* Takes bytes that were looked at out of the queue; false when they are not there. */
static bool take(struct stream *stream, size_t end, size_t size) {
  while (size > 0) {
    /* TCP throws them away without a copy (tcp(7), MSG_TRUNC); a Unix socket ignores the flag in a stream. */
    int flags = MSG_DONTWAIT | (end == CLIENT ? MSG_TRUNC : 0);
    ssize_t taken = recv(stream->end[end].fd, passing, size, flags);
    if (taken <= 0 && !(taken < 0 && errno == EINTR)) return false;
    if (taken > 0) size -= (size_t)taken;
  }
  return true;
}

/* Moves from one end to the other. True when the share is used up and there may be more. */
static bool move(struct stream *stream, size_t from, size_t share) {
  size_t to = 1 - from;
  while (!stream->end[from].finished && stream->end[from].readable && stream->end[to].writable) {
    if (share == 0) return true;
    ssize_t seen = recv(stream->end[from].fd, passing, sizeof passing, MSG_PEEK | MSG_DONTWAIT);
    if (seen < 0 && errno == EINTR) continue;
    if (seen < 0 && errno == EAGAIN) {
      stream->end[from].readable = false;
      return false;
    }
    if (seen < 0 && from == CLIENT) {
      stream->end[CLIENT].broken = true;
      return false;
    }
    if (seen <= 0) {
      /* A Unix socket also says ECONNRESET, when its peer left without reading all; what it sent has been read by now. */
      stream->end[from].finished = true;
      shutdown(stream->end[to].fd, SHUT_WR);
      return false;
    }
    size_t given = 0;
    if (!give(stream, to, (size_t)seen, &given)) {
      stream->end[from].finished = true;
      /* Nobody is there to receive; a server that answered before it stopped listening is still heard. */
      if (to == CLIENT) stream->end[CLIENT].broken = true;
      return false;
    }
    if (!take(stream, from, given)) {
      stream->end[CLIENT].broken = true;
      return false;
    }
    share = given > share ? 0 : share - given;
    if (given == 0 && stream->end[to].writable) return true;
  }
  return false;
}

/*
 * Bytes that a client sent to a server that had gone. Left in the queue they would turn the close into a reset, which
 * throws away what the client has yet to receive (RFC 1122, 4.2.2.13).
 */
static void discard(int client) {
  for (size_t size = 0; size < DISCARD_MAX;) {
    ssize_t taken = recv(client, passing, sizeof passing, MSG_DONTWAIT | MSG_TRUNC);
    if (taken <= 0) return;
    size += (size_t)taken;
  }
}

enum stream_state stream_move(struct stream *stream, size_t share) {
  bool more = move(stream, CLIENT, share);
  more = move(stream, SERVER, share) || more;
  bool ended = stream->end[CLIENT].finished && stream->end[SERVER].finished;
  if (!ended && !stream->end[CLIENT].broken) return more ? STREAM_HAS_MORE : STREAM_WAITS;
  if (!stream->end[CLIENT].broken) discard(stream->end[CLIENT].fd);
  return STREAM_ENDED;
}
