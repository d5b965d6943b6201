#include "tar_output.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "say.h"
#include "tar_header.h"

enum { NAME_SIZE = 100, RECORDS_SIZE = 3 * PATH_MAX };

static struct {
  char bytes[64 * 1024];
  size_t size;
} output;

/* Of the records before one entry. */
static struct {
  char bytes[RECORDS_SIZE];
  size_t size;
} records;

static void flush(void) {
  for (size_t done = 0; done < output.size;) {
    ssize_t count = write(STDOUT_FILENO, output.bytes + done, output.size - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail(STATUS_OWN_FAILURE, "cannot write the archive: ", why(), NULL);
    done += (size_t)count;
  }
  output.size = 0;
}

/* Room for so many bytes at most, one at least. */
static char *room(size_t *size) {
  if (output.size == sizeof output.bytes) flush();
  size_t left = sizeof output.bytes - output.size;
  if (*size > left) *size = left;
  return output.bytes + output.size;
}

/* NULL for zeros. */
static void put(const char *bytes, uint64_t size) {
  while (size > 0) {
    size_t fitting = size > sizeof output.bytes ? sizeof output.bytes : (size_t)size;
    char *at = room(&fitting);
    if (bytes == NULL) {
      memset(at, 0, fitting);
    } else {
      memcpy(at, bytes, fitting);
      bytes += fitting;
    }
    output.size += fitting;
    size -= fitting;
  }
}

static void put_padding(uint64_t size) { put(NULL, (TAR_BLOCK_SIZE - size % TAR_BLOCK_SIZE) % TAR_BLOCK_SIZE); }

/* Octal digits that fill the field up to a NUL; all sevens are not exceeded, since a record has the number then. */
static void set_number(char *block, size_t at, size_t size, uint64_t number) {
  for (size_t i = size - 1; i > 0; i--) {
    block[at + i - 1] = (char)('0' + number % 8);
    number /= 8;
  }
}

static bool fits(uint64_t number, size_t size) { return number >> (3 * (size - 1)) == 0; }

static void set_text(char *block, size_t at, size_t size, const char *text) {
  size_t length = strlen(text);
  memcpy(block + at, text, length > size ? size : length);
}

/* The fields that are the same for entries and records. */
static void finish_header(char *block, char type, uint64_t size) {
  set_number(block, 124, 12, fits(size, 12) ? size : 0);
  block[156] = type;
  memcpy(block + 257, "ustar\00000", 8);
  uint64_t sum = 8 * ' ';
  for (size_t i = 0; i < TAR_BLOCK_SIZE; i++) sum += (unsigned char)block[i];
  set_number(block, 148, 7, sum);
  block[155] = ' ';
  put(block, TAR_BLOCK_SIZE);
}

static size_t digits_of(uint64_t number, char digits[20]) {
  char reversed[20];
  size_t count = 0;
  do reversed[count++] = (char)('0' + number % 10);
  while ((number /= 10) > 0);
  for (size_t i = 0; i < count; i++) digits[i] = reversed[count - 1 - i];
  return count;
}

static void add_to_record(const char *bytes, size_t size) {
  memcpy(records.bytes + records.size, bytes, size);
  records.size += size;
}

/* "LENGTH KEYWORD=VALUE\n", where the length counts its own digits. Two names at most are long: there is room. */
static void add_record(const char *keyword, const char *value, size_t size) {
  char digits[20];
  size_t rest = strlen(keyword) + size + 3;
  size_t count = digits_of(rest, digits);
  while (digits_of(rest + count, digits) > count) count++;
  add_to_record(digits, count);
  add_to_record(" ", 1);
  add_to_record(keyword, strlen(keyword));
  add_to_record("=", 1);
  add_to_record(value, size);
  add_to_record("\n", 1);
}

static void add_number(const char *keyword, int64_t number) {
  char value[21] = "-";
  size_t sign = number < 0;
  uint64_t positive = number < 0 ? -(uint64_t)number : (uint64_t)number;
  add_record(keyword, value, 0 + sign + digits_of(positive, value + sign));
}

static void collect_records(const char *path, const char *link, const struct stat *found, uint64_t size) {
  records.size = 0;
  if (strlen(path) > NAME_SIZE) add_record("path", path, strlen(path));
  if (strlen(link) > NAME_SIZE) add_record("linkpath", link, strlen(link));
  if (!fits(size, 12)) add_number("size", (int64_t)size);
  if (!fits(found->st_uid, 8)) add_number("uid", found->st_uid);
  if (!fits(found->st_gid, 8)) add_number("gid", found->st_gid);
  if (found->st_mtime < 0 || !fits((uint64_t)found->st_mtime, 12)) add_number("mtime", found->st_mtime);
}

static void put_records(void) {
  char block[TAR_BLOCK_SIZE] = "PaxHeader";
  if (records.size == 0) return;
  set_number(block, 100, 8, 0644);
  set_number(block, 108, 8, 0);
  set_number(block, 116, 8, 0);
  set_number(block, 136, 12, 0);
  finish_header(block, TAR_RECORDS, records.size);
  put(records.bytes, records.size);
  put_padding(records.size);
}

static char type_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR: return TAR_DIRECTORY;
    case S_IFLNK: return TAR_SYMLINK;
    case S_IFCHR: return TAR_CHARACTER;
    case S_IFBLK: return TAR_BLOCK;
    case S_IFIFO: return TAR_FIFO;
    default: return TAR_REGULAR;
  }
}

void put_entry(const char *path, const char *link, const struct stat *found) {
  char block[TAR_BLOCK_SIZE] = {0};
  char type = type_of(found->st_mode);
  uint64_t size = type == TAR_REGULAR ? (uint64_t)found->st_size : 0;
  collect_records(path, link, found, size);
  put_records();
  set_text(block, 0, NAME_SIZE, path);
  set_text(block, 157, NAME_SIZE, link);
  set_number(block, 100, 8, found->st_mode & 07777);
  set_number(block, 108, 8, fits(found->st_uid, 8) ? found->st_uid : 0);
  set_number(block, 116, 8, fits(found->st_gid, 8) ? found->st_gid : 0);
  bool has_time = found->st_mtime >= 0 && fits((uint64_t)found->st_mtime, 12);
  set_number(block, 136, 12, has_time ? (uint64_t)found->st_mtime : 0);
  bool is_device = type == TAR_CHARACTER || type == TAR_BLOCK;
  set_number(block, 329, 8, is_device ? major(found->st_rdev) : 0);
  set_number(block, 337, 8, is_device ? minor(found->st_rdev) : 0);
  finish_header(block, type, size);
}

void put_data(int fd, uint64_t size) {
  uint64_t left = size;
  while (left > 0) {
    size_t fitting = left > sizeof output.bytes ? sizeof output.bytes : (size_t)left;
    char *at = room(&fitting);
    ssize_t got = read(fd, at, fitting);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(STATUS_OWN_FAILURE, "cannot read what is to be archived: ", why(), NULL);
    if (got == 0) break;
    output.size += (size_t)got;
    left -= (uint64_t)got;
  }
  put(NULL, left);
  put_padding(size);
}

void put_end(void) {
  put(NULL, 2 * (uint64_t)TAR_BLOCK_SIZE);
  flush();
}
