import type { Attempt } from './cage.ts';
import type { Facts } from './candidate.ts';

/** The calls have their numbers in image/attack/tricks.py. */
const denied = /^(EPERM|EACCES|EROFS|ENOSYS)\b/;

/** Files through which a kernel is steered or read. Opened, and nothing is written. */
const files: readonly Attempt[] = [
  ...[
    '/proc/sys/kernel/core_pattern',
    '/proc/sys/kernel/modprobe',
    '/proc/sys/vm/overcommit_memory',
    '/proc/sysrq-trigger',
    '/proc/irq/default_smp_affinity',
    '/sys/kernel/uevent_helper',
    '/sys/kernel/mm/transparent_hugepage/enabled',
    '/sys/module/kernel/parameters/panic',
  ].map((path) => ({
    property: `${path} cannot be written`,
    tried: `to open ${path} for writing`,
    code: `result = writable('${path}')`,
    stopped: /^(EROFS|EACCES|EPERM|ENOENT)\b/,
  })),
  ...[
    ['/proc/kcore', false],
    ['/proc/keys', false],
    ['/proc/timer_list', true],
  ].map(([path, works]) => ({
    property: `${String(path)} shows nothing`,
    tried: `to read ${String(path)}`,
    code: `result = content('${String(path)}')`,
    stopped: /^(it is empty|EACCES|EPERM|ENOENT|EIO)/,
    works: works === true,
  })),
  ...['/proc/scsi', '/proc/acpi', '/sys/firmware'].map((path) => ({
    property: `${path} lists nothing`,
    tried: `to list ${path}`,
    code: `result = listing('${path}')`,
    stopped: /^(it is empty|EACCES|ENOENT)/,
  })),
  {
    property: 'there is no device of the machine',
    tried: 'to find memory, disks, terminals, FUSE, KVM, TUN and the kernel’s log in /dev',
    code: `
harmless = {'null', 'zero', 'full', 'random', 'urandom', 'tty', 'console', 'ptmx', 'pts', 'shm', 'mqueue', 'fd', 'core', 'stdin', 'stdout', 'stderr'}
found = [name for name in os.listdir('/dev') if name not in harmless]
if not found: raise Stopped('nothing but ' + ' '.join(sorted(os.listdir('/dev'))))
result = found`,
    stopped: /^nothing but/,
  },
  ...[
    ['memory', 'stat.S_IFCHR', '1, 1'],
    ['a disk', 'stat.S_IFBLK', '254, 0'],
    ['the kernel’s log', 'stat.S_IFCHR', '1, 11'],
    ['FUSE', 'stat.S_IFCHR', '10, 229'],
  ].map(([what, type, number]) => ({
    property: `a device node for ${String(what)} cannot be made`,
    tried: `mknod of ${String(number)}`,
    code: `
os.mknod('/tmp/node', 0o666 | ${String(type)}, os.makedev(${String(number)}))
result = os.path.exists('/tmp/node')
os.unlink('/tmp/node')`,
    stopped: denied,
    works: true,
  })),
];

