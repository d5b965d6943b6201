#include "report.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void report_raw(struct report *report, const char *json) {
  size_t size = strlen(json);
  /* Room for the line's end; a report has few texts, so that it always fits. */
  if (report->size + size + 1 > sizeof report->bytes) return;
  memcpy(report->bytes + report->size, json, size);
  report->size += size;
}

static void add_byte(struct report *report, unsigned char byte) {
  static const char digits[] = "0123456789abcdef";
  char piece[7] = {(char)byte, '\0'};
  if (byte == '"' || byte == '\\') {
    memcpy(piece, (char[]){'\\', (char)byte, '\0'}, 3);
  } else if (byte < 0x20 || byte == 0x7f) {
    memcpy(piece, (char[]){'\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15], '\0'}, 7);
  }
  report_raw(report, piece);
}

void report_text(struct report *report, struct text text) {
  if (text.size > REPORT_TEXT_MAX) text.size = REPORT_TEXT_MAX;
  report_raw(report, "\"");
  for (size_t i = 0; i < text.size; i++) {
    unsigned char byte = (unsigned char)text.at[i];
    add_byte(report, byte > 0x7f ? '?' : byte);
  }
  report_raw(report, "\"");
}

void report_path(struct report *report, const char *path) {
  report_raw(report, "\"");
  for (; *path != '\0'; path++) add_byte(report, (unsigned char)*path);
  report_raw(report, "\"");
}

void report_number(struct report *report, uint32_t number) {
  char digits[11];
  size_t at = sizeof digits - 1;
  digits[at] = '\0';
  do {
    digits[--at] = (char)('0' + number % 10);
    number /= 10;
  } while (number > 0);
  report_raw(report, digits + at);
}

bool send_report(struct report *report, int fd) {
  report->bytes[report->size++] = '\n';
  for (size_t sent = 0; sent < report->size;) {
    ssize_t written = write(fd, report->bytes + sent, report->size - sent);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    sent += (size_t)written;
  }
  return true;
}
