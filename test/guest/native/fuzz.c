/*
 * fuzz SEED RUNS: gives random, mostly plausible command lines, USERs and account files to the parsers and holds what
 * they accept to what the rest of bottle-init relies on. Built with the sanitizers; a failure names its run, and the
 * same seed and run fail again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>

#include "account.h"
#include "address.h"
#include "attempt.h"
#include "control.h"
#include "dns.h"
#include "frames.h"
#include "options.h"
#include "remains.h"
#include "report.h"
#include "tar_header.h"

enum { ARGUMENTS_MAX = 24, FILE_MAX = 2048 };

static uint64_t state;
static unsigned long run;
/* How many of each were accepted, so that a fuzzer that only ever sees refusals is noticed. */
static unsigned long accepted_lines;
static unsigned long accepted_accounts;
static unsigned long accepted_attempts;
static unsigned long accepted_addresses;
static unsigned long accepted_frames;
static unsigned long accepted_headers;
static unsigned long accepted_records;

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
    "--control", "--control=/run/control.sock", "--control=here", "/run/control.sock", "--probe", "probe", "idle", "unpack", "/", "archive", "settle",
    "--session", "--session=pipes", "--session=terminal", "--session=both", "pipes", "--tied",
    "--probe=a=tcp:1.1.1.1:443", "--probe=b=", "--probe=c", "--probe==x", "--probe=d=udp:2606:4700::1111:53:a.b", "e=f", "g=",
};

static const char *const attempts[] = {
    "tcp:1.1.1.1:443", "tcp:[2606:4700::1111]:443", "tcp:2606:4700::1111:443", "tcp:1.1.1.1", "tcp:1.1.1.1:0", "tcp::",
    "udp:1.1.1.1:53:canary.invalid", "udp:::1:53:a", "udp:1.1.1.1:53:", "udp:1.1.1.1:53:a..b", "proxy:http://a.b/", "proxy:",
    "proxy:http://[::1]:80/x", "proxy:https://a/", "direct:http://a:1", "direct:http://a:0", "direct:http://[]/",
    "direct:http://:80/", "direct:http://[::1", "direct:http://a b/", "direct:http://a/#b", "direct:http://", "x:", "",
};

