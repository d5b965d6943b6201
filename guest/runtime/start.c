/*
 * What a libc's start-up does, as far as a static position-independent program needs it: relocate ourselves, make the
 * relocated data read-only, seed the stack protector, call main.
 */
#include <elf.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__x86_64__)
#define RELATIVE R_X86_64_RELATIVE
__asm__(".text\n"
        ".global _start\n"
        ".type _start, @function\n"
        "_start:\n"
        "  xor %ebp, %ebp\n"
        "  mov %rsp, %rdi\n"
        "  and $-16, %rsp\n"
        "  call begin\n"
        "  hlt\n");
#elif defined(__aarch64__)
#define RELATIVE R_AARCH64_RELATIVE
__asm__(".text\n"
        ".global _start\n"
        ".type _start, %function\n"
        "_start:\n"
        "  mov x29, #0\n"
        "  mov x30, #0\n"
        "  mov x0, sp\n"
        "  b begin\n");
#else
#error "bottle-init is for x86-64 and arm64"
#endif

#define HIDDEN __attribute__((visibility("hidden")))

int main(int argc, char **argv, char **envp);
_Noreturn HIDDEN void begin(uintptr_t *stack);

/* Both come from the linker. Hidden, so that they are reached without the table that is yet to be relocated. */
extern const Elf64_Ehdr __ehdr_start HIDDEN;
extern const Elf64_Dyn _DYNAMIC[] HIDDEN;

/* Names that the compiler's stack protector uses (-mstack-protector-guard=global; the default on arm64). */
extern uintptr_t __stack_chk_guard;
_Noreturn void __stack_chk_fail(void);
uintptr_t __stack_chk_guard;

static const Elf64_auxv_t *auxiliary;

_Noreturn void __stack_chk_fail(void) {
  for (;;) __builtin_trap();
}

unsigned long getauxval(unsigned long type) {
  for (const Elf64_auxv_t *entry = auxiliary; entry->a_type != AT_NULL; entry++) {
    if (entry->a_type == type) return entry->a_un.a_val;
  }
  return 0;
}

/* Runs before anything is relocated: no global data but the two hidden symbols, and no stack protector. */
__attribute__((no_stack_protector)) static void relocate(uintptr_t base) {
  const Elf64_Rela *rela = NULL;
  size_t size = 0;
  for (const Elf64_Dyn *entry = _DYNAMIC; entry->d_tag != DT_NULL; entry++) {
    if (entry->d_tag == DT_RELA) rela = (const Elf64_Rela *)(base + entry->d_un.d_ptr);
    if (entry->d_tag == DT_RELASZ) size = entry->d_un.d_val;
  }
  for (size_t i = 0; i < size / sizeof *rela; i++) {
    /* The linker makes no other kind for a program without libraries; script/build-guest checks that. */
    if (ELF64_R_TYPE(rela[i].r_info) != RELATIVE) __builtin_trap();
    *(uintptr_t *)(base + rela[i].r_offset) = base + (uintptr_t)rela[i].r_addend;
  }
}

static void protect(uintptr_t base) {
  const Elf64_Phdr *header = (const Elf64_Phdr *)getauxval(AT_PHDR);
  uintptr_t page = getauxval(AT_PAGESZ);
  for (unsigned long left = getauxval(AT_PHNUM); left > 0; left--, header++) {
    if (header->p_type != PT_GNU_RELRO) continue;
    uintptr_t from = (base + header->p_vaddr) & ~(page - 1);
    uintptr_t to = (base + header->p_vaddr + header->p_memsz) & ~(page - 1);
    if (to > from && mprotect((void *)from, to - from, PROT_READ) < 0) _exit(125);
  }
}

__attribute__((no_stack_protector)) _Noreturn void begin(uintptr_t *stack) {
  uintptr_t base = (uintptr_t)&__ehdr_start;
  relocate(base);
  int argc = (int)stack[0];
  char **argv = (char **)(stack + 1);
  char **envp = argv + argc + 1;
  char **end = envp;
  while (*end != NULL) end++;
  auxiliary = (const Elf64_auxv_t *)(const void *)(end + 1);
  const void *seed = (const void *)getauxval(AT_RANDOM);
  if (seed != NULL) memcpy(&__stack_chk_guard, seed, sizeof __stack_chk_guard);
  /* A first byte of zero stops string functions from leaking or forging the rest (little-endian on both). */
  __stack_chk_guard &= ~(uintptr_t)0xff;
  protect(base);
  _exit(main(argc, argv, envp));
}
