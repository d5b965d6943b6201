import type { Attempt } from './cage.ts';
import type { Facts } from './candidate.ts';

/** What the tests have set up on the host, to be reached if anything can be. */
export interface Outside {
  /** A TCP and UDP port where something on the host answers on every address. */
  readonly port: number;
  /** An abstract Unix socket on which something on the host answers. */
  readonly abstractName: string;
  /** Addresses of the host, loopback apart. */
  readonly addresses: readonly string[];
}

const noWay = /^(ENETUNREACH|EHOSTUNREACH|ECONNREFUSED|EADDRNOTAVAIL|EPERM|EACCES|TimeoutError)\b/;
const noFamily = /^(EPERM|EACCES|EAFNOSUPPORT|EPROTONOSUPPORT|ESOCKTNOSUPPORT|EINVAL|ENODEV)\b/;
const readOnly = /^(EROFS|EACCES|EPERM|EBUSY|ENOENT|EXDEV|ETXTBSY|EADDRINUSE|ENOTEMPTY)\b/;

export function networkAttempts(
  { port, abstractName, addresses }: Outside,
  { init, isContainer }: Facts,
): readonly Attempt[] {
  // A machine's stays, with nobody at its other end.
  const sockets = ['gate', 'variables', ...(isContainer ? [] : ['control'])]
    .map((name) => `/run/claude-bottle/${name}.sock`)
    .concat('/tmp/agent.sock')
    .sort();
  return [
    ...[
      ['a public address', '1.1.1.1', 443],
      ['the metadata service of clouds', '169.254.169.254', 80],
      ['the bridge of the engine', '172.17.0.1', port],
      ['the usual gateway of a container network', '10.0.2.2', port],
      ['another private network', '192.168.0.1', 80],
      ...addresses.map((address) => ['an address of the host', address, port] as const),
    ].map(([what, address, number]) => ({
      property: `no TCP: ${String(what)} (${String(address)})`,
      tried: `connect(2) to ${String(address)}:${String(number)}`,
      code: `result = tcp('${String(address)}', ${String(number)})`,
      stopped: noWay,
      works: addresses.includes(String(address)) && !String(address).includes(':'),
    })),
    ...[
      ['a public address', '2606:4700:4700::1111', 443],
      ['the metadata service of clouds', 'fd00:ec2::254', 80],
      ['every neighbour', 'ff02::1', port],
    ].map(([what, address, number]) => ({
      property: `no IPv6: ${String(what)} (${String(address)})`,
      tried: `connect(2) to [${String(address)}]:${String(number)}`,
      code: `result = tcp('${String(address)}', ${String(number)}, socket.AF_INET6)`,
      stopped: noWay,
    })),
    {
      property: 'the host’s loopback is not the bottle’s',
      tried: 'to reach what listens on the host’s 127.0.0.1',
      code: `result = tcp('127.0.0.1', ${port})`,
      stopped: /^ECONNREFUSED/,
      works: true,
    },
    {
      property: 'the host’s IPv6 loopback is not the bottle’s',
      tried: 'to reach what listens on the host’s ::1',
      code: `result = tcp('::1', ${port}, socket.AF_INET6)`,
      stopped: noWay,
    },
    {
      property: 'abstract Unix sockets of the host are not there',
      tried: 'to connect to one that listens on the host',
      code: `
one = socket.socket(socket.AF_UNIX); one.settimeout(3)
one.connect('\\0${abstractName}')
result = 'connected'`,
      stopped: /^ECONNREFUSED/,
      works: true,
    },
    ...[
      ['a public resolver', '8.8.8.8', 53],
      ['every neighbour (broadcast)', '255.255.255.255', 67],
      ['multicast DNS', '224.0.0.251', 5353],
    ].map(([what, address, number]) => ({
      property: `no UDP: ${String(what)}`,
      tried: `sendto(2) ${String(address)}:${String(number)}`,
      code: `result = udp('${String(address)}', ${String(number)})`,
      stopped: noWay,
    })),
    {
      property: 'no name is resolved',
      tried: 'getaddrinfo(3) of example.com',
      code: "result = socket.getaddrinfo('example.com', 80)",
      stopped: /name resolution|Name or service|EAI_|gaierror/i,
    },
    {
      property: 'a resolver that is asked directly does not answer',
      tried: 'dig @8.8.8.8 c2VjcmV0.example.com',
      code: "result = program('dig', '+time=1', '+tries=1', '@8.8.8.8', 'c2VjcmV0.example.com')",
      stopped: /unreachable|timed out|no servers|exits/,
    },
    {
      property: 'there is no interface but loopback, and no route',
      tried: 'to find one with ip link and ip route',
      code: `
found = [name for name in os.listdir('/sys/class/net') if name not in ('lo',)]
up = [name for name in found if 'UP' in program('ip', '-br', 'link', 'show', name).split()[1:2]]
routes = program('ip', 'route').strip() + program('ip', '-6', 'route', 'show', 'default').strip()
if not up and not routes: raise Stopped('lo only; others, all down: ' + ' '.join(found))
result = (up, routes)`,
      stopped: /^lo only/,
      works: true,
    },
    ...[
      ['ICMP', 'socket.AF_INET, socket.SOCK_RAW, 1', true],
      ['every packet (AF_PACKET)', 'socket.AF_PACKET, socket.SOCK_RAW, 0x0300', true],
      ['its own IP headers (IPPROTO_RAW)', 'socket.AF_INET, socket.SOCK_RAW, 255', true],
      ['ICMPv6', 'socket.AF_INET6, socket.SOCK_RAW, 58', false],
    ].map(([what, args, works]) => ({
      property: `no raw socket: ${String(what)}`,
      tried: `socket(2) ${String(args)}`,
      code: `result = socket.socket(${String(args)})`,
      stopped: noFamily,
      works: works === true,
    })),
    {
      property: 'no ping leaves',
      tried: 'an ICMP echo to 1.1.1.1 over a datagram socket',
      code: `
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1); one.settimeout(2)
one.sendto(b'\\x08\\0\\0\\0\\0\\0\\0\\1', ('1.1.1.1', 0))
result = one.recv(100)`,
      stopped: noWay,
    },
    {
      property: 'the hypervisor is not reached over AF_VSOCK',
      tried: 'socket(2) AF_VSOCK, which no network namespace confines',
      code: 'result = socket.socket(40, socket.SOCK_STREAM)',
      stopped: noFamily,
    },
    ...[
      ['AF_ALG', 38],
      ['AF_BLUETOOTH', 31],
      ['AF_TIPC', 30],
      ['AF_CAN', 29],
      ['AF_RDS', 21],
      ['AF_KEY', 15],
      ['AF_XDP', 44],
      ['AF_QIPCRTR', 42],
      ['AF_NFC', 39],
      ['AF_AX25', 3],
    ].map(([name, number]) => ({
      property: `no socket of the family ${String(name)}`,
      tried: `socket(2) ${String(name)}, as raw, datagram and packet socket`,
      code: `
for kind in (3, 2, 5, 1):
    try: socket.socket(${String(number)}, kind, 2 if ${String(number)} == 15 else 0)
    except OSError as error: last = error
    else: break
else: raise last
result = 'made'`,
      stopped: noFamily,
    })),
    ...[
      ['a dummy interface', "'link', 'add', 'escape0', 'type', 'dummy'"],
      ['a pair of interfaces (veth)', "'link', 'add', 'escape1', 'type', 'veth', 'peer', 'name', 'escape2'"],
      ['an address', "'addr', 'add', '10.99.0.1/24', 'dev', 'lo'"],
      ['a route', "'route', 'add', 'default', 'dev', 'lo'"],
      ['a namespace of the network', "'netns', 'add', 'escape'"],
    ].map(([what, args]) => ({
      property: `netlink makes no ${String(what).replace(/^an? /, '')}`,
      tried: `ip ${String(args).replace(/[',]/g, '')}`,
      code: `result = program('ip', ${String(args)})`,
      stopped: /Operation not permitted|Permission denied|not supported|EPERM|Read-only|exits/,
    })),
    ...[
      ['as it is', ''],
      ['with SO_REUSEADDR', 'one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)'],
      ['with SO_REUSEPORT', 'one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)'],
    ].flatMap(([what, option]) =>
      ['127.0.0.1', '0.0.0.0'].map((address) => ({
        property: `the relay’s port is not taken over: ${address}:3128 ${String(what)}`,
        tried: `bind(2) and listen(2) ${String(what)}`,
        code: `
one = socket.socket(); ${String(option)}
one.bind(('${address}', 3128)); one.listen(8)
result = 'listening'`,
        stopped: /^EADDRINUSE/,
      })),
    ),
    {
      property: 'the line to the supervisor is gone once the agent runs',
      tried: 'to connect to /run/claude-bottle/control.sock',
      code: `
one = socket.socket(socket.AF_UNIX)
one.connect('/run/claude-bottle/control.sock')
one.sendall(b'{"event":"exited","status":0}\\n')
one.settimeout(5)
if not one.recv(1): raise Stopped('the connection is closed')`,
      stopped: isContainer
        ? /^(ENOENT|ECONNREFUSED)/
        : /^(the connection is closed|ECONNRESET|EPIPE|ENOENT|ECONNREFUSED)/,
    },
    {
      property:
        'no socket is in the bottle but the gate’s, the one that tells it its own variables, and the agent’s own',
      tried: 'to find one, the engine’s first, in the whole file system and in /proc/net/unix',
      code: `
found = []
for where, names, files in os.walk('/'):
    if where in ('/proc', '/sys'): names.clear(); continue
    for name in files + names:
        try:
            if stat.S_ISSOCK(os.lstat(os.path.join(where, name)).st_mode): found.append(os.path.join(where, name))
        except OSError: pass
with open('/proc/net/unix') as file: found += [line.split()[7] for line in file.readlines()[1:] if len(line.split()) > 7]
# The far end of a connection counts as being here and has its path of the host, which leads nowhere in the bottle. The
# double of smolvm has in one namespace of the network what a machine has on both sides of its own.
ends = {path for path in found if re.search('/in/(gate|control)[.]sock$|/vms/[0-9a-f]{16}/(agent[.]sock|s/[0-9]+)$', path) and not os.path.exists(path)}
strange = set(found) - ends - set(${JSON.stringify(sockets)})
if not strange: raise Stopped('there is ' + ' and '.join(sorted(set(found) - ends)))
result = strange`,
      stopped: new RegExp(`^there is ${sockets.join(' and ').replaceAll('.', '[.]')}$`),
      works: true,
    },
    ...[
      ['a file of its own in it', "open('/run/claude-bottle/new', 'w')"],
      ['the gate’s socket removed', "os.unlink('/run/claude-bottle/gate.sock')"],
      [
        'the gate’s socket under another name',
        "os.rename('/run/claude-bottle/gate.sock', '/run/claude-bottle/old.sock')",
      ],
      ['another mode on the gate’s socket', "os.chmod('/run/claude-bottle/gate.sock', 0)"],
      [
        'another owner of the gate’s socket',
        "os.chown('/run/claude-bottle/gate.sock', os.getuid(), os.getgid())",
      ],
      ['another time on the gate’s socket', "os.utime('/run/claude-bottle/gate.sock', (0, 0))"],
      ['a link to the gate’s socket', "os.link('/run/claude-bottle/gate.sock', '/run/claude-bottle/link')"],
      [
        'a socket of its own in the supervisor’s place',
        "socket.socket(socket.AF_UNIX).bind('/run/claude-bottle/control.sock')",
      ],
      [
        'the directory under another name',
        "[os.rename(*names) for names in (('/run/claude-bottle', '/run/elsewhere'), ('/run/elsewhere', '/run/claude-bottle'))]",
      ],
      ['the directory removed', "os.rmdir('/run/claude-bottle')"],
      ['bottle-init written', `writable('${init}')`],
      ['bottle-init removed', `os.unlink('${init}')`],
      ['bottle-init under another name', `os.rename('${init}', '/run/elsewhere')`],
      ['another mode on bottle-init', `os.chmod('${init}', 0o4755)`],
      ['an attribute on bottle-init', `os.setxattr('${init}', 'user.escape', b'1')`],
    ].map(([what, code]) => ({
      property: `what is mounted stays as it is: not ${String(what)}`,
      tried: String(code),
      code: `result = ${String(code)}`,
      stopped: readOnly,
    })),
    {
      property: 'the directory of the sockets shows nothing of the host above it',
      tried: 'to follow /run/claude-bottle/.. and every link in it',
      code: `
above = os.path.realpath('/run/claude-bottle/..')
names = sorted(os.listdir('/run/claude-bottle'))
links = [name for name in names if os.path.islink('/run/claude-bottle/' + name)]
if above == '/run' and not links: raise Stopped('.. is /run of the bottle; in it: ' + ' '.join(names))
result = (above, links)`,
      stopped: /^\.\. is \/run of the bottle/,
    },
  ];
}
