/*
 * The system calls that bottle-init makes, under their usual C names, so that the same sources also link with a libc
 * (which is how they run under the sanitizers). One thread, no signal handlers, no cancellation: each is the bare call.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The kernel's signal sets are 64 bits wide; those of the headers begin with the same 64. */
#define SIGNAL_SET_SIZE 8

static int last_error;

int *__errno_location(void) { return &last_error; }

static long call(long number, long a, long b, long c, long d, long e, long f) {
#if defined(__x86_64__)
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
#else
  register long result __asm__("x0") = a;
  register long x8 __asm__("x8") = number;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc #0" : "+r"(result) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
#endif
  if (result < 0 && result >= -4095) {
    last_error = (int)-result;
    return -1;
  }
  return result;
}

#define CALL0(n) call(n, 0, 0, 0, 0, 0, 0)
#define CALL1(n, a) call(n, (long)(a), 0, 0, 0, 0, 0)
#define CALL2(n, a, b) call(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define CALL3(n, a, b, c) call(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define CALL4(n, a, b, c, d) call(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define CALL5(n, a, b, c, d, e) call(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define CALL6(n, a, b, c, d, e, f) call(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

long syscall(long number, ...) {
  va_list rest;
  va_start(rest, number);
  long a = va_arg(rest, long);
  long b = va_arg(rest, long);
  va_end(rest);
  return CALL2(number, a, b);
}

void _exit(int status) {
  for (;;) CALL1(SYS_exit_group, status);
}

/* Files. */
int open(const char *path, int flags, ...) { return (int)CALL4(SYS_openat, AT_FDCWD, path, flags, 0); }
ssize_t read(int fd, void *bytes, size_t size) { return CALL3(SYS_read, fd, bytes, size); }
ssize_t write(int fd, const void *bytes, size_t size) { return CALL3(SYS_write, fd, bytes, size); }
int close(int fd) { return (int)CALL1(SYS_close, fd); }
int fcntl(int fd, int command, ...) {
  va_list rest;
  va_start(rest, command);
  long value = va_arg(rest, long);
  va_end(rest);
  return (int)CALL3(SYS_fcntl, fd, command, value);
}
int pipe2(int ends[2], int flags) { return (int)CALL2(SYS_pipe2, ends, flags); }
ssize_t getdents64(int fd, void *entries, size_t size) { return (ssize_t)CALL3(SYS_getdents64, fd, entries, size); }
int dup3(int fd, int as, int flags) { return (int)CALL3(SYS_dup3, fd, as, flags); }
int fstat(int fd, struct stat *found) { return (int)CALL2(SYS_fstat, fd, found); }
int fchown(int fd, uid_t uid, gid_t gid) { return (int)CALL3(SYS_fchown, fd, uid, gid); }
int openat(int directory, const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  /* Garbage where there is no mode, at which the kernel does not look then. */
  unsigned mode = va_arg(rest, unsigned);
  va_end(rest);
  return (int)CALL4(SYS_openat, directory, path, flags, mode);
}
int fstatat(int directory, const char *restrict path, struct stat *restrict found, int flags) {
  return (int)CALL4(SYS_newfstatat, directory, path, found, flags);
}
int statx(int directory, const char *restrict path, int flags, unsigned wanted, struct statx *restrict found) {
  return (int)CALL5(SYS_statx, directory, path, flags, wanted, found);
}
int mkdirat(int directory, const char *path, mode_t mode) { return (int)CALL3(SYS_mkdirat, directory, path, mode); }
int unlinkat(int directory, const char *path, int flags) { return (int)CALL3(SYS_unlinkat, directory, path, flags); }
int symlinkat(const char *to, int directory, const char *path) {
  return (int)CALL3(SYS_symlinkat, to, directory, path);
}
ssize_t readlinkat(int directory, const char *restrict path, char *restrict to, size_t size) {
  return CALL4(SYS_readlinkat, directory, path, to, size);
}
int linkat(int from_directory, const char *from, int directory, const char *path, int flags) {
  return (int)CALL5(SYS_linkat, from_directory, from, directory, path, flags);
}
int fchownat(int directory, const char *path, uid_t uid, gid_t gid, int flags) {
  return (int)CALL5(SYS_fchownat, directory, path, uid, gid, flags);
}
int fchmod(int fd, mode_t mode) { return (int)CALL2(SYS_fchmod, fd, mode); }
int utimensat(int directory, const char *path, const struct timespec times[2], int flags) {
  return (int)CALL4(SYS_utimensat, directory, path, times, flags);
}
int futimens(int fd, const struct timespec times[2]) { return (int)CALL4(SYS_utimensat, fd, NULL, times, 0); }
mode_t umask(mode_t mask) { return (mode_t)CALL1(SYS_umask, mask); }
/* The numbers within a device's number (kernel, include/linux/kdev_t.h: new_encode_dev; wider in 64 bits). */
unsigned gnu_dev_major(dev_t device) { return (unsigned)((device >> 8 & 0xfff) | (device >> 32 & 0xfffff000)); }
unsigned gnu_dev_minor(dev_t device) { return (unsigned)((device & 0xff) | (device >> 12 & 0xffffff00)); }
int chdir(const char *path) { return (int)CALL1(SYS_chdir, path); }
int ioctl(int fd, unsigned long request, ...) {
  va_list rest;
  va_start(rest, request);
  long argument = va_arg(rest, long);
  va_end(rest);
  return (int)CALL3(SYS_ioctl, fd, request, argument);
}

