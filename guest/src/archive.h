#ifndef BOTTLE_ARCHIVE_H
#define BOTTLE_ARCHIVE_H

/* No such path: what `archive` exits with then, unlike with failures of its own. */
enum { STATUS_NO_PATH = 1 };

/*
 * Writes a tar archive of this (an absolute path) to standard output, under the last name in it. Symlinks are archived, not
 * followed; other mounts below it are left out. Fails by itself.
 */
void archive(const char *path);

#endif
