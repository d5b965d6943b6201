import type { Attempt } from './cage.ts';

const host = 'Host: allowed.test';
/** The six checks of the launch and the attacks on the gate's decisions, made once more by the agent. */
export function gateAttempts(port: number): readonly Attempt[] {
  const refused = /^HTTP\/1\.1 403 /;
  const malformed = /^(HTTP\/1\.1 400 |the connection is closed)/;
  const get = (url: string, ...headers: string[]) =>
    `result = through_gate(${JSON.stringify(`GET ${url} HTTP/1.1\r\n${headers.join('\r\n')}\r\nConnection: close\r\n\r\n`)})`;
  const connect = (target: string) =>
    `result = through_gate(${JSON.stringify(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`)})`;
  return [
    {
      property: 'a name on no list is refused',
      tried: 'GET http://unlisted.test/ and the same with curl',
      code: get('http://unlisted.test/', 'Host: unlisted.test'),
      stopped: refused,
    },
    {
      property: 'a tunnel to a name on no list is refused',
      tried: 'CONNECT unlisted.test:443',
      code: connect('unlisted.test:443'),
      stopped: refused,
    },
    {
      property: 'a tunnel to a port on no list is refused',
      tried: 'CONNECT to an allowed host, port 22',
      code: connect('127.0.0.2:22'),
      stopped: refused,
    },
    {
      property: 'an address instead of a name is refused',
      tried: 'GET http://1.1.1.1/',
      code: get('http://1.1.1.1/', 'Host: 1.1.1.1'),
      stopped: refused,
    },
    {
      property: 'an address stays refused with the name of an allowed host in Host',
      tried: 'GET http://127.0.0.3/ with Host: an allowed one',
      code: get(`http://127.0.0.3:${port}/`, `Host: 127.0.0.2:${port}`),
      stopped: /^HTTP\/1\.1 400 .*host-mismatch/,
    },
    {
      property: 'a Host other than the target is not believed',
      tried: 'an allowed target with Host: unlisted.test',
      code: `
answer = raw(${JSON.stringify(`GET http://127.0.0.2:${port}/ HTTP/1.1\r\nHost: unlisted.test\r\nConnection: close\r\n\r\n`)})
seen = re.search('host=(\\\\S*)', answer)
if seen is None or seen.group(1) == '127.0.0.2:${port}': raise Stopped((answer.split('\\r\\n', 1)[0]) + '; the host saw ' + (seen.group(1) if seen else 'nothing'))
result = answer`,
      stopped: /^HTTP\/1\.1 (400.*nothing|403.*nothing|200.*the host saw 127\.0\.0\.2)/,
    },
    ...[
      ['decimal', '2130706433'],
      ['hexadecimal', '0x7f000001'],
      ['octal', '0177.0.0.1'],
      ['short', '127.1'],
      ['mapped into IPv6', '[::ffff:127.0.0.1]'],
      ['IPv6 loopback', '[::1]'],
      ['the unspecified address', '0.0.0.0'],
      ['with a trailing dot', '127.0.0.1.'],
      ['IPv6 with a zone', '[fe80::1%25lo]'],
    ].map(([what, spelled]) => ({
      property: `the host’s loopback in another spelling is refused: ${String(what)}`,
      tried: `GET http://${String(spelled)}:${port}/`,
      code: get(`http://${String(spelled)}:${port}/`, `Host: ${String(spelled)}:${port}`),
      stopped: /^HTTP\/1\.1 (403|400) /,
    })),
    {
      property: 'a name that leads to loopback is refused although a rule allows the name',
      tried: 'GET http://localhost/, which is allowed by name',
      code: get(`http://localhost:${port}/`, `Host: localhost:${port}`),
      stopped: refused,
    },
    {
      property: 'a secret as a label below an allowed name is refused, and never resolved',
      tried: 'GET http://c2VjcmV0.localhost/',
      code: get(`http://c2VjcmV0.localhost:${port}/`, `Host: c2VjcmV0.localhost:${port}`),
      stopped: refused,
    },
    ...[
      ['two lengths', 'POST', ['Content-Length: 3', 'Content-Length: 4'], 'abc'],
      ['a length and chunks', 'POST', ['Content-Length: 3', 'Transfer-Encoding: chunked'], '0\r\n\r\n'],
      ['an unknown coding', 'POST', ['Transfer-Encoding: chunked, identity'], '0\r\n\r\n'],
      ['a signed length', 'POST', ['Content-Length: +3'], 'abc'],
      ['a space before the colon', 'GET', ['Content-Length : 3'], 'abc'],
      ['a folded line', 'GET', ['X-A: b\r\n folded'], ''],
      ['two hosts', 'GET', ['Host: other.test'], ''],
      ['a bare line feed', 'GET', ['X-A: b\nX-C: d'], ''],
      ['a null byte', 'GET', ['X-A: b\0c'], ''],
      ['a bad chunk size', 'POST', ['Transfer-Encoding: chunked'], 'zz\r\nabc\r\n0\r\n\r\n'],
      ['a chunk size beyond all numbers', 'POST', ['Transfer-Encoding: chunked'], 'fffffffffffffffff\r\nabc'],
    ].map(([what, method, headers, body]) => ({
      property: `a request that can be read in two ways is refused: ${String(what)}`,
      tried: `${String(method)} with ${String(what)}, then GET http://unlisted.test/ behind it`,
      code: `
answer = raw(${JSON.stringify(
        `${String(method)} http://127.0.0.2:${port}/ HTTP/1.1\r\nHost: 127.0.0.2:${port}\r\n${(headers as string[]).join('\r\n')}\r\n\r\n${String(body)}GET http://127.0.0.2:${port}/smuggled HTTP/1.1\r\nHost: 127.0.0.2:${port}\r\n\r\n`,
      )})
