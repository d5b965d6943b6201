#include "probe.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attempt.h"
#include "dns.h"
#include "relay.h"
#include "report.h"
#include "resolve.h"
#include "say.h"

enum { ATTEMPT_MS = 1000, PROXY_PORT = 3128, ANSWER_MAX = 16 * 1024 };

static const char answered[] = "answered";
static const char refused[] = "refused";
static const char failed[] = "failed";
static const char error[] = "error";

struct finding {
  const char *outcome;
  struct text detail;
};

static struct finding found(const char *outcome, const char *detail) {
  return (struct finding){outcome, text_of(detail)};
}

/* What the peer said so far, and where it is put together what to say to it. One attempt a process. */
static char answer[ANSWER_MAX];

/* A connected descriptor, or -1 with what became of it. */
static int open_to(const struct ip *ip, uint16_t port, int type, int64_t deadline, struct finding *finding) {
  int fd = socket(ip->ipv6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    *finding = found(error, why());
    return -1;
  }
  struct socket_address address = socket_address(ip, port);
  int problem = connect(fd, (struct sockaddr *)&address.storage, address.size) == 0 ? 0 : errno;
  if (problem == EINPROGRESS) {
    struct pollfd waited = {.fd = fd, .events = POLLOUT};
    socklen_t size = sizeof problem;
    if (!wait_for(&waited, 1, deadline) || getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &size) < 0) problem = errno;
  }
  if (problem == 0) return fd;
  close(fd);
  errno = problem;
  *finding = found(failed, why());
  return -1;
}

static bool send_text(int fd, struct text text, int64_t deadline) {
  while (text.size > 0) {
    ssize_t sent = send(fd, text.at, text.size, MSG_NOSIGNAL);
    struct pollfd waited = {.fd = fd, .events = POLLOUT};
    if (sent < 0 && errno == EAGAIN && wait_for(&waited, 1, deadline)) continue;
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return false;
    text.at += sent;
    text.size -= (size_t)sent;
  }
  return true;
}

/* The first line of what follows the head of an HTTP message; false while it is not there yet. */
static bool find_body_line(struct text message, struct text *line) {
  struct text rest = message;
  while (cut(&rest, '\n', line) && rest.at != NULL) {
    if (line->size > 1 || (line->size == 1 && line->at[0] != '\r')) continue;
    return cut(&rest, '\n', line) && rest.at != NULL;
  }
  return false;
}

static struct text first_line(struct text message) {
  struct text line = {NULL, 0};
  cut(&message, '\n', &line);
  if (line.size > 0 && line.at[line.size - 1] == '\r') line.size--;
  return line;
}

/* Asks for the URL and reads until the body's first line, or as far as it comes. Empty with a finding for nothing at all. */
static struct text ask_http(int fd, struct text target, struct text authority, int64_t deadline,
                            struct finding *finding) {
  /* An answer in HTTP/1.0 comes in one piece, so that the body begins where the head ends. */
  const struct text request[] = {
      text_of("GET "),   target,    text_of(" HTTP/1.0\r\nHost: "),
      authority, text_of("\r\nUser-Agent: bottle-init\r\nConnection: close\r\n\r\n"),
  };
  struct text got = {answer, 0};
  struct text line;
  for (size_t i = 0; i < sizeof request / sizeof request[0]; i++) {
    if (send_text(fd, request[i], deadline)) continue;
    *finding = found(failed, why());
    /* A server may have said its mind before it stopped listening. */
    break;
  }
  while (got.size < sizeof answer && !find_body_line(got, &line)) {
    ssize_t size = recv(fd, answer + got.size, sizeof answer - got.size, MSG_DONTWAIT);
    if (size < 0 && errno == EINTR) continue;
    struct pollfd waited = {.fd = fd, .events = POLLIN};
    if (size < 0 && errno == EAGAIN && wait_for(&waited, 1, deadline)) continue;
    if (size < 0) *finding = found(failed, why());
    if (size == 0) *finding = found(failed, "closed without an answer");
    if (size <= 0) break;
    got.size += (size_t)size;
  }
  return got;
}

/* The status of an HTTP answer; 0 when it is none. */
static unsigned status_of(struct text message) {
  if (!cut_prefix(&message, "HTTP/1.0 ") && !cut_prefix(&message, "HTTP/1.1 ")) return 0;
  unsigned status = 0;
  for (size_t i = 0; i < 3; i++) {
    if (i >= message.size || message.at[i] < '0' || message.at[i] > '9') return 0;
    status = status * 10 + (unsigned)(message.at[i] - '0');
  }
  return status;
}

