import type { Attempt } from './cage.ts';
import type { Facts } from './candidate.ts';

const denied = /^(EPERM|EACCES|EROFS|ENOSYS)\b/;

/** What holds the relay and the line to the supervisor, and every other bottle-init. */
export function init({ isContainer }: Pick<Facts, 'isContainer'>): readonly Attempt[] {
  return [
    {
      property: 'no bottle-init can be traced',
      tried: 'ptrace(2) ATTACH',
      code: "result = on_each_init(lambda pid: call('ptrace', 16, pid, 0, 0))",
      stopped: denied,
    },
    {
      property: 'no bottle-init can be seized',
      tried: 'ptrace(2) SEIZE',
      code: "result = on_each_init(lambda pid: call('ptrace', 0x4206, pid, 0, 0))",
      stopped: denied,
    },
    {
      property: 'no bottle-init’s memory can be read',
      tried: 'process_vm_readv(2)',
      code: `
buffer = ctypes.create_string_buffer(64)
local = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 64)
remote = (ctypes.c_size_t * 2)(0x400000, 64)
result = on_each_init(lambda pid: call('process_vm_readv', pid, local, 1, remote, 1, 0))`,
      stopped: denied,
    },
    ...[
      'environ',
      'mem',
      'maps',
      'auxv',
      'syscall',
      'stack',
      'exe',
      'root/etc/passwd',
      'cwd',
      'fd/0',
      'fd/3',
      'io',
    ].map((name) => ({
      property: `/proc/PID/${name} of no bottle-init can be opened`,
      tried: `to open /proc/PID/${name}`,
      code: `result = on_each_init(lambda pid: os.read(os.open(f'/proc/{pid}/${name}', os.O_RDONLY), 64))`,
      stopped: denied,
    })),
    {
      property: 'no bottle-init’s connection to the supervisor can be taken',
      tried: 'pidfd_open(2), then pidfd_getfd(2) of every descriptor',
      code: `
def take(pid):
    one = call('pidfd_open', pid, 0)
    for number in range(64):
        try: return call('pidfd_getfd', one, number, 0)
        except OSError as error: last = error
    raise last
result = on_each_init(take)`,
      stopped: denied,
    },
    {
      property: 'the first process does not die of SIGKILL from inside, nor stop of SIGSTOP',
      tried: 'kill(2) of process 1 with 9 and with 19',
      code: `
os.kill(1, 19); os.kill(1, 9); time.sleep(0.3); os.kill(1, 0)
with open('/proc/1/stat') as file: state = file.read().rsplit(')', 1)[1].split()[0]
if state in 'SR': raise Stopped('it takes none from inside its namespace and goes on in state ' + state)`,
      // That of a machine is root's. The one of the session has no such protection: exhaustion.test.ts has its death.
      stopped: isContainer ? /^it takes none/ : /^(it takes none|EPERM)/,
    },
  ];
}

/** Rights, once lost. */
export const rights: readonly Attempt[] = [
  {
    property: 'a program with capabilities of its own has none',
    tried: 'a copy of Python with cap_sys_admin and others in its file',
    code: `
said = program('/usr/local/bin/python-capable', '-c', "print(open('/proc/self/status').read())")
effective = int(re.search(r'CapEff:\\s*(\\w+)', said).group(1), 16)
dangerous = sum(1 << bit for bit in (2, 12, 13, 16, 17, 19, 21, 22, 27))
if not effective & dangerous: raise Stopped(f'no_new_privs and the bounding set: CapEff {effective:016x}')
result = hex(effective)`,
    stopped: /^(no_new_privs|EPERM)/,
    works: true,
  },
  {
    property: 'lost capabilities do not come back',
    tried: 'capset(2) with all of them',
    code: "call('capset', ctypes.create_string_buffer(struct.pack('<II', 0x20080522, 0)), ctypes.create_string_buffer(struct.pack('<IIIIII', *[0xffffffff] * 2, 0, *[0x1ff] * 2, 0)))",
    stopped: denied,
  },
  {
    property: 'no capability of the network can be made ambient',
    tried: 'prctl(PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN)',
    code: "call('prctl', 47, 2, 12, 0, 0)",
    stopped: denied,
  },
  {
    property: 'no_new_privs cannot be undone',
    tried: 'prctl(PR_SET_NO_NEW_PRIVS, 0)',
    code: "call('prctl', 38, 0, 0, 0, 0)",
    stopped: /^EINVAL/,
  },
  {
    property: 'the filter of system calls cannot be undone',
    tried: 'prctl(PR_SET_SECCOMP, disabled)',
    code: "call('prctl', 22, 0, 0, 0, 0)",
    stopped: /^EINVAL/,
  },
  {
    property: 'who gave root up does not get it back',
    tried: 'setresuid(1000) and then setuid(0)',
    code: `
if os.getuid() == 0: os.setresgid(1000, 1000, 1000); os.setresuid(1000, 1000, 1000)
os.setuid(0)`,
    stopped: denied,
  },
];

/** For whoever is no root anyway. */
export const asUser: readonly Attempt[] = [
  {
    property: '/proc/1/oom_score_adj cannot be lowered',
    tried: 'to make the first process immune to the memory’s end',
    code: "open('/proc/1/oom_score_adj', 'w').write('-1000')",
    stopped: denied,
  },
  {
    property: 'a setuid program of root’s makes nobody root',
    tried: 'a copy of Python with mode 4755',
    code: `
said = program('/usr/local/bin/python-setuid', '-c', 'import os; print(os.geteuid(), os.getuid())').split()
if said[0] != '0': raise Stopped('no_new_privs: it runs as ' + said[0])
result = said`,
    stopped: /^no_new_privs: it runs as 1000/,
    works: true,
  },
  {
    property: 'sudo without a password makes nobody root',
    tried: 'sudo -n id, which the image allows',
    code: "result = program('sudo', '-n', 'id')",
    stopped: /no new privileges/,
    works: true,
  },
  {
    property: 'the agent has no capability at all',
    tried: 'to find one in /proc/self/status',
    code: `
found = capabilities()
if not any(int(value, 16) for name, value in found.items() if name != 'CapBnd'): raise Stopped(str(found))
result = found`,
    stopped: /CapEff': '0000000000000000/,
    works: true,
  },
  {
    property: 'files of root’s cannot be written',
    tried: 'to open /etc/passwd and /etc/shadow for writing',
    code: "writable('/etc/passwd')",
    stopped: denied,
    works: true,
  },
];

/** For a bottle with `--user root`. */
export const asRoot: readonly Attempt[] = [
  {
    property: 'root has no capability beyond those that package managers need',
    tried: 'to find another in /proc/self/status',
    code: `
wanted = sum(1 << bit for bit in (0, 1, 3, 4, 5, 6, 7))
found = capabilities()
if not any(int(value, 16) & ~wanted for value in found.values()): raise Stopped(str(found))
result = found`,
    stopped: /CapBnd': '00000000000000fb/,
    works: true,
  },
];
