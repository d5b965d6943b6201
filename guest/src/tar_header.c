#include "tar_header.h"

#include <string.h>

#include "number.h"

/* Where the fields are (pax(1), "ustar Header Block"). */
struct field {
  size_t at;
  size_t size;
};
static const struct field name_field = {0, 100}, mode_field = {100, 8}, uid_field = {108, 8}, gid_field = {116, 8};
static const struct field size_field = {124, 12}, mtime_field = {136, 12}, sum_field = {148, 8}, link_field = {157, 100};
static const struct field prefix_field = {345, 155};
enum { TYPE_AT = 156, MAGIC_AT = 257 };

bool is_end_block(const char *block) {
  for (size_t i = 0; i < TAR_BLOCK_SIZE; i++) {
    if (block[i] != '\0') return false;
  }
  return true;
}

/* GNU tar: a first byte of 0x80 or 0xff, then a big-endian number, two's complement. */
static bool read_binary(const unsigned char *bytes, size_t size, int64_t *number) {
  uint64_t sum = bytes[0] == 0xff ? UINT64_MAX : 0;
  for (size_t i = 1; i < size; i++) {
    uint64_t top = sum >> 55;
    if (top != 0 && top != UINT64_MAX >> 55) return false;
    sum = sum << 8 | bytes[i];
  }
  *number = (int64_t)sum;
  return (*number < 0) == (bytes[0] == 0xff);
}

static bool read_field(const char *block, struct field field, int64_t *number) {
  const unsigned char *bytes = (const unsigned char *)block + field.at;
  if (bytes[0] == 0x80 || bytes[0] == 0xff) return read_binary(bytes, field.size, number);
  size_t at = 0;
  uint64_t sum = 0;
  while (at < field.size && bytes[at] == ' ') at++;
  /* Twelve digits at most: no overflow. */
  for (; at < field.size && bytes[at] >= '0' && bytes[at] <= '7'; at++) sum = sum * 8 + (uint64_t)(bytes[at] - '0');
  for (; at < field.size; at++) {
    if (bytes[at] != ' ' && bytes[at] != '\0') return false;
  }
  *number = (int64_t)sum;
  return true;
}

/* The sum of all bytes, those of the sum itself counted as blanks. Some count them as signed. */
static bool has_right_sum(const char *block) {
  int64_t told = 0;
  int64_t plain = 0;
  int64_t with_signs = 0;
  for (size_t i = 0; i < TAR_BLOCK_SIZE; i++) {
    bool is_sum = i >= sum_field.at && i < sum_field.at + sum_field.size;
    plain += is_sum ? ' ' : (unsigned char)block[i];
    with_signs += is_sum ? ' ' : (signed char)block[i];
  }
  return read_field(block, sum_field, &told) && (told == plain || told == with_signs);
}

const char *read_tar_type(const char *block, char *type, uint64_t *size) {
  int64_t number = 0;
  if (!has_right_sum(block)) return "a header has a wrong checksum";
  if (!read_field(block, size_field, &number) || number < 0) return "a header has no size";
  *size = (uint64_t)number;
  *type = block[TYPE_AT] == '\0' || block[TYPE_AT] == '7' ? TAR_REGULAR : block[TYPE_AT];
  return NULL;
}

static struct text field_text(const char *block, struct field field) {
  const char *end = memchr(block + field.at, '\0', field.size);
  return (struct text){block + field.at, end == NULL ? field.size : (size_t)(end - block) - field.at};
}

/* Adds to a path; false when it does not fit, or holds a NUL. */
static bool add(char *path, size_t *size, struct text piece) {
  if (piece.size >= PATH_MAX - *size || (piece.size > 0 && memchr(piece.at, '\0', piece.size) != NULL)) return false;
  memcpy(path + *size, piece.at, piece.size);
  *size += piece.size;
  path[*size] = '\0';
  return true;
}

const char *read_tar_name(struct text name, bool is_link, struct tar_entry *entry) {
  size_t size = 0;
  if (name.size > 0 && name.at[name.size - 1] == '\0') name.size--;
  if (!add(is_link ? entry->link : entry->path, &size, name)) return "a name is no path, or too long for one";
  if (is_link) entry->has_link = true;
  if (!is_link) entry->has_path = true;
  return NULL;
}

static bool read_id(const char *block, struct field field, uint32_t *id) {
  int64_t number = 0;
  /* The last one means "leave it" to the kernel. */
  if (!read_field(block, field, &number) || number < 0 || number >= UINT32_MAX) return false;
  *id = (uint32_t)number;
  return true;
}