lines = re.findall('HTTP/1.1 [0-9]+ ', answer)
if 'path=/smuggled' not in answer: raise Stopped(' '.join(lines) or 'the connection is closed')
result = answer`,
      stopped: malformed,
    })),
    {
      property: 'a head without end is refused',
      tried: '1 MB of header lines',
      code: `
answer = raw(b'GET http://127.0.0.2:${port}/ HTTP/1.1\\r\\n' + b'X-Long: ' + b'a' * 1000000 + b'\\r\\n\\r\\n')
status = answer.split('\\r\\n', 1)[0]
if not status.startswith('HTTP/1.1 2'): raise Stopped(status or 'the connection is closed')`,
      stopped: /^(HTTP\/1\.1 (431|400)|the connection is closed)/,
    },
    {
      property: 'plain text in a tunnel for TLS goes nowhere',
      tried: 'CONNECT to a host allowed for TLS, then plain HTTP',
      code: `
answer = raw(b'CONNECT tls.test:443 HTTP/1.1\\r\\nHost: tls.test:443\\r\\n\\r\\nGET / HTTP/1.1\\r\\nHost: tls.test\\r\\n\\r\\n')
status = answer.split('\\r\\n', 1)[0]
if 'path=' not in answer: raise Stopped(status or 'the connection is closed')`,
      stopped: /^(HTTP\/1\.1 [2345]|the connection is closed)/,
    },
    {
      property: 'a TLS greeting to another name than the tunnel’s goes nowhere',
      tried: 'CONNECT to an allowed host, then a ClientHello with SNI unlisted.test',
      code: `
import ssl
one = socket.create_connection(('127.0.0.1', 3128), timeout=10)
one.sendall(b'CONNECT 127.0.0.2:${port} HTTP/1.1\\r\\nHost: 127.0.0.2:${port}\\r\\n\\r\\n')
if not one.recv(4096).startswith(b'HTTP/1.1 200 '): raise AssertionError('no tunnel')
try: ssl._create_unverified_context().wrap_socket(one, server_hostname='unlisted.test')
except ssl.SSLError as error: raise Stopped(str(error))
result = 'greeted'`,
      stopped: /ACCESS_DENIED|access denied/i,
    },
    {
      property: 'credentials in a target open nothing',
      tried: 'GET http://127.0.0.2:PORT@unlisted.test/',
      code: get(`http://127.0.0.2:${port}@unlisted.test/`, 'Host: unlisted.test'),
      stopped: /^HTTP\/1\.1 (403|400) /,
    },
    ...[
      'https://unlisted.test/',
      'ftp://127.0.0.2/',
      'file:///etc/passwd',
      'gopher://127.0.0.2/',
      'unix:/var/run/docker.sock',
    ].map((url) => ({
      property: `no other way of asking: ${url}`,
      tried: `GET ${url}`,
      code: get(url, host),
      stopped: /^(HTTP\/1\.1 (400|403|501|405)|the connection is closed)/,
    })),
    {
      property: 'a push to a remote on no list is refused, and git says why',
      tried: 'git push https://unlisted.test/throwaway.git',
      code: `
result = program('git', '-C', '/workspace', 'push', 'https://unlisted.test/throwaway.git', 'HEAD:refs/heads/main')`,
      stopped: /403/,
    },
    {
      property: 'a push over ssh finds no way',
      tried: 'git push ssh://git@unreachable.invalid/throwaway.git',
      code: `
os.environ['GIT_SSH_COMMAND'] = "python3 -c 'import socket; socket.create_connection((\\"1.1.1.1\\", 22), 3)'"
result = program('git', '-C', '/workspace', 'push', 'ssh://git@unreachable.invalid/throwaway.git', 'HEAD:refs/heads/main')`,
      stopped: /unreachable|exits/,
    },
  ];
}
