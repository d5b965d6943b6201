#ifndef BOTTLE_PTY_H
#define BOTTLE_PTY_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A terminal of our own making. It belongs to whoever makes it, so that the user can open it by name. The master does not
 * block; neither is inherited by what is executed. 24 rows of 80 until it is told otherwise. Fails by itself.
 */
void open_pty(int *master, int *slave);

void resize_pty(int master, uint16_t rows, uint16_t columns);

/* The byte that means end of input; false when it is switched off. */
bool pty_end_byte(int master, char *byte);

/* For a child that leads a session: makes the terminal its controlling one and its standard streams. Fails by itself. */
void take_pty(int slave);

#endif
