/*
 * fuzz SEED RUNS: gives random, mostly plausible command lines, USERs and account files to the parsers and holds what
 * they accept to what the rest of bottle-init relies on. Built with the sanitizers; a failure names its run, and the
 * same seed and run fail again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "account.h"
#include "options.h"

enum { ARGUMENTS_MAX = 24, FILE_MAX = 2048 };

static uint64_t state;
static unsigned long run;
/* How many of each were accepted, so that a fuzzer that only ever sees refusals is noticed. */
static unsigned long accepted_lines;
static unsigned long accepted_accounts;

/* xorshift64* (Vigna 2014). */
static uint64_t draw(void) {
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return state * UINT64_C(0x2545F4914F6CDD1D);
}

static size_t below(size_t limit) { return (size_t)(draw() >> 11) % limit; }

static void must(bool holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "run %lu: %s\n", run, what);
  abort();
}

static const char *const words[] = {
    "--", "exec", "--user", "--user=", "--user=node", "--keep-home", "--keep-home=1", "--workdir", "--workdir=/", "/work",
    "--keep-caps", "--keep-caps=chown,kill", "--keep-caps=none", "chown,", ",", "none", "--drop-caps", "--relay",
    "--relay=127.0.0.1:3128=/run/gate.sock", "127.0.0.1:1=/a", "127.0.0.1:65536=/a", "[::1]:65535=/a", "[::1]:0=/a",
    "127.0.0.1:99999999999999999999=/a", "127.0.0.1:80", "0.0.0.0:80=/a", "127.0.0.1:80=a", "127.0.0.1:=/a", "=", "",
    "--grace", "--grace=0", "--grace=600000", "--grace=600001", "-1", "--help", "--version", "--unknown", "node:wheel",
    "0", "1000:1000", "4294967295", "2147483647", "2147483648", "0:", ":", ":0", "a:b:c", "node", "wheel", "root", "true",
};

static const char *const pieces[] = {
    "root:x:0:0:root:/root:/bin/sh\n", "node:x:1000:1000::/home/node:/bin/sh\n", "node", ":", "::", "\n", ",", "x", "0",
    "1000", "4294967296", "-1", "+::::::\n", "wheel:x:10:root,node\n", "wheel:x:10:", "/", "node,node,", "many:x:77:node\n",
};

static size_t mutate(char *bytes, size_t size, size_t room) {
  for (size_t left = below(4); left > 0 && size > 0; left--) {
    size_t at = below(size);
    switch (below(3)) {
      case 0: bytes[at] = (char)draw(); break;
      case 1: memmove(bytes + at, bytes + at + 1, size - at - 1), size--; break;
      default:
        if (size == room) break;
        memmove(bytes + at + 1, bytes + at, size - at);
        bytes[at] = "-=:,/\n0a"[below(8)];
        size++;
    }
  }
  return size;
}

static char *draw_argument(void) {
  /* Exactly as long as it is, so that the sanitizer sees any reading beyond. */
  char scratch[512];
  const char *word = words[below(sizeof words / sizeof words[0])];
  size_t size = strlen(word);
  memcpy(scratch, word, size);
  if (below(4) == 0) size = mutate(scratch, size, sizeof scratch);
  if (below(64) == 0) {
    size_t more = below(sizeof scratch - size);
    memset(scratch + size, 'a', more);
    size += more;
  }
  char *argument = malloc(size + 1);
  must(argument != NULL, "no memory");
  memcpy(argument, scratch, size);
  argument[size] = '\0';
  return argument;
}

static void try_options(void) {
  int argc = (int)below(ARGUMENTS_MAX);
  char **argv = calloc((size_t)argc + 1, sizeof *argv);
  must(argv != NULL, "no memory");
  for (int i = 0; i < argc; i++) argv[i] = draw_argument();
  struct options options;
  struct complaint complaint = {NULL, NULL};
  if (!parse_options(argc, argv, &options, &complaint)) {
    must(complaint.what != NULL && complaint.about != NULL, "a refusal without words");
    must(strlen(complaint.what) > 0 && strlen(complaint.about) < 1024, "a refusal that cannot be read");
  } else if (options.mode == MODE_RUN || options.mode == MODE_EXEC) {
    accepted_lines++;
    must(options.command > argv && options.command < argv + argc, "a command outside the arguments");
    must(strcmp(options.command[-1], "--") == 0, "a command that no -- begins");
    must(options.relay_count <= RELAYS_MAX && options.grace <= 600000, "a number out of bounds");
    must(options.mode == MODE_RUN || options.relay_count == 0, "a relay with exec");
    must(options.limits_capabilities || options.kept_capabilities == 0, "capabilities kept without a limit");
    must(options.user == NULL || options.user[0] != '\0', "an empty user");
    must(options.workdir == NULL || options.workdir[0] == '/', "a relative working directory");
    for (unsigned i = 0; i < options.relay_count; i++) {
      must(options.relays[i].port > 0, "a relay on port 0");
      must(options.relays[i].socket[0] == '/' && strlen(options.relays[i].socket) < 108, "a socket that does not fit");
    }
  }
  for (int i = 0; i < argc; i++) free(argv[i]);
  free(argv);
}

static struct text draw_file(void) {
  char scratch[FILE_MAX];
  size_t size = 0;
  for (size_t left = below(24); left > 0; left--) {
    const char *piece = pieces[below(sizeof pieces / sizeof pieces[0])];
    size_t length = strlen(piece);
    if (size + length > sizeof scratch) break;
    memcpy(scratch + size, piece, length);
    size += length;
  }
  size = mutate(scratch, size, sizeof scratch);
  char *bytes = malloc(size == 0 ? 1 : size);
  must(bytes != NULL, "no memory");
  memcpy(bytes, scratch, size);
  return (struct text){bytes, size};
}

static void try_account(void) {
  static struct account account;
  char *spec = draw_argument();
  struct text passwd = draw_file();
  struct text group = draw_file();
  if (find_account(spec, passwd, group, &account) == NULL) {
    accepted_accounts++;
    must(account.uid <= 0x7fffffff && account.gid <= 0x7fffffff, "a number that is none");
    must(account.group_count > 0 && account.group_count <= ACCOUNT_GROUPS_MAX, "no group, or too many");
    must(account.groups[0] == account.gid, "a primary group that is not the first");
    must(memchr(account.home, '\0', sizeof account.home) != NULL && account.home[0] != '\0', "a home without an end");
  }
  free(spec);
  free((void *)(uintptr_t)passwd.at);
  free((void *)(uintptr_t)group.at);
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  uint64_t seed = strtoull(argv[1], NULL, 10);
  unsigned long runs = strtoul(argv[2], NULL, 10);
  for (run = 0; run < runs; run++) {
    state = (seed << 32 ^ run) * UINT64_C(0x9E3779B97F4A7C15) | 1;
    for (int i = 0; i < 4; i++) draw();
    try_options();
    try_account();
  }
  printf("%lu command lines and %lu accounts accepted\n", accepted_lines, accepted_accounts);
  return 0;
}
