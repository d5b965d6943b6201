/*
 * The functions on memory and strings that the program, or the compiler on its own, calls. None is on the relay's path,
 * so each is the plain loop; it must stay one, since the compiler would else turn it into a call of itself.
 */
#include <stddef.h>
#include <string.h>

#define PLAIN_LOOP __attribute__((optimize("no-tree-loop-distribute-patterns")))

PLAIN_LOOP void *memcpy(void *restrict to, const void *restrict from, size_t size) {
  unsigned char *out = to;
  const unsigned char *in = from;
  for (size_t i = 0; i < size; i++) out[i] = in[i];
  return to;
}

/* Only ever down, over itself: the loop of memcpy does that too. */
PLAIN_LOOP void *memmove(void *to, const void *from, size_t size) {
  unsigned char *out = to;
  const unsigned char *in = from;
  for (size_t i = 0; i < size; i++) out[i] = in[i];
  return to;
}

PLAIN_LOOP void *memset(void *to, int byte, size_t size) {
  unsigned char *out = to;
  for (size_t i = 0; i < size; i++) out[i] = (unsigned char)byte;
  return to;
}

/* The compiler may not leave it out, whatever becomes of the bytes. */
void explicit_bzero(void *to, size_t size) {
  memset(to, 0, size);
  __asm__ volatile("" : : "r"(to) : "memory");
}

PLAIN_LOOP int memcmp(const void *left, const void *right, size_t size) {
  const unsigned char *a = left;
  const unsigned char *b = right;
  for (size_t i = 0; i < size; i++) {
    if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
  }
  return 0;
}

PLAIN_LOOP void *memchr(const void *in, int byte, size_t size) {
  const unsigned char *at = in;
  for (size_t i = 0; i < size; i++) {
    if (at[i] == (unsigned char)byte) return (void *)(size_t)(at + i);
  }
  return NULL;
}

PLAIN_LOOP size_t strlen(const char *text) {
  size_t size = 0;
  while (text[size] != '\0') size++;
  return size;
}

PLAIN_LOOP int strcmp(const char *left, const char *right) {
  size_t i = 0;
  while (left[i] != '\0' && left[i] == right[i]) i++;
  return (unsigned char)left[i] - (unsigned char)right[i];
}

PLAIN_LOOP int strncmp(const char *left, const char *right, size_t size) {
  for (size_t i = 0; i < size; i++) {
    if (left[i] != right[i]) return (unsigned char)left[i] - (unsigned char)right[i];
    if (left[i] == '\0') return 0;
  }
  return 0;
}

PLAIN_LOOP char *strchr(const char *text, int byte) {
  for (;; text++) {
    if (*text == (char)byte) return (char *)(size_t)text;
    if (*text == '\0') return NULL;
  }
}
