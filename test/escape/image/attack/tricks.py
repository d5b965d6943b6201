"""What attempts are written with. An attempt that nothing stops returns; whatever stops it is raised."""
import array, ctypes, errno, fcntl, glob, json, os, platform, re, signal, socket, stat, struct, subprocess, sys, time

libc = ctypes.CDLL(None, use_errno=True)
machine = platform.machine()

# name: (x86-64, arm64), from the kernel's own tables
NUMBERS = {
    'mount': (165, 40), 'umount2': (166, 39), 'pivot_root': (155, 41), 'chroot': (161, 51), 'swapon': (167, 224),
    'swapoff': (168, 225), 'reboot': (169, 142), 'sethostname': (170, 161), 'init_module': (175, 105),
    'delete_module': (176, 106), 'finit_module': (313, 273), 'acct': (163, 89), 'syslog': (103, 116),
    'clock_settime': (227, 112), 'settimeofday': (164, 170), 'unshare': (272, 97), 'setns': (308, 268),
    'keyctl': (250, 219), 'add_key': (248, 217), 'request_key': (249, 218), 'bpf': (321, 280),
    'perf_event_open': (298, 241), 'userfaultfd': (323, 282), 'io_uring_setup': (425, 425),
    'kexec_load': (246, 104), 'open_by_handle_at': (304, 265), 'fanotify_init': (300, 262), 'fsopen': (430, 430),
    'open_tree': (428, 428), 'move_mount': (429, 429), 'fsmount': (432, 432), 'mount_setattr': (442, 442),
    'ptrace': (101, 117), 'process_vm_readv': (310, 270), 'pidfd_open': (434, 434), 'pidfd_getfd': (438, 438),
    'kcmp': (312, 272), 'capset': (126, 91), 'prctl': (157, 167), 'clone': (56, 220), 'clone3': (435, 435),
    'quotactl': (179, 60), 'vhangup': (153, 58), 'lookup_dcookie': (212, 18), 'move_pages': (279, 239),
    'kexec_file_load': (320, 294), 'iopl': (172, None), 'ioperm': (173, None), 'prlimit64': (302, 261),
    'setdomainname': (171, 162),
}


class Stopped(Exception):
    """Something that is no error number stopped it."""


def call(name, *args):
    number = NUMBERS[name][0 if machine == 'x86_64' else 1]
    if number is None:
        raise Stopped('no such call on this processor')
    values = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    result = libc.syscall(ctypes.c_long(number), *values)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)
    return result


def mount(source, target, kind, flags=0, data=''):
    os.makedirs(target, exist_ok=True) if target.startswith('/tmp/') else None
    return call('mount', source.encode(), target.encode(), kind.encode(), flags, data.encode())


def writable(path):
    """Opens for writing, and writes nothing."""
    os.close(os.open(path, os.O_WRONLY))
    return path


def content(path, size=4096):
    """What a file says; that it says nothing has stopped the attempt."""
    with open(path, 'rb') as file:
        data = file.read(size)
    if not data.strip(b'\0\n '):
        raise Stopped('it is empty')
    return data


def listing(path):
    names = os.listdir(path)
    if not names:
        raise Stopped('it is empty')
    return names


def program(*argv, timeout=15, **options):
    """What a program says; a failure of it has stopped the attempt."""
    ran = subprocess.run(argv, capture_output=True, text=True, errors='replace', timeout=timeout, **options)
    if ran.returncode != 0:
        raise Stopped(f'{argv[0]} exits {ran.returncode}: {(ran.stdout + ran.stderr).strip()[-300:]}')
    return ran.stdout


def tcp(address, port, family=socket.AF_INET, timeout=3):
    with socket.socket(family) as one:
        one.settimeout(timeout)
        one.connect((address, port))
        one.sendall(b'GET / HTTP/1.0\r\n\r\n')
        return one.recv(100) or 'connected'


def udp(address, port, family=socket.AF_INET, payload=b'\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01'):
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        one.settimeout(2)
        one.sendto(payload, (address, port))
        return one.recv(100)


def raw(text, port=3128, timeout=20, hold=False):
    """Speaks to the gate word by word; what it answers."""
    with socket.create_connection(('127.0.0.1', port), timeout=timeout) as one:
        one.sendall(text if isinstance(text, bytes) else text.encode())
        if not hold:
            one.shutdown(socket.SHUT_WR)
        answer = b''
        try:
            while len(answer) < 200000:
                part = one.recv(65536)
                if not part:
                    break
                answer += part
        except OSError:
            pass
        return answer.decode('latin1')


def through_gate(text, **options):
    """A request to the gate; its refusal has stopped the attempt."""
    answer = raw(text, **options)
    status = answer.split('\r\n', 1)[0]
    reason = re.search(r'(?im)^x-claude-bottle-reason: *(.*?)\r?$', answer)
    if not status.startswith('HTTP/1.1 2'):
        raise Stopped(f'{status or "the connection is closed"} [{reason.group(1) if reason else ""}]')
    return answer


def capabilities():
    with open('/proc/self/status') as file:
        return dict(re.findall(r'^(Cap\w+):\s*([0-9a-f]+)', file.read(), re.M))


def inits():
    """Every bottle-init that is there, the first process before all."""
    found = {1}
    for name in os.listdir('/proc'):
        try:
            if name.isdigit():
                with open(f'/proc/{name}/cmdline', 'rb') as file:
                    if file.read().split(b'\0')[0].endswith(b'/bottle-init'): found.add(int(name))
        except OSError:
            pass
    return sorted(found)


def on_each_init(work):
    """An attempt on each of them: what stops the last one, unless one succeeds or is stopped by something strange."""
    pids = inits()
    if len(pids) < 2:
        raise AssertionError('the one that asks has to be there too')
    for pid in pids:
        try:
            return f'{pid}: {work(pid)}'
        except OSError as error:
            if error.errno == errno.ENOENT:  # That one has nothing of the kind.
                continue
            if error.errno not in (errno.EPERM, errno.EACCES):
                raise
            last = error
    raise last
