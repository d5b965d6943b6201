#ifndef BOTTLE_TEXT_H
#define BOTTLE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* A piece of text that is not NUL-terminated. `at` is NULL when there is none. */
struct text {
  const char *at;
  size_t size;
};

struct text text_of(const char *string);

bool same(struct text left, struct text right);

/* Cuts off what comes before the separator, or all of it; false when there was nothing left to cut. */
bool cut(struct text *rest, char separator, struct text *piece);

/* Cuts off what comes after the last separator; false when there is no separator. */
bool cut_last(struct text *rest, char separator, struct text *piece);

/* Whether the text begins with this, which is then cut off. */
bool cut_prefix(struct text *rest, const char *prefix);

/* Cuts off the next word, between blanks; false when there is none. */
bool cut_word(struct text *rest, struct text *word);

#endif
