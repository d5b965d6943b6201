#include "mount.h"

#include <fcntl.h>
#include <sys/stat.h>

uint64_t mount_of(int directory, const char *name) {
  struct statx found = {.stx_mask = 0};
  int flags = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT;
  if (statx(directory, name, flags, STATX_MNT_ID, &found) < 0) return 0;
  return (found.stx_mask & STATX_MNT_ID) == 0 ? 0 : found.stx_mnt_id;
}
