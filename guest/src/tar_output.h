#ifndef BOTTLE_TAR_OUTPUT_H
#define BOTTLE_TAR_OUTPUT_H

#include <stdint.h>
#include <sys/stat.h>

/* An archive on standard output: ustar, with pax records for what does not fit. Everything here fails by itself. */

/* The header of one entry; `link` is what a symlink holds, else empty. Only a regular file has a size. */
void put_entry(const char *path, const char *link, const struct stat *found);

/* So many bytes of data out of the file, with zeros for what it has not (any more), and what fills up the last block. */
void put_data(int fd, uint64_t size);

/* The end of the archive. */
void put_end(void);

#endif
