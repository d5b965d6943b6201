#ifndef BOTTLE_TAR_HEADER_H
#define BOTTLE_TAR_HEADER_H

#include <linux/limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

/* ustar, the pax records that matter, and GNU tar's long names (pax(1), tar(5)). */
enum { TAR_BLOCK_SIZE = 512, TAR_RECORDS_MAX = 1 << 20 };

/* The types that have a meaning here. A regular file is also of type NUL or '7'. */
enum tar_type {
  TAR_REGULAR = '0',
  TAR_HARDLINK = '1',
  TAR_SYMLINK = '2',
  TAR_CHARACTER = '3',
  TAR_BLOCK = '4',
  TAR_DIRECTORY = '5',
  TAR_FIFO = '6',
  TAR_RECORDS = 'x',
  TAR_GLOBAL_RECORDS = 'g',
  TAR_LONG_NAME = 'L',
  TAR_LONG_LINK = 'K',
};

/* One entry. Before its own header come others that tell of it what does not fit there, and count before it. */
struct tar_entry {
  char type;
  bool has_path;
  bool has_link;
  bool has_size;
  bool has_mtime;
  bool has_uid;
  bool has_gid;
  char path[PATH_MAX];
  char link[PATH_MAX];
  uint64_t size;
  int64_t mtime;
  uint32_t mtime_ns;
  uint32_t mode;
  uint32_t uid;
  uint32_t gid;
};

/* Whether all of the block is zero, as two are at the end of an archive. */
bool is_end_block(const char *block);

/*
 * The size and type of what this block is the header of; NULL, or what is wrong with it. Its size is that of the records or
 * of the name if it is only about the next one.
 */
const char *read_tar_type(const char *block, char *type, uint64_t *size);

/* Fills in of the entry what nothing before told. NULL, or what is wrong. */
const char *read_tar_header(const char *block, struct tar_entry *entry);

/* Takes pax records ("LENGTH KEYWORD=VALUE\n"). NULL, or what is wrong. */
const char *read_tar_records(struct text records, struct tar_entry *entry);

/* Takes a long name (or what a link names), with or without a NUL behind it. NULL, or what is wrong. */
const char *read_tar_name(struct text name, bool is_link, struct tar_entry *entry);

#endif
