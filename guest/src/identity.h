#ifndef BOTTLE_IDENTITY_H
#define BOTTLE_IDENTITY_H

#include "account.h"
#include "options.h"

/* Ends this process when it was started as a set-uid or set-gid program, or with capabilities of its file. */
void refuse_borrowed_rights(void);

/*
 * Becomes the account (NULL: stays who we are), for good: standard streams that are pipes or terminals are given to it,
 * capabilities limited as asked, groups and user changed, new privileges forbidden, and all of it verified. The command
 * inherits it. Fails by itself.
 */
void become(const struct account *account, const struct options *options);

#endif
