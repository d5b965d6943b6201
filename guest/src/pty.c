#include "pty.h"

#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#include "say.h"

/* Not from <sys/ioctl.h>, whose terminals are the libc's: two shapes of one name. */
int ioctl(int fd, unsigned long request, ...);

/* asm/termios.h has it together with more of those. */
struct size_of_terminal {
  uint16_t rows;
  uint16_t columns;
  uint16_t pixels[2];
};

void open_pty(int *master, int *slave) {
  int locked = 0;
  *master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (*master < 0 || ioctl(*master, TIOCSPTLCK, &locked) < 0) {
    fail(STATUS_OWN_FAILURE, "cannot make a terminal with /dev/ptmx: ", why(), NULL);
  }
  /* By the master, not by a name: what /dev/pts shows here may be another mount than the one that /dev/ptmx is of. */
  *slave = ioctl(*master, TIOCGPTPEER, (long)(O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (*slave < 0) fail(STATUS_OWN_FAILURE, "cannot open the terminal that was made: ", why(), NULL);
  resize_pty(*master, 24, 80);
}

void resize_pty(int master, uint16_t rows, uint16_t columns) {
  struct size_of_terminal size = {.rows = rows, .columns = columns};
  ioctl(master, TIOCSWINSZ, &size);
}

bool pty_end_byte(int master, char *byte) {
  struct termios settings;
  if (ioctl(master, TCGETS, &settings) < 0) return false;
  *byte = (char)settings.c_cc[VEOF];
  /* _POSIX_VDISABLE. */
  return *byte != '\0';
}

void take_pty(int slave) {
  if (ioctl(slave, TIOCSCTTY, 0L) < 0) fail(STATUS_OWN_FAILURE, "cannot take the terminal: ", why(), NULL);
  for (int fd = 0; fd <= 2; fd++) {
    if (dup3(slave, fd, 0) < 0) fail(STATUS_OWN_FAILURE, "cannot take the terminal: ", why(), NULL);
  }
}
