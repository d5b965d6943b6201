#include "control.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "number.h"
#include "report.h"
#include "say.h"

void open_control(struct control *control, const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, path, strlen(path) + 1);
  *control = (struct control){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (control->fd < 0 || connect(control->fd, (struct sockaddr *)&address, sizeof address) < 0) {
    fail(STATUS_OWN_FAILURE, "cannot connect to ", path, ": ", why(), NULL);
  }
}

static enum message none_or_gone(ssize_t got) {
  return got < 0 && (errno == EAGAIN || errno == EINTR) ? MESSAGE_NONE : MESSAGE_GONE;
}

static size_t mapped_size(const struct control *control) { return control->size == 0 ? 1 : control->size; }

static enum message read_entries(struct control *control) {
  while (control->received < control->size) {
    size_t left = control->size - control->received;
    ssize_t got = recv(control->fd, control->entries + control->received, left, MSG_DONTWAIT);
    if (got <= 0) return none_or_gone(got);
    control->received += (size_t)got;
  }
  control->reads_entries = false;
  return are_entries((struct text){control->entries, control->size}) ? MESSAGE_GO : MESSAGE_MALFORMED;
}

static enum message read_go(struct control *control, struct text digits) {
  uint32_t size = 0;
  if (control->entries != NULL || !read_number(digits.at, digits.size, ENTRIES_SIZE_MAX, &size)) return MESSAGE_MALFORMED;
  control->size = size;
  control->entries =
      mmap(NULL, mapped_size(control), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (control->entries == MAP_FAILED) fail(STATUS_OWN_FAILURE, "cannot take the environment: ", why(), NULL);
  control->reads_entries = true;
  return read_entries(control);
}

enum message next_message(struct control *control) {
  if (control->reads_entries) return read_entries(control);
  for (;;) {
    char byte = '\0';
    ssize_t got = recv(control->fd, &byte, 1, MSG_DONTWAIT);
    if (got <= 0) return none_or_gone(got);
    if (byte == '\n') break;
    if (control->line_size == sizeof control->line) return MESSAGE_MALFORMED;
    control->line[control->line_size++] = byte;
  }
  struct text line = {control->line, control->line_size};
  control->line_size = 0;
  if (same(line, text_of("end"))) return MESSAGE_END;
  return cut_prefix(&line, "go ") ? read_go(control, line) : MESSAGE_MALFORMED;
}

bool are_entries(struct text entries) {
  size_t count = 0;
  while (entries.size > 0) {
    const char *end = memchr(entries.at, '\0', entries.size);
    if (end == NULL || ++count > ENTRIES_MAX) return false;
    size_t size = (size_t)(end - entries.at);
    const char *equals = size == 0 ? NULL : memchr(entries.at, '=', size);
    if (equals == NULL || equals == entries.at) return false;
    entries.at += size + 1;
    entries.size -= size + 1;
  }
  return true;
}

void forget_entries(struct control *control) {
  if (control->entries == NULL) return;
  explicit_bzero(control->entries, mapped_size(control));
  munmap(control->entries, mapped_size(control));
  control->entries = NULL;
  control->size = 0;
}

void close_control(struct control *control) {
  if (control->fd >= 0) close(control->fd);
  control->fd = -1;
}

static struct report begin_event(const char *event) {
  struct report report = {.size = 0};
  report_raw(&report, "{\"event\":");
  report_text(&report, text_of(event));
  return report;
}

static bool end_event(struct report *report, const struct control *control) {
  report_raw(report, "}");
  return send_report(report, control->fd);
}

bool tell_event(struct control *control, const char *event) {
  struct report report = begin_event(event);
  return end_event(&report, control);
}

static void add_status(struct report *report, int status) {
  report_raw(report, ",\"status\":");
  report_number(report, (uint32_t)status);
}

bool tell_exited(struct control *control, int status) {
  struct report report = begin_event("exited");
  add_status(&report, status);
  return end_event(&report, control);
}

bool tell_unrunnable(struct control *control, int status, struct text detail) {
  struct report report = begin_event("unrunnable");
  add_status(&report, status);
  report_raw(&report, ",\"detail\":");
  report_text(&report, detail);
  return end_event(&report, control);
}
