#include "text.h"

#include <string.h>

struct text text_of(const char *string) { return (struct text){string, strlen(string)}; }

bool same(struct text left, struct text right) {
  return left.size == right.size && (left.size == 0 || memcmp(left.at, right.at, left.size) == 0);
}

bool cut(struct text *rest, char separator, struct text *piece) {
  if (rest->at == NULL) return false;
  *piece = *rest;
  const char *end = rest->size == 0 ? NULL : memchr(rest->at, separator, rest->size);
  if (end == NULL) {
    rest->at = NULL;
    rest->size = 0;
    return true;
  }
  piece->size = (size_t)(end - rest->at);
  rest->at = end + 1;
  rest->size -= piece->size + 1;
  return true;
}

bool cut_last(struct text *rest, char separator, struct text *piece) {
  for (size_t at = rest->size; at > 0; at--) {
    if (rest->at[at - 1] != separator) continue;
    *piece = (struct text){rest->at + at, rest->size - at};
    rest->size = at - 1;
    return true;
  }
  return false;
}

bool cut_prefix(struct text *rest, const char *prefix) {
  size_t size = strlen(prefix);
  if (rest->size < size || memcmp(rest->at, prefix, size) != 0) return false;
  rest->at += size;
  rest->size -= size;
  return true;
}

static bool is_blank(char byte) { return byte == ' ' || byte == '\t' || byte == '\r'; }

bool cut_word(struct text *rest, struct text *word) {
  size_t from = 0;
  while (from < rest->size && is_blank(rest->at[from])) from++;
  size_t to = from;
  while (to < rest->size && !is_blank(rest->at[to])) to++;
  if (to == from) return false;
  *word = (struct text){rest->at + from, to - from};
  rest->at += to;
  rest->size -= to;
  return true;
}
