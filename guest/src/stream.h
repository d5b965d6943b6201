#ifndef BOTTLE_STREAM_H
#define BOTTLE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The two ends of a stream. What is sent at one is received at the other. */
enum { CLIENT = 0, SERVER = 1 };

/* One connection: a TCP client on loopback, and the Unix socket that answers it. */
struct stream {
  struct {
    int fd;
    /* What epoll told and no call has denied since (its events are edge-triggered). */
    bool readable;
    bool writable;
    bool broken;
    /* Whether everything from this end has reached the other, or never will. */
    bool finished;
  } end[2];
  bool ready;
  struct stream *next;
};

enum stream_state { STREAM_WAITS, STREAM_HAS_MORE, STREAM_ENDED };

/* Notes what epoll says of one end. */
void stream_event(struct stream *stream, size_t end, uint32_t events);

/* Moves at most about `share` bytes each way. The descriptors of an ended stream are yet to be closed. */
enum stream_state stream_move(struct stream *stream, size_t share);

#endif