/** Mounts, roots and namespaces. */
const places = ({ init }: Pick<Facts, 'init'>): readonly Attempt[] => [
  ...[
    ['a file system in memory', "mount('none', '/tmp/m1', 'tmpfs'); call('umount2', b'/tmp/m1', 2)", true],
    [
      'a second /proc without masks',
      "mount('proc', '/tmp/m2', 'proc'); call('umount2', b'/tmp/m2', 2)",
      true,
    ],
    ['a second /sys', "mount('sysfs', '/tmp/m3', 'sysfs'); call('umount2', b'/tmp/m3', 2)", true],
    [
      'a directory over another (bind)',
      "mount('/etc', '/tmp/m4', '', 4096); call('umount2', b'/tmp/m4', 2)",
      true,
    ],
    ['an overlay', "mount('overlay', '/tmp/m5', 'overlay', 0, 'lowerdir=/etc:/usr')", false],
    [
      'a cgroup hierarchy, for its release_agent',
      "mount('cgroup', '/tmp/m6', 'cgroup', 0, 'memory'); call('umount2', b'/tmp/m6', 2)",
      true,
    ],
    ['a disk of the machine', "mount('/dev/vda', '/tmp/m7', 'ext4')", false],
    ['/proc/sys writable again (remount)', "mount('none', '/proc/sys', '', 32 | 4096)", false],
    ['/sys writable again (remount)', "mount('none', '/sys', '', 32)", false],
    ['the sockets’ directory writable again', "mount('none', '/run/claude-bottle', '', 32 | 4096)", false],
    ['over the sockets’ directory', "mount('none', '/run/claude-bottle', 'tmpfs')", false],
    ['over bottle-init', `mount('/bin/sh', '${init}', '', 4096)`, false],
    ['everything shared with the outside', "mount('none', '/', '', 16384 | (1 << 20))", false],
  ].map(([what, code, works]) => ({
    property: `nothing can be mounted: ${String(what)}`,
    tried: `mount(2): ${String(what)}`,
    code: String(code),
    stopped: denied,
    works: works === true,
  })),
  ...[
    ['the mask of /proc/keys', "call('umount2', b'/proc/keys', 2)"],
    ['the sockets’ directory', "call('umount2', b'/run/claude-bottle', 2)"],
    ['bottle-init', `call('umount2', b'${init}', 2)`],
  ].map(([what, code]) => ({
    property: `nothing can be unmounted: ${String(what)}`,
    tried: `umount2(2) of ${String(what)}`,
    code: String(code),
    stopped: denied,
  })),
  ...[
    ['fsopen', "b'tmpfs', 0", true],
    ['open_tree', "-100, b'/', 1", true],
    ['mount_setattr', "-100, b'/proc/sys', 0, ctypes.create_string_buffer(32), 32", false],
    ['move_mount', "-100, b'/tmp', -100, b'/mnt', 0", false],
  ].map(([name, args, works]) => ({
    property: `the newer mount calls do not work either: ${String(name)}`,
    tried: `${String(name)}(2)`,
    code: `call('${String(name)}', ${String(args)})`,
    stopped: denied,
    works: works === true,
  })),
  {
    property: 'the root cannot be left with chroot',
    tried: 'chroot(2) into a directory, then upwards',
    code: "os.makedirs('/tmp/jail', exist_ok=True)\ncall('chroot', b'/tmp/jail')",
    stopped: denied,
    works: true,
  },
  {
    property: 'the root cannot be exchanged',
    tried: 'pivot_root(2)',
    code: "call('pivot_root', b'/tmp', b'/tmp')",
    stopped: denied,
  },
  ...[
    ['user', '0x10000000'],
    ['network', '0x40000000'],
    ['mount', '0x00020000'],
    ['process', '0x20000000'],
    ['cgroup', '0x02000000'],
    ['user, then mount and network', '0x10000000 | 0x40020000'],
  ].map(([what, flags]) => ({
    property: `no namespace can be made: ${String(what)}`,
    tried: `unshare(2) with ${String(flags)}`,
    code: `call('unshare', ${String(flags)})`,
    stopped: denied,
    works: true,
  })),
  {
    property: 'no process can be cloned into a user namespace',
    tried: 'clone(2) with CLONE_NEWUSER',
    code: `
made = call('clone', 0x10000000 | 17, 0, 0, 0, 0)
if made == 0: os._exit(0)
os.waitpid(made, 0)`,
    stopped: denied,
    works: true,
  },
  {
    property: 'clone3, whose flags no filter sees, does not work',
    tried: 'clone3(2) with CLONE_NEWUSER',
    code: `
made = call('clone3', ctypes.create_string_buffer(struct.pack('<QQQQQQQQ', 0x10000000, 0, 0, 0, 17, 0, 0, 0)), 64)
if made == 0: os._exit(0)
os.waitpid(made, 0)`,
    stopped: denied,
    works: true,
  },
  {
    property: 'the first process’s namespaces cannot be entered',
    tried: 'setns(2) with /proc/1/ns/net',
    code: "call('setns', os.open('/proc/1/ns/net', os.O_RDONLY), 0)",
    stopped: denied,
    works: true,
  },
  {
    property: 'no file outside can be opened by its handle',
    tried: 'open_by_handle_at(2) with the root’s inode',
    code: "call('open_by_handle_at', os.open('/', os.O_RDONLY), ctypes.create_string_buffer(struct.pack('<Ii', 8, 1) + struct.pack('<II', 2, 0)), 0)",
    stopped: denied,
  },
  {
    property: 'no control group lets itself be written',
    tried: 'to write into every file of /sys/fs/cgroup, release_agent and cgroup.procs among them',
    code: `
found = []
for where, _, names in os.walk('/sys/fs/cgroup'):
    for name in names:
        try: found.append(writable(os.path.join(where, name)))
        except OSError: pass
if not found: raise Stopped('every file is read-only')
result = found[:5]`,
    stopped: /^every file/,
  },
];