/* Memory. */
void *mmap(void *at, size_t size, int access, int flags, int fd, off_t offset) {
  return (void *)CALL6(SYS_mmap, at, size, access, flags, fd, offset);
}
int munmap(void *at, size_t size) { return (int)CALL2(SYS_munmap, at, size); }
int mprotect(void *at, size_t size, int access) { return (int)CALL3(SYS_mprotect, at, size, access); }

/* Processes. */
pid_t fork(void) { return (pid_t)CALL5(SYS_clone, SIGCHLD, 0, 0, 0, 0); }
int execve(const char *path, char *const argv[], char *const envp[]) {
  return (int)CALL3(SYS_execve, path, argv, envp);
}
pid_t waitpid(pid_t pid, int *status, int options) { return (pid_t)CALL4(SYS_wait4, pid, status, options, 0); }
int kill(pid_t pid, int number) { return (int)CALL2(SYS_kill, pid, number); }
pid_t getpid(void) { return (pid_t)CALL0(SYS_getpid); }
pid_t getsid(pid_t pid) { return (pid_t)CALL1(SYS_getsid, pid); }
pid_t setsid(void) { return (pid_t)CALL0(SYS_setsid); }
pid_t getpgrp(void) { return (pid_t)CALL1(SYS_getpgid, 0); }
int setpgid(pid_t pid, pid_t group) { return (int)CALL2(SYS_setpgid, pid, group); }
int prctl(int option, ...) {
  va_list rest;
  va_start(rest, option);
  long a = va_arg(rest, long);
  long b = va_arg(rest, long);
  long c = va_arg(rest, long);
  long d = va_arg(rest, long);
  va_end(rest);
  return (int)CALL5(SYS_prctl, option, a, b, c, d);
}
int prlimit(pid_t pid, enum __rlimit_resource resource, const struct rlimit *wanted, struct rlimit *found) {
  return (int)CALL4(SYS_prlimit64, pid, resource, wanted, found);
}

/* Identities. */
uid_t getuid(void) { return (uid_t)CALL0(SYS_getuid); }
gid_t getgid(void) { return (gid_t)CALL0(SYS_getgid); }
int getresuid(uid_t *real, uid_t *effective, uid_t *saved) {
  return (int)CALL3(SYS_getresuid, real, effective, saved);
}
int getresgid(gid_t *real, gid_t *effective, gid_t *saved) {
  return (int)CALL3(SYS_getresgid, real, effective, saved);
}
int setresuid(uid_t real, uid_t effective, uid_t saved) {
  return (int)CALL3(SYS_setresuid, real, effective, saved);
}
int setresgid(gid_t real, gid_t effective, gid_t saved) {
  return (int)CALL3(SYS_setresgid, real, effective, saved);
}
int getgroups(int size, gid_t *groups) { return (int)CALL2(SYS_getgroups, size, groups); }
int setgroups(size_t size, const gid_t *groups) { return (int)CALL2(SYS_setgroups, size, groups); }

