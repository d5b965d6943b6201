#ifndef BOTTLE_FILTER_H
#define BOTTLE_FILTER_H

/*
 * Forbids, for this process and all it starts, the calls that lead past the bottle's walls or deep into the kernel, whatever
 * the engine's own filter lets through. Needs no_new_privs. Fails by itself; where the kernel has no filters, does nothing.
 */
void forbid_calls(void);

#endif
