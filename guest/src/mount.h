#ifndef BOTTLE_MOUNT_H
#define BOTTLE_MOUNT_H

#include <stdint.h>

/*
 * Which mount this name in the directory is on; "" is the directory itself. 0 where the kernel does not tell (before 5.8, and
 * gVisor). Devices' numbers would not do: a file of an overlay may have another than its directory (kernel,
 * Documentation/filesystems/overlayfs.rst), and a mount of the same file system has none of its own.
 */
uint64_t mount_of(int directory, const char *name);

#endif
