#include "loopback.h"

#include <net/if.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "say.h"

static bool raise_by(int fd) {
  struct ifreq request = {.ifr_name = "lo"};
  if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) return false;
  if ((request.ifr_flags & IFF_UP) != 0) return true;
  request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
  return ioctl(fd, SIOCSIFFLAGS, &request) == 0;
}

void raise_loopback(bool needed) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  bool up = fd >= 0 && raise_by(fd);
  if (!up && needed) fail(STATUS_OWN_FAILURE, "cannot bring up the loopback interface: ", why(), NULL);
  if (fd >= 0) close(fd);
}
