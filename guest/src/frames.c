#include "frames.h"

#include <stdbool.h>

enum { SIGNAL_MAX = 64 };

static uint32_t big_endian(const char *bytes, size_t size) {
  uint32_t number = 0;
  for (size_t i = 0; i < size; i++) number = number << 8 | (unsigned char)bytes[i];
  return number;
}

static bool has_right_length(char type, uint32_t length) {
  switch (type) {
    case FRAME_DATA: return length <= FRAME_PAYLOAD_MAX;
    case FRAME_END: return length == 0;
    case FRAME_SIZE: return length == 4;
    case FRAME_SIGNAL: return length == 1;
    default: return false;
  }
}

enum frame_state read_frame(struct text bytes, struct frame *frame) {
  *frame = (struct frame){.size = FRAME_HEADER_SIZE};
  if (bytes.size < FRAME_HEADER_SIZE) return FRAME_PARTIAL;
  uint32_t length = big_endian(bytes.at + 1, 4);
  if (!has_right_length(bytes.at[0], length)) return FRAME_MALFORMED;
  frame->type = (enum frame_type)bytes.at[0];
  frame->size = FRAME_HEADER_SIZE + length;
  if (bytes.size < frame->size) return FRAME_PARTIAL;
  frame->payload = (struct text){bytes.at + FRAME_HEADER_SIZE, length};
  if (frame->type == FRAME_SIZE) {
    frame->rows = (uint16_t)big_endian(frame->payload.at, 2);
    frame->columns = (uint16_t)big_endian(frame->payload.at + 2, 2);
  }
  if (frame->type == FRAME_SIGNAL) {
    frame->signal = (unsigned char)frame->payload.at[0];
    if (frame->signal == 0 || frame->signal > SIGNAL_MAX) return FRAME_MALFORMED;
  }
  return FRAME_WHOLE;
}
