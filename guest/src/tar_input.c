#include "tar_input.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "say.h"

static struct {
  char bytes[128 * 1024];
  size_t at;
  size_t end;
} input;

static const char too_early[] = "the archive ends too early";

/* More bytes behind those that are there. False at the end. */
static bool fill(void) {
  if (input.at > 0) {
    memmove(input.bytes, input.bytes + input.at, input.end - input.at);
    input.end -= input.at;
    input.at = 0;
  }
  ssize_t got = 0;
  do got = read(STDIN_FILENO, input.bytes + input.end, sizeof input.bytes - input.end);
  while (got < 0 && errno == EINTR);
  if (got < 0) fail(STATUS_OWN_FAILURE, "cannot read the archive: ", why(), NULL);
  input.end += (size_t)got;
  return got > 0;
}

static const char *next_block(void) {
  while (input.end - input.at < TAR_BLOCK_SIZE) {
    if (!fill()) fail(STATUS_OWN_FAILURE, too_early, NULL);
  }
  const char *block = input.bytes + input.at;
  input.at += TAR_BLOCK_SIZE;
  return block;
}

struct text next_piece(uint64_t *left) {
  if (*left > 0 && input.at == input.end && !fill()) return (struct text){NULL, 0};
  size_t size = input.end - input.at;
  if (size > *left) size = (size_t)*left;
  struct text piece = {input.bytes + input.at, size};
  input.at += size;
  *left -= size;
  return piece;
}

void skip_padding(uint64_t size) {
  uint64_t left = (TAR_BLOCK_SIZE - size % TAR_BLOCK_SIZE) % TAR_BLOCK_SIZE;
  while (left > 0) {
    if (next_piece(&left).size == 0) fail(STATUS_OWN_FAILURE, too_early, NULL);
  }
}

/* Takes the data of an entry that is only about the next one. */
static struct text read_body(uint64_t size) {
  static char body[TAR_RECORDS_MAX];
  size_t used = 0;
  if (size > sizeof body) fail(STATUS_OWN_FAILURE, "the archive says more than 1 MiB about one entry", NULL);
  for (uint64_t left = size; left > 0;) {
    struct text piece = next_piece(&left);
    if (piece.size == 0) fail(STATUS_OWN_FAILURE, too_early, NULL);
    memcpy(body + used, piece.at, piece.size);
    used += piece.size;
  }
  skip_padding(size);
  return (struct text){body, used};
}

static void finish_input(void) {
  if (!is_end_block(next_block())) fail(STATUS_OWN_FAILURE, "one block of zeros is not the end of an archive", NULL);
  do input.at = input.end;
  while (fill());
}

bool next_entry(struct tar_entry *entry) {
  *entry = (struct tar_entry){.type = '\0'};
  for (bool is_first = true;; is_first = false) {
    const char *block = next_block();
    char type = '\0';
    uint64_t size = 0;
    if (is_end_block(block)) {
      if (!is_first) fail(STATUS_OWN_FAILURE, "the archive ends before an entry that was announced", NULL);
      finish_input();
      return false;
    }
    const char *problem = read_tar_type(block, &type, &size);
    if (problem == NULL) {
      switch (type) {
        case TAR_RECORDS: problem = read_tar_records(read_body(size), entry); break;
        case TAR_LONG_NAME: problem = read_tar_name(read_body(size), false, entry); break;
        case TAR_LONG_LINK: problem = read_tar_name(read_body(size), true, entry); break;
        /* What is said there of all entries are comments, in practice. */
        case TAR_GLOBAL_RECORDS: read_body(size); break;
        default:
          problem = read_tar_header(block, entry);
          if (problem == NULL) return true;
      }
    }
    if (problem != NULL) fail(STATUS_OWN_FAILURE, "the archive is malformed: ", problem, NULL);
  }
}