static struct finding try_proxy(const struct attempt *attempt, int64_t deadline) {
  static const struct ip loopback = {.bytes = {127, 0, 0, 1}};
  struct finding finding = found(failed, "");
  int fd = open_to(&loopback, PROXY_PORT, SOCK_STREAM, deadline, &finding);
  if (fd < 0) return finding;
  struct text got = ask_http(fd, attempt->url, attempt->authority, deadline, &finding);
  if (got.size == 0) return finding;
  unsigned status = status_of(got);
  if (status == 0) return found(answered, "what answers does not speak HTTP");
  if (status == 403) return (struct finding){refused, first_line(got)};
  struct text line;
  struct text rest = got;
  while (cut(&rest, '\n', &line) && line.size > 0 && line.at[0] != '\r') continue;
  return (struct finding){answered, first_line(rest)};
}

static struct finding try_direct(const struct attempt *attempt, int64_t deadline) {
  struct resolution resolution = resolve(attempt->host, deadline);
  struct finding finding = found(resolution.answered ? answered : failed, resolution.problem);
  for (size_t i = 0; i < resolution.count; i++) {
    int fd = open_to(&resolution.addresses[i], attempt->port, SOCK_STREAM, deadline, &finding);
    if (fd < 0) continue;
    struct text path = attempt->path.size == 0 ? text_of("/") : attempt->path;
    struct text got = ask_http(fd, path, attempt->authority, deadline, &finding);
    /* That something listens and says nothing is a way out too. */
    return got.size > 0 ? (struct finding){answered, first_line(got)} : found(answered, "connected");
  }
  /* So is a nameserver, even if what it names cannot be reached. */
  if (resolution.answered && finding.outcome != answered) return found(answered, "a nameserver answered");
  return finding;
}

static struct finding try_tcp(const struct attempt *attempt, int64_t deadline) {
  struct finding finding;
  int fd = open_to(&attempt->address, attempt->port, SOCK_STREAM, deadline, &finding);
  return fd < 0 ? finding : found(answered, "connected");
}

static struct finding try_udp(const struct attempt *attempt, int64_t deadline) {
  unsigned char question[DNS_QUESTION_MAX];
  struct finding finding;
  size_t size = dns_question(attempt->name, DNS_A, (uint16_t)clock_ms(), question);
  int fd = open_to(&attempt->address, attempt->port, SOCK_DGRAM, deadline, &finding);
  if (fd < 0) return finding;
  struct pollfd waited = {.fd = fd, .events = POLLIN};
  if (send(fd, question, size, MSG_NOSIGNAL) < 0 || !wait_for(&waited, 1, deadline) ||
      recv(fd, answer, sizeof answer, MSG_DONTWAIT) < 0) {
    return found(failed, why());
  }
  return found(answered, "a datagram came back");
}

static struct finding try(const char *text) {
  struct attempt attempt;
  int64_t deadline = clock_ms() + ATTEMPT_MS;
  const char *problem = read_attempt(text, &attempt);
  if (problem != NULL) return found(error, problem);
  switch (attempt.kind) {
    case ATTEMPT_PROXY: return try_proxy(&attempt, deadline);
    case ATTEMPT_DIRECT: return try_direct(&attempt, deadline);
    case ATTEMPT_TCP: return try_tcp(&attempt, deadline);
    case ATTEMPT_UDP: return try_udp(&attempt, deadline);
  }
  return found(error, "no such attempt");
}

static bool tell(const struct probe *probe, struct finding finding, int fd) {
  struct report report = {.size = 0};
  report_raw(&report, "{\"check\":");
  report_text(&report, probe->name);
  report_raw(&report, ",\"outcome\":\"");
  report_raw(&report, finding.outcome);
  report_raw(&report, "\",\"detail\":");
  report_text(&report, finding.detail);
  report_raw(&report, "}");
  return send_report(&report, fd);
}

bool run_probes(const struct options *options, int fd) {
  pid_t children[PROBES_MAX];
  bool told = true;
  /* Where it is inherited as ignored, nobody could be waited for (sigaction(2)). */
  signal(SIGCHLD, SIG_DFL);
  for (unsigned i = 0; i < options->probe_count; i++) {
    const struct probe *probe = &options->probes[i];
    children[i] = fork();
    if (children[i] == 0) {
      prctl(PR_SET_PDEATHSIG, (long)SIGKILL, 0L, 0L, 0L);
      _exit(tell(probe, try(probe->attempt), fd) ? 0 : STATUS_OWN_FAILURE);
    }
    if (children[i] < 0) told = tell(probe, found(error, why()), fd) && told;
  }
  for (unsigned i = 0; i < options->probe_count; i++) {
    int status = 0;
    pid_t ended = 0;
    while (children[i] > 0 && (ended = waitpid(children[i], &status, 0)) < 0 && errno == EINTR) continue;
    told = told && ended >= 0 && status == 0;
  }
  return told;
}
