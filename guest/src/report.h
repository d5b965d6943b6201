#ifndef BOTTLE_REPORT_H
#define BOTTLE_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "text.h"

/* Bytes of one text in a report; what is longer is cut. */
enum { REPORT_TEXT_MAX = 200 };

/* One line of JSON. */
struct report {
  char bytes[3 * 1024];
  size_t size;
};

/* Adds a piece of JSON as it is. */
void report_raw(struct report *report, const char *json);

/* Adds a string of at most REPORT_TEXT_MAX bytes, escaped (RFC 8259). Bytes beyond ASCII become '?'. */
void report_text(struct report *report, struct text text);

/* Adds a string with every byte of it, escaped, those beyond ASCII as they are. There must be room. */
void report_path(struct report *report, const char *path);

void report_number(struct report *report, uint32_t number);

/* Writes the line in one piece. False when it cannot be written. */
bool send_report(struct report *report, int fd);

#endif
