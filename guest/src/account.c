#include "account.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "number.h"
#include "say.h"

/* Docker's limit for both kinds of numbers (moby/sys, user/user.go: maxID). */
#define ID_MAX UINT32_C(0x7fffffff)
#define FILE_SIZE_MAX (16 << 20)

static bool read_id(struct text digits, uint32_t *id) {
  return read_number(digits.at, digits.size, ID_MAX, id);
}

static bool is_digits(struct text text) {
  for (size_t i = 0; i < text.size; i++) {
    if (text.at[i] < '0' || text.at[i] > '9') return false;
  }
  return text.size > 0;
}

/* name:password:uid:gid:gecos:home:shell (passwd(5)). */
struct user_entry {
  struct text name;
  uint32_t uid;
  uint32_t gid;
  struct text home;
};

static bool read_user(struct text line, struct user_entry *entry) {
  struct text fields[6] = {{NULL, 0}};
  size_t count = 0;
  while (count < 6 && cut(&line, ':', &fields[count])) count++;
  *entry = (struct user_entry){.name = fields[0], .home = fields[5]};
  return count >= 4 && fields[0].size > 0 && read_id(fields[2], &entry->uid) && read_id(fields[3], &entry->gid);
}

/* name:password:gid:member,member (group(5)). */
struct group_entry {
  struct text name;
  uint32_t gid;
  struct text members;
};

static bool read_group(struct text line, struct group_entry *entry) {
  struct text fields[4] = {{NULL, 0}};
  size_t count = 0;
  while (count < 4 && cut(&line, ':', &fields[count])) count++;
  *entry = (struct group_entry){.name = fields[0], .members = fields[3]};
  return count >= 3 && fields[0].size > 0 && read_id(fields[2], &entry->gid);
}

static bool has_member(struct text members, struct text name) {
  struct text member;
  while (cut(&members, ',', &member)) {
    if (member.size > 0 && same(member, name)) return true;
  }
  return false;
}

static bool add_group(struct account *account, gid_t gid) {
  for (size_t i = 0; i < account->group_count; i++) {
    if (account->groups[i] == gid) return true;
  }
  if (account->group_count == ACCOUNT_GROUPS_MAX) return false;
  account->groups[account->group_count++] = gid;
  return true;
}

static const char *find_user(struct text wanted, struct text passwd, struct account *account, struct text *name) {
  bool numeric = is_digits(wanted);
  uint32_t uid = 0;
  if (numeric && !read_id(wanted, &uid)) return "the user's number is over 2147483647";
  *account = (struct account){.uid = uid, .gid = 0, .home = "/"};
  *name = (struct text){NULL, 0};
  struct text line;
  while (cut(&passwd, '\n', &line)) {
    struct user_entry entry;
    if (!read_user(line, &entry)) continue;
    if (numeric ? entry.uid != uid : !same(entry.name, wanted)) continue;
    account->uid = entry.uid;
    account->gid = entry.gid;
    *name = entry.name;
    if (entry.home.size >= sizeof account->home) return "the user's home is too long a path";
    if (entry.home.size > 0) {
      if (memchr(entry.home.at, '\0', entry.home.size) != NULL) return "the user's home is no path";
      memcpy(account->home, entry.home.at, entry.home.size);
      account->home[entry.home.size] = '\0';
    }
    return NULL;
  }
  return numeric ? NULL : "there is no such user in /etc/passwd";
}

static const char *find_group(struct text wanted, struct text group, gid_t *gid) {
  bool numeric = is_digits(wanted);
  uint32_t number = 0;
  if (numeric) {
    if (!read_id(wanted, &number)) return "the group's number is over 2147483647";
    *gid = number;
    return NULL;
  }
  struct text line;
  while (cut(&group, '\n', &line)) {
    struct group_entry entry;
    if (!read_group(line, &entry) || !same(entry.name, wanted)) continue;
    *gid = entry.gid;
    return NULL;
  }
  return "there is no such group in /etc/group";
}

const char *find_account(const char *spec, struct text passwd, struct text group, struct account *account) {
  struct text wanted_group = text_of(spec);
  struct text wanted_user = {NULL, 0};
  struct text name;
  cut(&wanted_group, ':', &wanted_user);
  if (wanted_user.size == 0) wanted_user = text_of("0");
  const char *problem = find_user(wanted_user, passwd, account, &name);
  if (problem != NULL) return problem;
  if (wanted_group.size > 0) {
    problem = find_group(wanted_group, group, &account->gid);
    if (problem != NULL) return problem;
    add_group(account, account->gid);
    return NULL;
  }
  /* Without the primary group in it, a file that shuts this group out would be open (CVE-2022-36109). */
  add_group(account, account->gid);
  struct text line;
  while (name.size > 0 && cut(&group, '\n', &line)) {
    struct group_entry entry;
    if (!read_group(line, &entry) || !has_member(entry.members, name)) continue;
    if (!add_group(account, entry.gid)) return "the user is in more than 1024 groups";
  }
  return NULL;
}

static struct text read_file(const char *path) {
  struct text text = {NULL, 0};
  /* Not blocking, since it may be a FIFO. */
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return text;
    fail(STATUS_OWN_FAILURE, "cannot read ", path, ": ", why(), NULL);
  }
  struct stat found;
  if (fstat(fd, &found) < 0) fail(STATUS_OWN_FAILURE, "cannot read ", path, ": ", why(), NULL);
  if (!S_ISREG(found.st_mode)) fail(STATUS_OWN_FAILURE, path, " is not a regular file", NULL);
  if (found.st_size > FILE_SIZE_MAX) fail(STATUS_OWN_FAILURE, path, " is over 16 MiB", NULL);
  size_t size = (size_t)found.st_size;
  if (size > 0) {
    /* Read, not mapped: it may shrink meanwhile. Kept until the command's start, which is soon. */
    char *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes == MAP_FAILED) fail(STATUS_OWN_FAILURE, "cannot read ", path, ": ", why(), NULL);
    while (text.size < size) {
      ssize_t got = read(fd, bytes + text.size, size - text.size);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(STATUS_OWN_FAILURE, "cannot read ", path, ": ", why(), NULL);
      if (got == 0) break;
      text.size += (size_t)got;
    }
    text.at = bytes;
  }
  close(fd);
  return text;
}

void load_account(const char *spec, struct account *account) {
  const char *problem = find_account(spec, read_file("/etc/passwd"), read_file("/etc/group"), account);
  if (problem != NULL) fail(STATUS_OWN_FAILURE, "cannot become ", spec, ": ", problem, NULL);
}
