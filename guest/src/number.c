#include "number.h"

bool read_number(const char *digits, size_t size, uint32_t most, uint32_t *number) {
  uint64_t sum = 0;
  for (size_t i = 0; i < size; i++) {
    if (digits[i] < '0' || digits[i] > '9') return false;
    sum = sum * 10 + (uint64_t)(digits[i] - '0');
    if (sum > most) return false;
  }
  *number = (uint32_t)sum;
  return size > 0;
}
