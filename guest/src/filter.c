#include "filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "say.h"

/*
 * Engines differ: Docker before 23 lets AF_VSOCK through, which no network namespace confines, so that a bottle in a
 * virtual machine could speak to the hypervisor; Podman lets every user make user namespaces, with all capabilities in
 * them. smolvm has no filter at all, and lets everybody ask for quotas. This comes on top of an engine's filter and can
 * only take away.
 */
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(value) BPF_STMT(BPF_RET | BPF_K, (value))
#define REFUSE(code) ANSWER(SECCOMP_RET_ERRNO | (code))
#define IF(value, skipped) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (skipped))
#define ANY_OF(bits, skipped) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (bits), 0, (skipped))
#define DENY(number) IF((uint32_t)(number), 1), REFUSE(EPERM)
#define ABSENT(number) IF((uint32_t)(number), 1), REFUSE(ENOSYS)

/* Both processors are little-endian: the low half of an argument comes first. The kernel reads no more of these. */
#define FIRST LOAD(args[0])

/* CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET; unshare also knows NEWTIME. */
#define NAMESPACES 0x7e020000U
#define TIME_NAMESPACE 0x00000080U

/* Families that have a use where there is no network. Everything else is refused as unknown. */
#define ONLY_FAMILIES(number)                                                                                   \
  IF((uint32_t)(number), 7), FIRST, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 4, 0),                         \
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 3, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 2, 0),  \
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 1, 0), REFUSE(EAFNOSUPPORT), ANSWER(SECCOMP_RET_ALLOW)
#define NO_FLAGS(number, bits) \
  IF((uint32_t)(number), 4), FIRST, ANY_OF((bits), 1), REFUSE(EPERM), ANSWER(SECCOMP_RET_ALLOW)

/* Since kernel 5.1 a call has the same number everywhere: io_uring, the newer mount calls, clone3, quotactl_fd. */
#define COMMON                                                                                                       \
  DENY(425), DENY(426), DENY(427), DENY(428), DENY(429), DENY(430), DENY(431), DENY(432), DENY(433), ABSENT(435), \
      DENY(442), DENY(443), DENY(467)

/* clone3 has its flags where a filter cannot see them; C libraries then use clone. */
static const struct sock_filter own[] = {
    LOAD(nr),
#if defined(__x86_64__)
    /* The numbers of x32, which no Debian kernel offers. */
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000U, 0, 1),
    REFUSE(ENOSYS),
#endif
    COMMON,
    DENY(SYS_setns),
    DENY(SYS_mount),
    DENY(SYS_umount2),
    DENY(SYS_pivot_root),
    DENY(SYS_open_by_handle_at),
    DENY(SYS_keyctl),
    DENY(SYS_add_key),
    DENY(SYS_request_key),
    DENY(SYS_bpf),
    DENY(SYS_perf_event_open),
    DENY(SYS_userfaultfd),
    DENY(SYS_quotactl),
    ONLY_FAMILIES(SYS_socket),
    NO_FLAGS(SYS_clone, NAMESPACES),
    NO_FLAGS(SYS_unshare, NAMESPACES | TIME_NAMESPACE),
    ANSWER(SECCOMP_RET_ALLOW),
};

/* The same for 32-bit programs, which this kernel may run too. */
static const struct sock_filter narrow[] = {
    LOAD(nr),
    COMMON,
#if defined(__x86_64__)
#define NARROW AUDIT_ARCH_I386
    ABSENT(102), /* socketcall: its family lies in memory, where a filter cannot look */
    DENY(346), DENY(21), DENY(22), DENY(52), DENY(217), DENY(342), DENY(288), DENY(286), DENY(287), DENY(357),
    DENY(336), DENY(374), DENY(131), ONLY_FAMILIES(359), NO_FLAGS(120, NAMESPACES), NO_FLAGS(310, NAMESPACES | TIME_NAMESPACE),
#define OWN AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NARROW AUDIT_ARCH_ARM
    DENY(375), DENY(21), DENY(52), DENY(218), DENY(371), DENY(311), DENY(309), DENY(310), DENY(386), DENY(364),
    DENY(388), DENY(131), ONLY_FAMILIES(281), NO_FLAGS(120, NAMESPACES), NO_FLAGS(337, NAMESPACES | TIME_NAMESPACE),
#define OWN AUDIT_ARCH_AARCH64
#endif
    ANSWER(SECCOMP_RET_ALLOW),
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
_Static_assert(COUNT(own) < 255 && COUNT(narrow) < 255, "a jump goes no further");

void forbid_calls(void) {
  static struct sock_filter all[COUNT(own) + COUNT(narrow) + 5];
  const struct sock_filter head[] = {
      LOAD(arch),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NARROW, 0, 1),
      BPF_STMT(BPF_JMP | BPF_JA, COUNT(own) + 1),
      REFUSE(ENOSYS),
  };
  size_t at = 0;
  for (size_t i = 0; i < COUNT(head); i++) all[at++] = head[i];
  for (size_t i = 0; i < COUNT(own); i++) all[at++] = own[i];
  for (size_t i = 0; i < COUNT(narrow); i++) all[at++] = narrow[i];
  const struct sock_fprog program = {.len = (unsigned short)at, .filter = all};
  if (prctl(PR_SET_SECCOMP, (long)SECCOMP_MODE_FILTER, (long)&program, 0L, 0L) == 0) return;
  /* A kernel without filters, or an emulator of a processor: the engine has none there either. */
  if (errno != EINVAL && errno != ENOSYS) fail(STATUS_OWN_FAILURE, "cannot forbid system calls: ", why(), NULL);
}