/* Signals. */
int sigfillset(sigset_t *set) {
  memset(set, 0xff, sizeof *set);
  return 0;
}
int sigemptyset(sigset_t *set) {
  memset(set, 0, sizeof *set);
  return 0;
}
int sigaddset(sigset_t *set, int number) {
  set->__val[0] |= 1UL << (number - 1);
  return 0;
}
int sigdelset(sigset_t *set, int number) {
  set->__val[0] &= ~(1UL << (number - 1));
  return 0;
}
int sigprocmask(int how, const sigset_t *set, sigset_t *old) {
  return (int)CALL4(SYS_rt_sigprocmask, how, set, old, SIGNAL_SET_SIZE);
}
int sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *limit) {
  return (int)CALL4(SYS_rt_sigtimedwait, set, info, limit, SIGNAL_SET_SIZE);
}
/* Only for SIG_DFL and SIG_IGN: a handler would need a way back, which is not here. */
__sighandler_t signal(int number, __sighandler_t action) {
  struct {
    __sighandler_t action;
    unsigned long flags;
    void (*restorer)(void);
    unsigned long mask;
  } wanted = {action, 0, 0, 0}, before = {0};
  return CALL4(SYS_rt_sigaction, number, &wanted, &before, SIGNAL_SET_SIZE) < 0 ? SIG_ERR : before.action;
}
int signalfd(int fd, const sigset_t *set, int flags) {
  return (int)CALL4(SYS_signalfd4, fd, set, SIGNAL_SET_SIZE, flags);
}

/* Sockets and events. */
int socket(int domain, int type, int protocol) { return (int)CALL3(SYS_socket, domain, type, protocol); }
int bind(int fd, __CONST_SOCKADDR_ARG address, socklen_t size) {
  return (int)CALL3(SYS_bind, fd, address.__sockaddr__, size);
}
int listen(int fd, int backlog) { return (int)CALL2(SYS_listen, fd, backlog); }
int accept4(int fd, __SOCKADDR_ARG address, socklen_t *size, int flags) {
  return (int)CALL4(SYS_accept4, fd, address.__sockaddr__, size, flags);
}
int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t size) {
  return (int)CALL3(SYS_connect, fd, address.__sockaddr__, size);
}
ssize_t recv(int fd, void *bytes, size_t size, int flags) {
  return CALL6(SYS_recvfrom, fd, bytes, size, flags, 0, 0);
}
ssize_t send(int fd, const void *bytes, size_t size, int flags) {
  return CALL6(SYS_sendto, fd, bytes, size, flags, 0, 0);
}
int shutdown(int fd, int how) { return (int)CALL2(SYS_shutdown, fd, how); }
int setsockopt(int fd, int level, int name, const void *value, socklen_t size) {
  return (int)CALL5(SYS_setsockopt, fd, level, name, value, size);
}
int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict size) {
  return (int)CALL5(SYS_getsockopt, fd, level, name, value, size);
}
int poll(struct pollfd *waited, nfds_t count, int timeout) {
  struct timespec limit = {timeout / 1000, timeout % 1000 * 1000000L};
  return (int)CALL5(SYS_ppoll, waited, count, timeout < 0 ? NULL : &limit, NULL, SIGNAL_SET_SIZE);
}
int epoll_create1(int flags) { return (int)CALL1(SYS_epoll_create1, flags); }
int epoll_ctl(int fd, int operation, int target, struct epoll_event *event) {
  return (int)CALL4(SYS_epoll_ctl, fd, operation, target, event);
}
int epoll_wait(int fd, struct epoll_event *events, int size, int timeout) {
  return (int)CALL6(SYS_epoll_pwait, fd, events, size, timeout, 0, SIGNAL_SET_SIZE);
}
int clock_gettime(clockid_t clock, struct timespec *now) { return (int)CALL2(SYS_clock_gettime, clock, now); }
