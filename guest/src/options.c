#include "options.h"

#include <linux/capability.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

#include "number.h"

const char usage[] =
    "usage: bottle-init [OPTION...] -- COMMAND [ARGUMENT...]\n"
    "       bottle-init exec [OPTION...] -- COMMAND [ARGUMENT...]\n"
    "       bottle-init probe NAME=ATTEMPT...\n"
    "       bottle-init idle\n"
    "       bottle-init settle --user USER[:GROUP]\n"
    "       bottle-init unpack DIRECTORY\n"
    "       bottle-init archive PATH\n"
    "  --user USER[:GROUP]     become this user (name or number, as in a Dockerfile's USER)\n"
    "  --keep-home             leave HOME as it is, although the user changes\n"
    "  --workdir DIRECTORY     start there\n"
    "  --keep-caps LIST        keep only these capabilities (chown,kill or none)\n"
    "  --drop-caps             the same as --keep-caps none\n"
    "  --session KIND          pipes or terminal: standard input is frames, and all ends with it\n"
    "only with exec:\n"
    "  --variables SOCKET      take variables from this Unix socket\n"
    "  --tied                  end the command, and all it started, when standard input ends\n"
    "not with exec:\n"
    "  --relay LISTEN=SOCKET   listen on 127.0.0.1:PORT or [::1]:PORT for a Unix socket; repeatable\n"
    "  --grace MILLISECONDS    between TERM and KILL at the end (1000)\n"
    "  --control SOCKET        report to this Unix socket, and start when it says so\n"
    "  --probe NAME=ATTEMPT    try to get out before that, and report it; repeatable, needs --control\n"
    "an attempt is proxy:URL, direct:URL, tcp:ADDRESS:PORT or udp:ADDRESS:PORT:NAME\n";

/* In the order of their numbers (linux/capability.h). */
static const char *const capabilities[] = {
    "chown",           "dac_override",    "dac_read_search", "fowner",           "fsetid",
    "kill",            "setgid",          "setuid",          "setpcap",          "linux_immutable",
    "net_bind_service", "net_broadcast",  "net_admin",       "net_raw",          "ipc_lock",
    "ipc_owner",       "sys_module",      "sys_rawio",       "sys_chroot",       "sys_ptrace",
    "sys_pacct",       "sys_admin",       "sys_boot",        "sys_nice",         "sys_resource",
    "sys_time",        "sys_tty_config",  "mknod",           "lease",            "audit_write",
    "audit_control",   "setfcap",         "mac_override",    "mac_admin",        "syslog",
    "wake_alarm",      "block_suspend",   "audit_read",      "perfmon",          "bpf",
    "checkpoint_restore",
};
_Static_assert(sizeof capabilities / sizeof capabilities[0] == CAP_CHECKPOINT_RESTORE + 1, "a name for each");

static bool read_capabilities(const char *list, uint64_t *kept) {
  *kept = 0;
  if (strcmp(list, "none") == 0) return true;
  for (const char *at = list;;) {
    const char *end = strchr(at, ',');
    size_t size = end == NULL ? strlen(at) : (size_t)(end - at);
    size_t number = 0;
    size_t count = sizeof capabilities / sizeof capabilities[0];
    while (number < count &&
           !(strlen(capabilities[number]) == size && strncmp(capabilities[number], at, size) == 0)) {
      number++;
    }
    if (number == count) return false;
    *kept |= UINT64_C(1) << number;
    if (end == NULL) return true;
    at = end + 1;
  }
}

static const char *read_socket(const char *path) {
  if (path[0] != '/') return "the socket is an absolute path";
  if (strlen(path) >= sizeof((struct sockaddr_un *)NULL)->sun_path) return "the path of the socket is longer than 107 bytes";
  return NULL;
}

static const char *read_relay(const char *value, struct options *options) {
  static const char ipv4[] = "127.0.0.1:";
  static const char ipv6[] = "[::1]:";
  struct relay_address relay = {.ipv6 = false};
  const char *port = value;
  if (strncmp(value, ipv4, sizeof ipv4 - 1) == 0) {
    port += sizeof ipv4 - 1;
  } else if (strncmp(value, ipv6, sizeof ipv6 - 1) == 0) {
    relay.ipv6 = true;
    port += sizeof ipv6 - 1;
  } else {
    return "a relay listens on 127.0.0.1:PORT or [::1]:PORT";
  }
  const char *equals = strchr(port, '=');
  if (equals == NULL) return "a relay is LISTEN=SOCKET";
  uint32_t number = 0;
  if (!read_number(port, (size_t)(equals - port), UINT16_MAX, &number) || number == 0) {
    return "the port of a relay is a number from 1 to 65535";
  }
  relay.port = (uint16_t)number;
  relay.socket = equals + 1;
  const char *problem = read_socket(relay.socket);
  if (problem != NULL) return problem;
  for (unsigned i = 0; i < options->relay_count; i++) {
    if (options->relays[i].port == relay.port && options->relays[i].ipv6 == relay.ipv6) {
      return "two relays listen on one port";
    }
  }
  if (options->relay_count == RELAYS_MAX) return "there are more than 16 relays";
  options->relays[options->relay_count++] = relay;
  return NULL;
}

