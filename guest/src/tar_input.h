#ifndef BOTTLE_TAR_INPUT_H
#define BOTTLE_TAR_INPUT_H

#include <stdint.h>

#include "tar_header.h"

/* The archive on standard input. */

/*
 * The next entry, with all that was told of it before, up to its data. False at the end of the archive, when all that
 * comes behind it has been read too. Fails by itself when it is malformed.
 */
bool next_entry(struct tar_entry *entry);

/* The next piece of the entry's data, of which `left` bytes are still to come; fewer then. Empty: the input has ended. */
struct text next_piece(uint64_t *left);

/* Reads over what fills up the last block of data of this size. Fails by itself when it is not there. */
void skip_padding(uint64_t size);

#endif
