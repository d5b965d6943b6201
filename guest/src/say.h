#ifndef BOTTLE_SAY_H
#define BOTTLE_SAY_H

/* Exit statuses for what goes wrong before the command runs; the same as `docker run` has. */
enum { STATUS_OWN_FAILURE = 125, STATUS_NOT_EXECUTABLE = 126, STATUS_NOT_FOUND = 127 };

/*
 * Says one line on standard error: "bottle-init: " and the parts, up to a NULL. Control characters in the parts (they may
 * come from a hostile image) become '?', and a line over 1 KiB is cut.
 */
__attribute__((sentinel)) void say(const char *first, ...);

/* As `say`, then ends this process with the status. */
__attribute__((sentinel)) _Noreturn void fail(int status, const char *first, ...);

/* From now on `fail` also writes one byte, its status, and its words to this descriptor, in one piece. */
void tell_failures(int fd);

/* The usual words for the errno at this moment, or "error N". Good until the next call. */
const char *why(void);

#endif