const char *read_tar_header(const char *block, struct tar_entry *entry) {
  uint64_t size = 0;
  int64_t number = 0;
  const char *problem = read_tar_type(block, &entry->type, &size);
  if (problem != NULL) return problem;
  if (!entry->has_size) entry->size = size;
  if (!entry->has_path) {
    size_t used = 0;
    struct text prefix = field_text(block, prefix_field);
    /* GNU tar's own format has "ustar  " here, and times where the prefix is. */
    if (prefix.size > 0 && memcmp(block + MAGIC_AT, "ustar", 6) == 0) {
      add(entry->path, &used, prefix);
      add(entry->path, &used, text_of("/"));
    }
    add(entry->path, &used, field_text(block, name_field));
    /* The oldest directories are files with a slash behind their names. */
    if (entry->type == TAR_REGULAR && used > 0 && entry->path[used - 1] == '/') entry->type = TAR_DIRECTORY;
  }
  if (!entry->has_link) {
    size_t used = 0;
    add(entry->link, &used, field_text(block, link_field));
  }
  if (!read_field(block, mode_field, &number)) return "a header has no mode";
  entry->mode = (uint32_t)number & 07777;
  if (!entry->has_uid && !read_id(block, uid_field, &entry->uid)) return "a header has no owner";
  if (!entry->has_gid && !read_id(block, gid_field, &entry->gid)) return "a header has no group";
  if (!entry->has_mtime && !read_field(block, mtime_field, &entry->mtime)) return "a header has no time";
  return NULL;
}

static bool read_decimal(struct text digits, uint64_t most, uint64_t *number) {
  uint64_t sum = 0;
  for (size_t i = 0; i < digits.size; i++) {
    if (digits.at[i] < '0' || digits.at[i] > '9' || sum > most / 10) return false;
    sum = sum * 10 + (uint64_t)(digits.at[i] - '0');
    if (sum > most) return false;
  }
  *number = sum;
  return digits.size > 0;
}

/* Seconds, maybe negative, maybe with a fraction. */
static bool read_time(struct text value, struct tar_entry *entry) {
  bool is_negative = cut_prefix(&value, "-");
  struct text seconds = {NULL, 0};
  uint64_t number = 0;
  uint32_t fraction = 0;
  if (!cut(&value, '.', &seconds) || !read_decimal(seconds, INT64_MAX, &number)) return false;
  for (size_t i = 0; value.at != NULL && i < value.size; i++) {
    if (value.at[i] < '0' || value.at[i] > '9') return false;
  }
  for (size_t i = 0; i < 9; i++) {
    fraction = fraction * 10 + (value.at != NULL && i < value.size ? (uint32_t)(value.at[i] - '0') : 0);
  }
  entry->mtime = is_negative ? -(int64_t)number : (int64_t)number;
  /* Nanoseconds count forward. */
  if (is_negative && fraction > 0) {
    entry->mtime--;
    fraction = 1000000000 - fraction;
  }
  entry->mtime_ns = fraction;
  entry->has_mtime = true;
  return true;
}

static bool take_id(struct text value, uint32_t *id, bool *has) {
  *has = read_number(value.at, value.size, UINT32_MAX - 1, id);
  return *has;
}

static const char *take_record(struct text key, struct text value, struct tar_entry *entry) {
  if (cut_prefix(&key, "GNU.sparse.")) return "a file with holes in a format that is not known here";
  /* An empty value takes back what was told before (pax(1)). */
  if (same(key, text_of("path"))) {
    entry->has_path = false;
    return value.size == 0 ? NULL : read_tar_name(value, false, entry);
  }
  if (same(key, text_of("linkpath"))) {
    entry->has_link = false;
    return value.size == 0 ? NULL : read_tar_name(value, true, entry);
  }
  bool is_right = true;
  if (same(key, text_of("size"))) {
    entry->has_size = value.size > 0;
    is_right = value.size == 0 || read_decimal(value, INT64_MAX, &entry->size);
  } else if (same(key, text_of("mtime"))) {
    entry->has_mtime = false;
    is_right = value.size == 0 || read_time(value, entry);
  } else if (same(key, text_of("uid"))) {
    is_right = take_id(value, &entry->uid, &entry->has_uid) || value.size == 0;
  } else if (same(key, text_of("gid"))) {
    is_right = take_id(value, &entry->gid, &entry->has_gid) || value.size == 0;
  }
  return is_right ? NULL : "a record is not what it says";
}

const char *read_tar_records(struct text records, struct tar_entry *entry) {
  static const char malformed[] = "records are malformed";
  while (records.size > 0) {
    uint32_t length = 0;
    const char *blank = memchr(records.at, ' ', records.size);
    if (blank == NULL) return malformed;
    size_t digits = (size_t)(blank - records.at);
    if (!read_number(records.at, digits, TAR_RECORDS_MAX, &length)) return malformed;
    /* At least the blank, a keyword of one byte, the '=' and the line feed. */
    if (length > records.size || length < digits + 4 || records.at[length - 1] != '\n') return malformed;
    struct text value = {blank + 1, length - digits - 2};
    struct text key = {NULL, 0};
    if (!cut(&value, '=', &key) || value.at == NULL || key.size == 0) return malformed;
    const char *problem = take_record(key, value, entry);
    if (problem != NULL) return problem;
    records.at += length;
    records.size -= length;
  }
  return NULL;
}
