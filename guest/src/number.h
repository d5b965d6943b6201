#ifndef BOTTLE_NUMBER_H
#define BOTTLE_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads decimal digits, all of them and nothing else, up to `most`. */
bool read_number(const char *digits, size_t size, uint32_t most, uint32_t *number);

#endif
