/*
 * Makes the calls that bottle-init's filter is there for, each in a child of its own, and prints `abi name errno` for every
 * one; 0 is success. No libc, so that the same source is a 64-bit program and a 32-bit one. Most arguments are ones that
 * the kernel refuses too, with another error: whose refusal it was shows.
 */
#if defined(__aarch64__)
#define OF(amd64, arm64, i386) (arm64)
#else
#define OF(amd64, arm64, i386) (amd64)
#endif

struct call {
  const char *name;
  int own, narrow; /* -1: there is none */
  long arguments[5];
};

#define NEW(name, flag) \
  {"clone " name, OF(56, 220, 0), 120, {(flag) | 17, 0, 0, 0, 0}}, { "unshare " name, OF(272, 97, 0), 310, {(flag), 0, 0, 0, 0} }
#define SAME(name, number, ...) {name, number, number, {__VA_ARGS__}}
#define CALL(name, amd64, arm64, i386, ...) {name, OF(amd64, arm64, 0), i386, {__VA_ARGS__}}

static const struct call calls[] = {
    SAME("io_uring_setup", 425, 0, 0),
    SAME("io_uring_enter", 426, -1, 0, 0, -1, 0),
    SAME("io_uring_register", 427, -1, 0, 0, 0),
    SAME("open_tree", 428, -1, 0, -1),
    SAME("move_mount", 429, -1, 0, -1, 0, -1),
    SAME("fsopen", 430, 0, -1),
    SAME("fsconfig", 431, -1, -1, 0, 0, 0),
    SAME("fsmount", 432, -1, -1, -1),
    SAME("fspick", 433, -1, 0, -1),
    SAME("clone3", 435, 0, 0),
    SAME("mount_setattr", 442, -1, 0, -1, 0, 0),
    SAME("quotactl_fd", 443, -1, -1, 0, 0),
    SAME("open_tree_attr", 467, -1, 0, -1, 0, 0),
    CALL("mount", 165, 40, 21, 0, 0, 0, 0, 0),
    CALL("umount2", 166, 39, 52, 0, 0),
    CALL("umount", -1, -1, 22, 0),
    CALL("pivot_root", 155, 41, 217, 0, 0),
    CALL("setns", 308, 268, 346, -1, 0),
    CALL("open_by_handle_at", 304, 265, 342, -1, 0, 0),
    CALL("keyctl", 250, 219, 288, 0, -3, 0),
    CALL("add_key", 248, 217, 286, 0, 0, 0, 0, 0),
    CALL("request_key", 249, 218, 287, 0, 0, 0, 0),
    CALL("bpf", 321, 280, 357, -1, 0, 0),
    CALL("perf_event_open", 298, 241, 336, 0, 0, -1, -1, 0),
    CALL("userfaultfd", 323, 282, 374, -1),
    CALL("quotactl", 179, 60, 131, -1, 0, 0, 0),
    CALL("socket AF_VSOCK", 41, 198, 359, 40, 1, 0),
    CALL("socket AF_PACKET", 41, 198, 359, 17, 3, 0),
    CALL("socketcall", -1, -1, 102, 1, 0),
    NEW("mount", 0x00020000),
    NEW("cgroup", 0x02000000),
    NEW("uts", 0x04000000),
    NEW("ipc", 0x08000000),
    NEW("user", 0x10000000),
    NEW("pid", 0x20000000),
    NEW("net", 0x40000000),
    CALL("unshare time", 272, 97, 310, 0x80),
    /* What everybody may do. */
    CALL("clone nothing", 56, 220, 120, 17, 0, 0, 0, 0),
    CALL("unshare files", 272, 97, 310, 0x400),
    CALL("socket AF_UNIX", 41, 198, 359, 1, 1, 0),
    CALL("socket AF_INET", 41, 198, 359, 2, 1, 0),
};

#if defined(__x86_64__) || defined(__i386__)
static long narrow_call(long number, const long *a) {
  long result;
  __asm__ volatile("int $0x80"
                   : "=a"(result)
                   : "a"(number), "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4])
                   : "memory"
#if defined(__x86_64__)
                   , "r8", "r9", "r10", "r11"
#endif
  );
  return (int)result;
}
#endif

#if defined(__x86_64__)
static long own_call(long number, const long *a) {
  register long fourth __asm__("r10") = a[3];
  register long fifth __asm__("r8") = a[4];
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(fourth), "r"(fifth)
                   : "rcx", "r11", "memory");
  return result;
}
enum { WRITE = 1, EXIT = 60, WAIT = 61, CLONE = 56 };
#elif defined(__i386__)
#define own_call narrow_call
enum { WRITE = 4, EXIT = 1, WAIT = 114, CLONE = 120 };
#elif defined(__aarch64__)
static long own_call(long number, const long *a) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a[0];
  register long x1 __asm__("x1") = a[1];
  register long x2 __asm__("x2") = a[2];
  register long x3 __asm__("x3") = a[3];
  register long x4 __asm__("x4") = a[4];
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
}
enum { WRITE = 64, EXIT = 93, WAIT = 260, CLONE = 220 };
#endif

static long plain(long number, long first, long second, long third) {
  return own_call(number, (const long[5]){first, second, third, 0, 0});
}

static void say(const char *text) {
  long length = 0;
  while (text[length] != 0) length++;
  plain(WRITE, 1, (long)text, length);
}

static void try(const char *abi, const char *name, long (*make)(long, const long *), long number, const long *arguments) {
  static int status;
  long child = plain(CLONE, 17, 0, 0);
  if (child == 0) {
    long result = make(number, arguments);
    plain(EXIT, result < 0 ? -result : 0, 0, 0);
  }
  plain(WAIT, child, (long)&status, 0);
  const int code = (status >> 8) & 255;
  const char digits[] = {(char)('0' + code / 100), (char)('0' + code / 10 % 10), (char)('0' + code % 10), '\n', 0};
  say(abi);
  say(" ");
  say(name);
  say(" ");
  say(digits);
}

void _start(void) {
  for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
    const struct call *one = &calls[i];
#if defined(__i386__)
    if (one->narrow >= 0) try("i386", one->name, narrow_call, one->narrow, one->arguments);
#else
    if (one->own >= 0) try("own", one->name, own_call, one->own, one->arguments);
#endif
#if defined(__x86_64__)
    if (one->narrow >= 0) try("int80", one->name, narrow_call, one->narrow, one->arguments);
    if (one->own >= 0) try("x32", one->name, own_call, one->own | 0x40000000, one->arguments);
#endif
  }
  plain(EXIT, 0, 0, 0);
}
