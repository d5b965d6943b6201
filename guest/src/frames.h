#ifndef BOTTLE_FRAMES_H
#define BOTTLE_FRAMES_H

#include <stddef.h>
#include <stdint.h>

#include "text.h"

enum { FRAME_HEADER_SIZE = 5, FRAME_PAYLOAD_MAX = 65536, FRAME_MAX = FRAME_HEADER_SIZE + FRAME_PAYLOAD_MAX };

/* One byte of type, four of the payload's length (big-endian), the payload: what a session's standard input consists of. */
enum frame_type { FRAME_DATA = 'd', FRAME_END = 'e', FRAME_SIZE = 'w', FRAME_SIGNAL = 's' };

struct frame {
  enum frame_type type;
  /* Points into what was read. */
  struct text payload;
  /* Bytes of the whole frame, or of its header while that has not all come. */
  size_t size;
  /* Of FRAME_SIZE. */
  uint16_t rows;
  uint16_t columns;
  /* Of FRAME_SIGNAL. */
  int signal;
};

/* PARTIAL: more bytes are needed, up to `size` for the next look. */
enum frame_state { FRAME_PARTIAL, FRAME_WHOLE, FRAME_MALFORMED };

/* Reads the frame that these bytes begin with. */
enum frame_state read_frame(struct text bytes, struct frame *frame);

#endif