/* What is wrong with the attempt itself is for the report: whoever asked then knows which of them it is. */
static const char *read_probe(const char *value, struct options *options) {
  struct text attempt = text_of(value);
  struct probe probe;
  if (!cut(&attempt, '=', &probe.name) || attempt.at == NULL) return "a probe is NAME=ATTEMPT";
  if (probe.name.size == 0 || probe.name.size > PROBE_NAME_MAX) return "the name of a probe has 1 to 64 bytes";
  for (size_t i = 0; i < probe.name.size; i++) {
    if (probe.name.at[i] <= ' ' || probe.name.at[i] > '~') return "the name of a probe is plain ASCII";
  }
  for (unsigned i = 0; i < options->probe_count; i++) {
    if (same(options->probes[i].name, probe.name)) return "two probes have one name";
  }
  if (options->probe_count == PROBES_MAX) return "there are more than 16 probes";
  probe.attempt = attempt.at;
  options->probes[options->probe_count++] = probe;
  return NULL;
}

/* The value of an option: after its '=', or the next argument. NULL when there is none. */
static const char *value_of(const char *equals, int argc, char **argv, int *at) {
  if (equals != NULL) return equals + 1;
  if (*at + 1 >= argc || strcmp(argv[*at + 1], "--") == 0) return NULL;
  *at += 1;
  return argv[*at];
}

static const char *set_once(const char **field, const char *value) {
  if (*field != NULL) return "given twice";
  *field = value;
  return NULL;
}

static bool is(const char *name, size_t size, const char *option) {
  return strlen(option) == size && strncmp(name, option, size) == 0;
}

static const char *read_switch(const char *name, size_t size, bool has_value, struct options *options, bool *known) {
  *known = true;
  bool *field = NULL;
  if (is(name, size, "--keep-home")) {
    field = &options->keeps_home;
  } else if (options->mode == MODE_EXEC && is(name, size, "--tied")) {
    field = &options->tied;
  } else if (is(name, size, "--drop-caps")) {
    field = &options->limits_capabilities;
  } else {
    *known = false;
    return NULL;
  }
  if (has_value) return "takes no value";
  if (*field) return "given twice, or against another";
  *field = true;
  return NULL;
}

static const char *read_value(const char *name, size_t size, const char *value, struct options *options) {
  if (is(name, size, "--user")) return set_once(&options->user, value);
  if (is(name, size, "--workdir")) {
    if (value[0] != '/') return "the working directory is an absolute path";
    return set_once(&options->workdir, value);
  }
  if (is(name, size, "--keep-caps")) {
    if (options->limits_capabilities) return "given twice, or against another";
    options->limits_capabilities = true;
    return read_capabilities(value, &options->kept_capabilities) ? NULL : "no such capability";
  }
  if (is(name, size, "--session")) {
    if (options->session != SESSION_NONE) return "given twice";
    if (strcmp(value, "pipes") != 0 && strcmp(value, "terminal") != 0) return "a session is pipes or terminal";
    options->session = value[0] == 'p' ? SESSION_PIPES : SESSION_TERMINAL;
    return NULL;
  }
  if (is(name, size, "--relay")) return read_relay(value, options);
  if (is(name, size, "--probe")) return read_probe(value, options);
  if (is(name, size, "--control")) {
    const char *problem = read_socket(value);
    return problem != NULL ? problem : set_once(&options->control, value);
  }
  if (is(name, size, "--variables")) {
    const char *problem = read_socket(value);
    return problem != NULL ? problem : set_once(&options->variables, value);
  }
  uint32_t grace = 0;
  if (!read_number(value, strlen(value), 600000, &grace)) return "milliseconds, at most 600000";
  options->grace = grace;
  return NULL;
}