/** Calls that reach into the kernel. */
const calls: readonly Attempt[] = [
  ['a key in the kernel’s ring (add_key)', "call('add_key', b'user', b'escape', b'x', 1, -2)", true],
  ['keyctl', "call('keyctl', 0, -3, 1)", true],
  ['request_key', "call('request_key', b'user', b'escape', 0, -2)", false],
  [
    'a BPF program (bpf)',
    "call('bpf', 0, ctypes.create_string_buffer(struct.pack('<IIIII', 2, 4, 4, 1, 0) + bytes(100)), 120)",
    true,
  ],
  [
    'performance counters (perf_event_open)',
    "call('perf_event_open', ctypes.create_string_buffer(struct.pack('<IIQ', 1, 128, 0) + bytes(112)), 0, -1, -1, 0)",
    true,
  ],
  ['page faults of its own (userfaultfd)', "call('userfaultfd', 0)", true],
  ['a kernel module (init_module)', "call('init_module', b'', 0, b'')", false],
  ['a kernel module (finit_module)', "call('finit_module', 0, b'', 0)", false],
  ['delete_module', "call('delete_module', b'escape', 0)", false],
  ['another kernel (kexec_load)', "call('kexec_load', 0, 0, 0, 0)", false],
  ['a reboot', "call('reboot', 0xfee1dead, 0x28121969, 0, 0)", false],
  ['swap (swapon)', "call('swapon', b'/etc/passwd', 0)", false],
  ['swapoff', "call('swapoff', b'/etc/passwd')", false],
  ['the clock', "call('clock_settime', 0, ctypes.create_string_buffer(struct.pack('<qq', 1, 0)))", false],
  ['the host’s name', "call('sethostname', b'escape', 6)", false],
  ['process accounting (acct)', "call('acct', 0)", false],
  ['the kernel’s log (syslog)', "result = call('syslog', 3, ctypes.create_string_buffer(4096), 4096)", true],
  ['every file’s events (fanotify_init)', "call('fanotify_init', 4, 0)", true],
  ['quotas (quotactl)', "call('quotactl', 0x800001, 0, 0, 0)", false],
  ['hanging up a terminal (vhangup)', "call('vhangup')", false],
  ['ports of the processor (iopl)', "call('iopl', 3)", false],
].map(([what, code, works]) => ({
  property: `the kernel refuses ${String(what)}`,
  tried:
    String(code)
      .split('(', 2)[1]
      ?.replace(/[',].*/s, '') ?? String(what),
  code: String(code),
  stopped: /^(EPERM|ENOSYS|EACCES|no such call)/,
  works: works === true,
}));

/** For whoever the bottle's user is. */
export const kernelAttempts = (facts: Facts): readonly Attempt[] => [...files, ...places(facts), ...calls];
