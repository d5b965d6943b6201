#ifndef BOTTLE_UNPACK_H
#define BOTTLE_UNPACK_H

/*
 * Unpacks the tar archive on standard input below this directory, which is there, with owners, modes and times as named.
 * Nothing in the archive leads out of it: no "..", and no symlink on the way. Fails by itself.
 */
void unpack(const char *directory);

#endif