static bool takes_value(const char *name, size_t size, enum mode mode) {
  static const char *const both[] = {"--user", "--workdir", "--keep-caps", "--session"};
  for (size_t i = 0; i < sizeof both / sizeof both[0]; i++) {
    if (is(name, size, both[i])) return true;
  }
  if (mode == MODE_EXEC && is(name, size, "--variables")) return true;
  static const char *const first_only[] = {"--relay", "--grace", "--control", "--probe"};
  for (size_t i = 0; mode == MODE_RUN && i < sizeof first_only / sizeof first_only[0]; i++) {
    if (is(name, size, first_only[i])) return true;
  }
  return false;
}

static bool parse_probes(int argc, char **argv, struct options *options, struct complaint *complaint) {
  *complaint = (struct complaint){"needs NAME=ATTEMPT after it", "probe"};
  options->mode = MODE_PROBE;
  for (int at = 2; at < argc; at++) {
    complaint->about = argv[at];
    complaint->what = read_probe(argv[at], options);
    if (complaint->what != NULL) return false;
  }
  return argc > 2;
}

/* A mode that takes one absolute path and nothing else. */
static bool parse_path(int argc, char **argv, enum mode mode, struct options *options, struct complaint *complaint) {
  options->mode = mode;
  *complaint = (struct complaint){"needs one absolute path after it", argv[1]};
  if (argc != 3 || argv[2][0] != '/') return false;
  options->path = argv[2];
  return true;
}

/* `settle`, which takes a user and nothing else. */
static bool parse_settle(int argc, char **argv, struct options *options, struct complaint *complaint) {
  static const char form[] = "--user=";
  options->mode = MODE_SETTLE;
  *complaint = (struct complaint){"needs --user USER[:GROUP] after it", "settle"};
  if (argc == 4 && strcmp(argv[2], "--user") == 0) options->user = argv[3];
  if (argc == 3 && strncmp(argv[2], form, sizeof form - 1) == 0) options->user = argv[2] + sizeof form - 1;
  return options->user != NULL && options->user[0] != '\0';
}

/* `idle`, which takes nothing. */
static bool parse_idle(int argc, char **argv, struct options *options, struct complaint *complaint) {
  options->mode = MODE_IDLE;
  if (argc == 2) return true;
  *complaint = (struct complaint){"idle takes no arguments", argv[2]};
  return false;
}

bool parse_options(int argc, char **argv, struct options *options, struct complaint *complaint) {
  *options = (struct options){.mode = MODE_RUN, .grace = 1000};
  int at = 1;
  if (argc > 1 && strcmp(argv[1], "probe") == 0) return parse_probes(argc, argv, options, complaint);
  if (argc > 1 && strcmp(argv[1], "idle") == 0) return parse_idle(argc, argv, options, complaint);
  if (argc > 1 && strcmp(argv[1], "settle") == 0) return parse_settle(argc, argv, options, complaint);
  if (argc > 1 && strcmp(argv[1], "unpack") == 0) return parse_path(argc, argv, MODE_UNPACK, options, complaint);
  if (argc > 1 && strcmp(argv[1], "archive") == 0) return parse_path(argc, argv, MODE_ARCHIVE, options, complaint);
  if (argc > 1 && strcmp(argv[1], "exec") == 0) {
    options->mode = MODE_EXEC;
    at = 2;
  }
  if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "--version") == 0)) {
    options->mode = argv[1][2] == 'h' ? MODE_HELP : MODE_VERSION;
    return true;
  }
  for (; at < argc && strcmp(argv[at], "--") != 0; at++) {
    const char *name = argv[at];
    complaint->about = name;
    const char *equals = strchr(name, '=');
    size_t size = equals == NULL ? strlen(name) : (size_t)(equals - name);
    bool known = false;
    complaint->what = read_switch(name, size, equals != NULL, options, &known);
    if (complaint->what != NULL) return false;
    if (known) continue;
    complaint->what = "unknown option; options go before --, the command after it";
    if (!takes_value(name, size, options->mode)) return false;
    const char *value = value_of(equals, argc, argv, &at);
    complaint->what = "needs a value";
    if (value == NULL || value[0] == '\0') return false;
    complaint->what = read_value(name, size, value, options);
    if (complaint->what != NULL) return false;
  }
  complaint->about = "--probe";
  complaint->what = "needs --control";
  if (options->probe_count > 0 && options->control == NULL) return false;
  complaint->about = "--tied";
  complaint->what = "not with --session, which ends in the same way";
  if (options->tied && options->session != SESSION_NONE) return false;
  complaint->about = "--";
  complaint->what = "needs a command after it";
  if (at + 1 >= argc) return false;
  options->command = argv + at + 1;
  return true;
}