static const char *const addresses[] = {
    "1.2.3.4", "255.255.255.255", "01.2.3.4", "1.2.3", "256.1.1.1", "::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::",
    "::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1::1.2.3.4", "::1::", ":::", ":1", "1:", "12345::", "fe80::1", "1.2.3.4::",
    "1:2:3:4:5:6:7:1.2.3.4", "::2:3:4:5:6:7:8", "::1:2:3:4:5:6:7:8", "AbCd::eF",
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

/* Exactly as long as it is, so that the sanitizer sees any reading beyond. */
static char *draw_like(const char *word) {
  char scratch[512];
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

static char *draw_argument(void) { return draw_like(words[below(sizeof words / sizeof words[0])]); }

static void check_probes(const struct options *options) {
  must(options->probe_count <= PROBES_MAX, "too many probes");
  must(options->mode == MODE_PROBE || options->probe_count == 0 || options->control != NULL, "probes for nobody");
  for (unsigned i = 0; i < options->probe_count; i++) {
    must(options->probes[i].name.size > 0 && options->probes[i].name.size <= PROBE_NAME_MAX, "a probe without a name");
    must(options->probes[i].attempt[-1] == '=', "an attempt that no = begins");
  }
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
  } else if (options.mode == MODE_PROBE) {
    accepted_lines++;
    must(options.probe_count > 0 && options.control == NULL && options.command == NULL, "a probe that is none");
    check_probes(&options);
  } else if (options.mode == MODE_IDLE) {
    must(argc == 2 && options.command == NULL && options.user == NULL, "an idler with something to do");
  } else if (options.mode == MODE_UNPACK || options.mode == MODE_ARCHIVE) {
    must(argc == 3 && options.path == argv[2] && options.path[0] == '/' && options.command == NULL, "no path");
  } else if (options.mode == MODE_SETTLE) {
    must(argc >= 3 && options.user != NULL && options.user[0] != '\0' && options.command == NULL, "nobody to settle for");
  } else if (options.mode == MODE_RUN || options.mode == MODE_EXEC) {
    accepted_lines++;
    must(options.command > argv && options.command < argv + argc, "a command outside the arguments");
    must(strcmp(options.command[-1], "--") == 0, "a command that no -- begins");
    must(!options.tied || (options.mode == MODE_EXEC && options.session == SESSION_NONE), "two ties, or one of the first process");
    must(options.relay_count <= RELAYS_MAX && options.grace <= 600000, "a number out of bounds");
    must(options.mode == MODE_RUN || options.relay_count == 0, "a relay with exec");
    must(options.mode == MODE_RUN || (options.control == NULL && options.probe_count == 0), "a control with exec");
    must(options.control == NULL || (options.control[0] == '/' && strlen(options.control) < 108), "a socket that does not fit");
    check_probes(&options);
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

static void try_attempt(void) {
  char *text = draw_like(attempts[below(sizeof attempts / sizeof attempts[0])]);
  size_t size = strlen(text);
  struct attempt attempt;
  const char *problem = read_attempt(text, &attempt);
  must(problem == NULL || strlen(problem) > 0, "a refusal without words");
  if (problem == NULL) {
    accepted_attempts++;
    must(attempt.port > 0, "port 0");
    bool http = attempt.kind == ATTEMPT_PROXY || attempt.kind == ATTEMPT_DIRECT;
    struct text pieces_of_it[] = {attempt.url, attempt.authority, attempt.host, attempt.path, attempt.name};
    for (size_t i = 0; i < sizeof pieces_of_it / sizeof pieces_of_it[0]; i++) {
      struct text piece = pieces_of_it[i];
      must(piece.size == 0 || (piece.at >= text && piece.at + piece.size <= text + size), "a piece outside the text");
      for (size_t at = 0; at < piece.size; at++) must(piece.at[at] > ' ' && piece.at[at] < 0x7f, "a byte that ends a line");
    }
    must(!http || (attempt.host.size > 0 && (attempt.path.size == 0 || attempt.path.at[0] == '/')), "no URL");
    unsigned char question[DNS_QUESTION_MAX];
    must(attempt.kind != ATTEMPT_UDP || dns_question(attempt.name, DNS_A, 1, question) > 0, "a name that is none");
  }
  free(text);
}

/* Our own reading of addresses against the libc's. */
static void try_address(void) {
  char *text = draw_like(addresses[below(sizeof addresses / sizeof addresses[0])]);
  struct ip ip;
  unsigned char theirs[16] = {0};
  bool is_ipv4 = inet_pton(AF_INET, text, theirs) == 1;
  bool is_ipv6 = !is_ipv4 && inet_pton(AF_INET6, text, theirs) == 1;
  bool ours = read_ip((struct text){text, strlen(text)}, &ip);
  must(ours == (is_ipv4 || is_ipv6), text);
  must(!ours || (ip.ipv6 == is_ipv6 && memcmp(ip.bytes, theirs, is_ipv4 ? 4 : 16) == 0), text);
  accepted_addresses += ours;
  free(text);
}

/* What comes from outside and is no argument: answers, environments, /proc. */
static void try_bytes(void) {
  static const unsigned char plausible[] = {0, 7, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1, 0xc0, 12, 0, 1, 0, 1,
                                            0, 0, 0, 9, 0, 4, 1, 2, 3, 4};
  size_t size = below(sizeof plausible + 1);
  char *bytes = malloc(size + 8);
  must(bytes != NULL, "no memory");
  memcpy(bytes, plausible, size);
  size = mutate(bytes, size, size + 8);
  char *exact = malloc(size == 0 ? 1 : size);
  must(exact != NULL, "no memory");
  memcpy(exact, bytes, size);
  struct ip found[2];
  must(dns_addresses((unsigned char *)exact, size, 7, found, 2) <= 2, "more addresses than asked for");
  struct text text = {exact, size};
  if (are_entries(text)) must(size == 0 || (exact[size - 1] == '\0' && exact[0] != '=' && exact[0] != '\0'), "no entries");
  pid_t parent = 0;
  bool is_zombie = false;
  if (read_stat(exact, size, &parent, &is_zombie)) must(parent >= 0, "a parent without a number");
  struct report report = {.size = 0};
  report_text(&report, text);
  must(report.size < sizeof report.bytes && report.bytes[0] == '"' && report.bytes[report.size - 1] == '"', "no string");
  for (size_t i = 0; i < report.size; i++) must(report.bytes[i] >= ' ' && report.bytes[i] < 0x7f, "no plain ASCII");
  free(bytes);
  free(exact);
}

/* A stream of frames, read from a buffer that is exactly as long as what has come so far. */
static void try_frames(void) {
  char scratch[256];
  size_t size = 0;
  for (size_t left = below(5); left > 0; left--) {
    static const char *const plausible[] = {"d\0\0\0\3abc", "d\0\0\0\0", "e\0\0\0\0", "w\0\0\0\4\0\x18\0\x50", "s\0\0\0\1\x0f"};
    static const size_t sizes[] = {8, 5, 5, 9, 6};
    size_t which = below(5);
    memcpy(scratch + size, plausible[which], sizes[which]);
    size += sizes[which];
  }
  size = mutate(scratch, size, sizeof scratch);
  for (size_t from = 0, have = 0; from + have <= size;) {
    char *exact = malloc(have == 0 ? 1 : have);
    must(exact != NULL, "no memory");
    memcpy(exact, scratch + from, have);
    struct frame frame;
    enum frame_state found = read_frame((struct text){exact, have}, &frame);
    if (found == FRAME_WHOLE) {
      accepted_frames++;
      must(frame.size == have && frame.payload.size + FRAME_HEADER_SIZE == have, "a frame of another size");
      must(frame.payload.at == exact + FRAME_HEADER_SIZE, "a payload outside the frame");
      must(frame.type != FRAME_SIGNAL || (frame.signal > 0 && frame.signal <= 64), "a signal that is none");
      from += have;
      have = 0;
    } else if (found == FRAME_PARTIAL) {
      must(frame.size > have && frame.size <= FRAME_MAX, "a frame that is never whole");
      have = frame.size;
    }
    free(exact);
    if (found == FRAME_MALFORMED) break;
  }
}

static void check_entry(const struct tar_entry *entry) {
  must(memchr(entry->path, '\0', sizeof entry->path) != NULL, "a path without an end");
  must(memchr(entry->link, '\0', sizeof entry->link) != NULL, "a link without an end");
  must(entry->mode <= 07777 && entry->uid < UINT32_MAX && entry->gid < UINT32_MAX, "a number out of bounds");
  must(entry->size <= INT64_MAX && entry->mtime_ns < 1000000000, "a size or time out of bounds");
}

static void try_tar_header(void) {
  static const char numbers[][9] = {"0000644", "0001750 ", "00000000", "77777777", "-1", " 12", "9", "\x80\0\0\0\0\0\0\1"};
  static const size_t fields[] = {100, 108, 116, 124, 136};
  struct tar_entry entry = {.type = '\0'};
  char *block = calloc(1, TAR_BLOCK_SIZE);
  must(block != NULL, "no memory");
  memset(block, 'n', below(101));
  memset(block + 157, 'l', below(101));
  memset(block + 345, 'p', below(3) == 0 ? below(156) : 0);
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
    memcpy(block + fields[i], numbers[below(sizeof numbers / sizeof numbers[0])], 8);
  }
  block[156] = "0125LKxg7\0"[below(10)];
  memcpy(block + 257, below(2) == 0 ? "ustar\00000" : "ustar  ", 8);
  for (size_t left = below(3); left > 0; left--) block[below(TAR_BLOCK_SIZE)] = (char)draw();
  unsigned sum = 0;
  memset(block + 148, ' ', 8);
  for (size_t i = 0; i < TAR_BLOCK_SIZE; i++) sum += (unsigned char)block[i];
  if (below(8) > 0) snprintf(block + 148, 8, "%06o", sum);
  if (read_tar_header(block, &entry) == NULL) {
    accepted_headers++;
    must(!is_end_block(block), "an end that is an entry");
    check_entry(&entry);
  }
  free(block);
}

static void try_tar_records(void) {
  static const char *const keys[] = {"path", "linkpath", "size", "mtime", "uid", "gid", "comment", "GNU.sparse.map", ""};
  static const char *const values[] = {"", "a/b", "../c", "0", "12", "-1.5", "1700000000.123456789123", "1.x", "-", ".5",
                                       "4294967295", "99999999999999999999", "-9223372036854775807.9"};
  char scratch[1024];
  size_t size = 0;
  for (size_t left = below(6); left > 0; left--) {
    char record[128];
    const char *key = keys[below(sizeof keys / sizeof keys[0])];
    const char *value = values[below(sizeof values / sizeof values[0])];
    size_t length = strlen(key) + strlen(value) + 3;
    length += length + 1 > 9 ? 2 : 1;
    int written = snprintf(record, sizeof record, "%zu %s=%s\n", length, key, value);
    memcpy(scratch + size, record, (size_t)written);
    size += (size_t)written;
  }
  if (below(2) == 0) size = mutate(scratch, size, sizeof scratch);
  char *exact = malloc(size == 0 ? 1 : size);
  must(exact != NULL, "no memory");
  memcpy(exact, scratch, size);
  struct tar_entry entry = {.type = '\0'};
  if (read_tar_records((struct text){exact, size}, &entry) == NULL) {
    accepted_records++;
    check_entry(&entry);
    must(!entry.has_path || entry.path[0] != '\0', "an empty path that counts");
  }
  read_tar_name((struct text){exact, size}, below(2) == 0, &entry);
  check_entry(&entry);
  free(exact);
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
    try_attempt();
    try_address();
    try_bytes();
    try_frames();
    try_tar_header();
    try_tar_records();
  }
  printf("%lu command lines and %lu accounts accepted, %lu attempts and %lu addresses, %lu frames, %lu headers and %lu records\n",
         accepted_lines, accepted_accounts, accepted_attempts, accepted_addresses, accepted_frames, accepted_headers,
         accepted_records);
  return 0;
}
